"""The sections `equal` and `independence` of `gpu.py`.

`equal`: is the staged path the official pipeline, at any size?

The same prompts and initial noise through `ZImagePipeline.__call__`, with all its networks on the device, and through
the engine's own text encoder and denoiser, which are never there together. Both run eagerly. What differs is given in
roundings of the dtype: the distance between 1 and the next number that it can hold, times the size of the values.
Beside it stands what the pipeline differs from itself by when it generates the same images one by one: no path that
batches otherwise can be expected to be closer than that.
"""

import argparse
import gc
import json
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers import ZImagePipeline
from torch import Tensor

from blendbench.models.families.z_image.denoiser import ZImageDenoiser
from blendbench.models.loading import quiet_loading
from blendbench.models.residency import GIB, Residency
from blendbench.models.sets import ModelSet, load_model_set

# Of mixed lengths: both sides of 32 tokens, the multiple that captions are padded to.
PROMPTS = (
    "a red fox",
    "three glass bottles on a wooden table by the window, early morning, soft light from the left",
    "an old harbour at night, " * 12 + "seen from a hill",
    "portrait of a clockmaker",
)


def latents_of(pipeline: Any, models: ModelSet, noise: Tensor, **given: Any) -> Tensor:
    """Final latents (n, channels, height, width) float32 on the CPU, as the pipeline makes them of what is `given`."""
    sampler = models.file.sampler
    images: Tensor = pipeline(
        latents=noise.clone(),
        height=sampler.height,
        width=sampler.width,
        num_inference_steps=sampler.steps,
        guidance_scale=sampler.guidance,
        cfg_normalization=sampler.cfg_normalization,
        output_type="latent",
        **given,
    ).images
    return images.float().cpu()


def gap(ours: Tensor, theirs: Tensor, dtype: torch.dtype) -> dict[str, Any]:
    """Compare two tensors, in values and in roundings of `dtype`."""
    apart, size, rounding = (ours - theirs).abs(), theirs.abs(), torch.finfo(dtype).eps
    return {
        "equal": torch.equal(ours, theirs),
        "finite": bool(ours.isfinite().all() and theirs.isfinite().all()),
        "largest": float(apart.max()),
        "mean": float(apart.mean()),
        "largest_in_roundings": float(apart.max() / (rounding * size.max())),
        "mean_in_roundings": float(apart.mean() / (rounding * size.mean())),
    }


def official(models: ModelSet, noise: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
    """Text rows of each prompt, latents of all prompts in one batch, and latents of each prompt by itself."""
    longest, negative = models.file.text.max_sequence_length, models.file.sampler.negative_prompt
    with quiet_loading():
        pipeline = ZImagePipeline.from_pretrained(models.component("pipeline"), dtype=models.torch_dtype)
    pipeline.to(models.device).set_progress_bar_config(disable=True)
    with torch.inference_mode():
        encoded = [
            pipeline.encode_prompt([prompt], None, False, max_sequence_length=longest)[0][0]
            for prompt in (*PROMPTS, negative)
        ]
    rows, against = encoded[:-1], encoded[-1:] * len(PROMPTS)
    asked: list[dict[str, Any]] = [{"prompt": [prompt], "negative_prompt": [negative]} for prompt in PROMPTS]
    single = [
        latents_of(pipeline, models, noise[i : i + 1], **prompts, max_sequence_length=longest)
        for i, prompts in enumerate(asked)
    ]
    batch = latents_of(pipeline, models, noise, prompt_embeds=rows, negative_prompt_embeds=against)
    return [row.float().cpu() for row in rows], batch, torch.cat(single)


def staged(models: ModelSet, noise: Tensor) -> tuple[list[Tensor], Tensor, Tensor, dict[str, float | None]]:
    """Generate by the engine's own parts, eagerly, and measure each stage's peak memory, decoding included."""
    peaks: dict[str, float | None] = {}

    def peak(stage: str) -> None:
        found = models.peak_memory()
        peaks[stage] = None if found is None else found / GIB

    models.peak_memory()
    rows = [models.text.encode(prompt).hidden for prompt in PROMPTS]
    negatives = [(models.text.encode(models.file.sampler.negative_prompt).hidden,)] * len(rows)
    peak("text")
    denoiser = models.denoiser
    peak("load")
    single = [denoiser.denoise([(row,)], noise[i : i + 1], negatives=negatives[:1]) for i, row in enumerate(rows)]
    peak("denoise_one")
    denoiser.decode(single[0])
    peak("decode_one")
    batch = denoiser.denoise([(row,) for row in rows], noise, negatives=negatives)
    peak("denoise_batch")
    return rows, batch.float().cpu(), torch.cat(single).float().cpu(), peaks


def initial_noise(models: ModelSet) -> Tensor:
    """Latents (n, channels, height, width) of as many seeds as there are prompts, made as the engine makes them."""
    sampler, stride = models.file.sampler, models.facts.patch_grid // 2
    config = json.loads((Path(str(models.component("pipeline"))) / "transformer" / "config.json").read_text())
    shape = (config["in_channels"], sampler.height // stride, sampler.width // stride)
    return torch.stack([torch.randn(shape, generator=torch.Generator().manual_seed(i)) for i in range(len(PROMPTS))])


def compare(folder: Path, device: str, settings: dict[str, float]) -> dict[str, Any]:
    """Return all readings of one model set."""
    models = load_model_set(folder, device, {**settings, "compile": False})
    # Whatever the device has room for: each group of networks alone.
    models.residency = Residency("staged", models.memory_sizes().needs("staged"), None)
    noise, dtype = initial_noise(models), models.torch_dtype
    their_rows, their_batch, their_single = official(models, noise)
    models.release_cache()
    our_rows, our_batch, our_single, peaks = staged(models, noise)
    return {
        "model_set": models.name,
        "device": models.device,
        "dtype": models.dtype,
        "prompts": len(PROMPTS),
        "tokens": [len(row) for row in our_rows],
        "sampler": models.sampler_record,
        "rounding": torch.finfo(dtype).eps,
        "text": gap(torch.cat(our_rows), torch.cat(their_rows), dtype),
        "latents_batch": gap(our_batch, their_batch, dtype),
        "latents_single": gap(our_single, their_single, dtype),
        "official_batch_against_single": gap(their_batch, their_single, dtype),
        "estimated_gib": models.residency.needs / GIB,
        "peak_gib": peaks,
    }


def independence(options: argparse.Namespace) -> dict[str, Any]:
    """Compare images across batches bit by bit, and compiled with eager ones.

    Captions of one padded length in a batch; in another order; and one with copies of itself. Three steps: where there
    are CUDA graphs, the first is launched, the second recorded, and the third replayed.
    """
    side, batch = options.shapes[0]
    found: dict[str, Any] = {"side": side, "batch": batch}
    images: dict[bool, Tensor] = {}
    for compiled in (False, True):
        settings = {"height": side, "width": side, "steps": 3, "batch_size": batch, "compile": compiled}
        models = load_model_set(options.models, options.device, settings | guided(options))
        denoiser = models.denoiser
        assert isinstance(denoiser, ZImageDenoiser)
        width = denoiser.pipeline.transformer.config.cap_feat_dim
        made = torch.Generator().manual_seed(0)
        rows = [torch.randn(40 + i, width, generator=made) for i in range(batch)]
        noise = torch.stack([denoiser.initial_latents(i) for i in range(batch)])
        # Read only if the set has guidance.
        generate = partial(denoiser.generate, negatives=[(torch.randn(20, width, generator=made),)] * batch)
        images[compiled] = generate([(row,) for row in rows], noise)[0].cpu()
        turned = generate([(row,) for row in rows[::-1]], noise.flip(0))[0].cpu()
        alone = generate([(rows[0],)] * batch, noise[:1].expand(batch, -1, -1, -1))[0].cpu()
        name = "compiled" if models.compiled else "eager"
        if denoiser.stop_replays():
            launched = generate([(row,) for row in rows], noise)[0].cpu()
            found["replayed_equal_to_launched"] = torch.equal(launched, images[compiled])
        found[f"{name}_equal_in_any_order"] = torch.equal(turned.flip(0), images[compiled])
        found[f"{name}_equal_among_copies"] = torch.equal(alone[-1], images[compiled][0])
        del models, denoiser
        gc.collect()
    found["compiled_from_eager_levels"] = float((images[True].int() - images[False].int()).abs().float().mean())
    return found


def guided(options: argparse.Namespace) -> dict[str, Any]:
    """Return the sampler's settings of a section with guidance; none without."""
    return {} if options.guidance is None else {"guidance": options.guidance, "negative_prompt": "blurry"}
