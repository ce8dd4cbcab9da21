"""`python bench/speed/plain_loop.py EXPERIMENT --models DIR --out DIR`: the peer that the engine is timed against.

The script that a researcher writes with diffusers, transformers, open_clip and OpenCV: one cell after another, each
encoded, blended, drawn by `ZImagePipeline`, saved, scored, and written as a row. Nothing is slowed on purpose: all
models stay in memory, gradients are off, the blends are the same functions on the same tokens, and metrics are plain
numpy. What it lacks is what the engine has: batches, compiled blocks, caches, and work that overlaps.

The cells, the initial noise and the sampler are the experiment's, so its images can be compared with the engine's.
"""

import argparse
import csv
import json
import math
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import open_clip
import torch
from diffusers import ZImagePipeline
from PIL import Image
from transformers import AutoProcessor, Qwen3VLForConditionalGeneration

from blendbench.cli.planning import plan_on_models
from blendbench.core.tokens import Tokens
from blendbench.models.loading import quiet_loading
from blendbench.models.sets import ModelSet
from blendbench.registry.strategies import Sources
from blendbench.run.experiments import load_experiment
from blendbench.run.plan import Cell, Plan

PATCH_GRID = 16


class Stopwatch:
    """Seconds by stage; the device has finished when a stage ends."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.seconds: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def time(self, stage: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        if self.device == "cuda":
            torch.cuda.synchronize()
        self.seconds[stage] += time.perf_counter() - began


@dataclass
class Loaded:
    """Everything that the loop calls, on one device."""

    pipeline: Any
    processor: Any
    vision: Any
    scorers: dict[str, tuple[Any, Any, Any]]
    device: str
    baselines: dict[str, np.ndarray] = field(default_factory=dict)


def load(models: ModelSet) -> Loaded:
    """Load the model set's parts by their libraries."""
    dtype, device = models.torch_dtype, models.device
    with quiet_loading():
        pipeline = ZImagePipeline.from_pretrained(models.component("pipeline"), dtype=dtype).to(device)
        source = models.component("vision_language")
        vision = Qwen3VLForConditionalGeneration.from_pretrained(source, dtype=dtype).to(device).eval()
        processor = AutoProcessor.from_pretrained(source)
    pipeline.set_progress_bar_config(disable=True)
    scorers = {}
    for name in ("clip", "siglip"):
        folder = f"local-dir:{models.component(name)}"
        model, preprocess = open_clip.create_model_from_pretrained(folder, device=device)
        scorers[name] = (model.eval(), preprocess, open_clip.get_tokenizer(folder))
    return Loaded(pipeline, processor, vision, scorers, device)


def encode_image(loaded: Loaded, image: Path, prompt: str, layer: int) -> Tokens:
    """Hidden states of the image's tokens."""
    chat = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": prompt}]}]
    text = loaded.processor.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    opened = Image.open(image).convert("RGB")
    inputs = loaded.processor(text=[text], images=[opened], return_tensors="pt").to(loaded.device)
    states = loaded.vision.model(**inputs, output_hidden_states=True, use_cache=False).hidden_states
    hidden = states[layer][0][inputs["input_ids"][0] == loaded.vision.config.image_token_id].float().cpu()
    merge = loaded.vision.config.vision_config.spatial_merge_size
    _, rows, columns = (int(n) for n in inputs["image_grid_thw"][0])
    return Tokens(hidden, torch.full((len(hidden),), 3), (rows // merge, columns // merge))


def encode_text(loaded: Loaded, prompt: str) -> Tokens:
    """The prompt as the pipeline encodes it."""
    rows, _ = loaded.pipeline.encode_prompt(prompt, loaded.device, do_classifier_free_guidance=False)
    hidden = rows[0].float().cpu()
    return Tokens(hidden, torch.zeros(len(hidden), dtype=torch.int64))


def cosines(loaded: Loaded, image: Image.Image, prompt: str) -> dict[str, float]:
    """CLIP's and SigLIP's cosine of an image and its prompt."""
    found = {}
    for name, (model, preprocess, tokenizer) in loaded.scorers.items():
        seen = model.encode_image(preprocess(image)[None].to(loaded.device), normalize=True)
        read = model.encode_text(tokenizer([prompt]).to(loaded.device), normalize=True)
        found[f"{name}_cosine"] = float((seen * read).sum())
    return found


def artifacts(image: np.ndarray) -> dict[str, float]:
    """Grid and block energy of uint8 (h, w, 3)."""
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    power = np.abs(np.fft.rfft2(gray - cv2.GaussianBlur(gray, (0, 0), PATCH_GRID / 4))) ** 2
    peaks = power[:: gray.shape[0] // PATCH_GRID, :: gray.shape[1] // PATCH_GRID]
    steps = np.abs(np.diff(gray, axis=1)).mean(0)
    border = steps[PATCH_GRID - 1 :: PATCH_GRID].mean()
    return {"grid_energy": float(peaks.sum() / power.sum()), "blockiness": float(border - np.median(steps))}


def drifts(image: np.ndarray, baseline: np.ndarray) -> dict[str, float]:
    """Differences of colour, tone, saturation, clipping, texture and pixels between two images."""
    lab, other = (cv2.cvtColor(x.astype(np.float32) / 255, cv2.COLOR_RGB2LAB) for x in (image, baseline))
    chroma, other_chroma = np.hypot(lab[..., 1], lab[..., 2]), np.hypot(other[..., 1], other[..., 2])
    colours = [
        np.abs(np.sort(a.ravel()) - np.sort(b.ravel())).mean()
        for a, b in ((lab[..., 1], other[..., 1]), (lab[..., 2], other[..., 2]))
    ]
    return {
        "color_drift": float(np.mean(colours)),
        "tone_drift": float(np.abs(np.sort(lab[..., 0].ravel()) - np.sort(other[..., 0].ravel())).mean()),
        "saturation_shift": float(chroma.mean() - other_chroma.mean()),
        "clip_shift": float(np.isin(image, (0, 255)).mean() - np.isin(baseline, (0, 255)).mean()),
        "texture_change": slope(image) - slope(baseline),
        "effect_size": float(cv2.norm(image, baseline, cv2.NORM_L1) / image.size),
    }


def slope(image: np.ndarray) -> float:
    """Slope of the radial power spectrum in log-log."""
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    power = np.abs(np.fft.rfft2(gray)) ** 2
    radius = np.hypot(np.fft.fftfreq(gray.shape[0])[:, None], np.fft.rfftfreq(gray.shape[1]))
    edges = np.geomspace(0.02, 0.5, 19)
    where = np.digitize(radius.ravel(), edges)
    sums, counts = np.bincount(where, power.ravel(), 20)[1:19], np.bincount(where, minlength=20)[1:19]
    used = counts > 0
    return float(np.polyfit(np.log(edges[:18][used]), np.log(sums[used] / counts[used] + 1), 1)[0])


@torch.inference_mode()
def do_cell(loaded: Loaded, cell: Cell, plan: Plan, out: Path, watch: Stopwatch) -> dict[str, Any]:
    """Encode, blend, draw, save and score one cell."""
    item, configuration = cell.item, cell.configuration
    with watch.time("encode"):
        text = encode_text(loaded, item.prompt)
        vision = None
        if "vision" in configuration.strategy.inputs:
            vision = encode_image(loaded, item.reference, item.prompt, int(configuration.params["layer"]))
    with watch.time("blend"):
        conditioning = configuration.blend(Sources(text, vision=vision)).rows
    with watch.time("draw"):
        height, width = int(plan.sampler["height"]), int(plan.sampler["width"])
        pipeline, stride = loaded.pipeline, loaded.pipeline.vae_scale_factor
        shape = (1, pipeline.transformer.config.in_channels, height // stride, width // stride)
        image = pipeline(
            prompt_embeds=[conditioning.to(loaded.device, pipeline.transformer.dtype)],
            latents=torch.randn(shape, generator=torch.Generator().manual_seed(cell.noise_seed)),
            height=height,
            width=width,
            num_inference_steps=len(plan.sampler["sigmas"]) - 1,
            guidance_scale=0.0,
        ).images[0]
    with watch.time("save"):
        image.save(out / f"{cell.cell_id}.png")
    with watch.time("score"):
        pixels = np.asarray(image)
        baseline = loaded.baselines.setdefault(item.id, pixels)  # the baseline's cells come first
        scores = cosines(loaded, image, item.prompt) | artifacts(pixels) | drifts(pixels, baseline)
    return {"item": item.id, "label": configuration.label, "seed": cell.seed, **scores}


def run_plain(
    plan: Plan, loaded: Loaded, out: Path, cells: int | None = None, budget: float = math.inf
) -> dict[str, Any]:
    """The loop over the plan's first `cells`, at least one, until `budget` seconds are over.

    Returns how many were done, and the seconds in all, a cell, and a cell by stage.
    """
    out.mkdir(parents=True, exist_ok=True)
    watch, began, done = Stopwatch(loaded.device), time.perf_counter(), 0
    loaded.baselines.clear()
    for cell in plan.cells[:cells]:
        if done and time.perf_counter() - began > budget:
            break
        row = do_cell(loaded, cell, plan, out, watch)
        with watch.time("write"), (out / "results.csv").open("a", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(row))
            if done == 0:
                writer.writeheader()
            writer.writerow(row)
        done += 1
    seconds = time.perf_counter() - began
    return {
        "cells": done,
        "seconds": seconds,
        "seconds_a_cell": seconds / done,
        "stages_a_cell": {stage: spent / done for stage, spent in watch.seconds.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", nargs="?", default=str(Path(__file__).with_name("speed.toml")))
    parser.add_argument("--models", default="miniature")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cells", type=int, help="only the first so many")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    plan, models = plan_on_models(load_experiment(options.experiment), options.models, options.device)
    print(json.dumps(run_plain(plan, load(models), options.out, options.cells), indent=2))


if __name__ == "__main__":
    main()
