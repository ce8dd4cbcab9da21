"""Stages `clip`, `siglip` and `probe`: train the scorers.

Each is trained on rendered images and their own captions alone.
"""

import math
import random
from pathlib import Path
from typing import Any

import open_clip
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, logsigmoid

from blendbench.models.miniature import captions
from blendbench.models.miniature.probe import Probe
from blendbench.models.miniature.world import POSITIONS, sample_scenes
from miniature import recognition
from miniature.train.data import render_images, to_unit, training_scenes
from miniature.train.loop import Batch, Recipe, Training

_SEEDS = {"clip": 15, "siglip": 16, "probe": 17}


def train_contrastive(
    name: str, out: Path, recipe: Recipe, device: str, scenes: int, workers: int
) -> tuple[nn.Module, float]:
    """Train "clip" (softmax over batches) or "siglip" (sigmoid over pairs)."""
    torch.manual_seed(_SEEDS[name])
    chosen, texts = training_scenes(scenes, seed=_SEEDS[name], workers=workers)
    rng = random.Random(_SEEDS[name])
    both = zip(texts, captions.canonical(chosen), strict=True)
    ids = open_clip.get_tokenizer(f"local-dir:{out / name}")([rng.choice(pair) for pair in both]).to(device)
    images = render_images(chosen, device)
    model: Any = recognition.network(name).to(device)
    labels = torch.arange(recipe.batch, device=device)
    signs = 2 * torch.eye(recipe.batch, device=device) - 1

    def loss(batch: Batch) -> Tensor:
        image = model.encode_image(to_unit(batch["images"]), normalize=True).float()
        text = model.encode_text(batch["ids"], normalize=True).float()
        logits = model.logit_scale.exp().clamp(max=100) * image @ text.T
        if name == "siglip":
            return -logsigmoid(signs * (logits + model.logit_bias)).sum() / len(image)
        return (cross_entropy(logits, labels) + cross_entropy(logits.T, labels)) / 2

    def batches(_step: int) -> Batch:
        rows = torch.randint(len(ids), (recipe.batch,), device=device)
        return {"images": images[rows], "ids": ids[rows]}

    training = Training(nn.ModuleDict({"model": model}), recipe, out / "checkpoints" / f"{name}.pt")
    final = training.run(loss, batches)
    training.use_average()
    return model, final


def train_probe(out: Path, recipe: Recipe, device: str, scenes: int, _workers: int) -> tuple[nn.Module, float]:
    """Train the attribute probe on noisy and re-lit renderings.

    All combinations are rendered, held-out ones included.

    The probe judges; it must know every combination as well as any other, or it would call the held-out ones wrong.
    """
    torch.manual_seed(_SEEDS["probe"])
    half = scenes // 2
    parts = [sample_scenes(half, 17), sample_scenes(half, 18, held_out=True)]
    images = torch.cat([render_images(part, device) for part in parts])
    truth: dict[str, Tensor] = {}
    for name in ("shape", "colour", "size", "position", "background", "style"):
        truth[name] = torch.cat([getattr(part, name) for part in parts]).to(device)
    slots = len(POSITIONS)
    present = truth["shape"] >= 0
    at = {name: torch.full((len(images), slots), -1, device=device) for name in ("shape", "colour", "size")}
    presence = torch.zeros(len(images), slots, device=device)
    for column in range(2):
        rows = present[:, column].nonzero()[:, 0]
        places = truth["position"][rows, column]
        presence[rows, places] = 1
        for name, table in at.items():
            table[rows, places] = truth[name][rows, column]
    model = Probe().to(device)

    def loss(batch: Batch) -> Tensor:
        clean = batch["images"].float() / 255
        n = len(clean)
        level = torch.rand(n, 1, 1, 1, device=clean.device)
        gain = 1 + 0.1 * (torch.rand(n, 1, 1, 1, device=clean.device) * 2 - 1)
        seen = (clean * gain + 0.06 * level * torch.randn_like(clean)).clamp(0, 1)
        logits = model.forward(seen)
        total = binary_cross_entropy_with_logits(logits["presence"][..., 0].float(), batch["presence"]) * 4
        for name in ("shape", "colour", "size"):
            total = total + cross_entropy(logits[name].flatten(0, 1).float(), batch[name].flatten(), ignore_index=-1)
        for name in ("background", "style"):
            total = total + cross_entropy(logits[name][:, 0].float(), batch[name])
        return total

    def batches(_step: int) -> Batch:
        rows = torch.randint(len(images), (recipe.batch,), device=device)
        chosen = {name: table[rows] for name, table in at.items()}
        return {
            "images": images[rows],
            "presence": presence[rows],
            "background": truth["background"][rows],
            "style": truth["style"][rows],
            **chosen,
        }

    training = Training(nn.ModuleDict({"model": model}), recipe, out / "checkpoints" / "probe.pt")
    final = training.run(loss, batches)
    training.use_average()
    return model.eval(), final if not math.isnan(final) else 0.0
