"""`ZImagePipeline` from the folder of the official repository: put together from its parts, the text encoder apart."""

import functools
import json
from pathlib import Path
from typing import Any

import torch
import transformers
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, ZImagePipeline, ZImageTransformer2DModel
from diffusers.pipelines.z_image.pipeline_z_image import calculate_shift, get_default_z_image_sigmas

from blendbench.models.loading import load_complete, quiet_loading


def load_pipeline(folder: Path, dtype: torch.dtype, device: str, shift: float | None) -> ZImagePipeline:
    """The pipeline without tokenizer and text encoder; `shift` replaces the scheduler's.

    Errors: ValueError if weights are missing.
    """
    with quiet_loading():
        pipeline = ZImagePipeline(
            scheduler=load_scheduler(folder, shift),
            vae=load_complete(AutoencoderKL, folder / "vae", dtype, device),
            text_encoder=None,
            tokenizer=None,
            transformer=load_complete(ZImageTransformer2DModel, folder / "transformer", dtype, device),
        )
    pipeline.set_progress_bar_config(disable=True)
    remember_timesteps(pipeline.scheduler)
    return pipeline


def remember_timesteps(scheduler: FlowMatchEulerDiscreteScheduler) -> None:
    """Let `set_timesteps` resolve the noise levels once for each request.

    It copies them to the device, and such a copy waits for all that a GPU still has to do: with one at the beginning of
    each image, no image could be launched before the one before it is drawn.
    """
    compute = scheduler.set_timesteps
    known: dict[str, dict[str, Any]] = {}

    @functools.wraps(compute)  # the pipeline asks for the names of the parameters
    def set_timesteps(**request: Any) -> None:
        key = repr(sorted(request.items()))
        if key not in known:
            compute(**request)
            known[key] = dict(vars(scheduler))
        vars(scheduler).update(known[key])

    scheduler.set_timesteps = set_timesteps


def load_text_encoder(folder: Path, dtype: torch.dtype, device: str) -> tuple[Any, Any]:
    """The pipeline's text encoder, of the class that its index names, and its tokenizer.

    Errors: ValueError if weights are missing.
    """
    index = json.loads((folder / "model_index.json").read_text())
    with quiet_loading():
        encoder = load_complete(getattr(transformers, index["text_encoder"][1]), folder / "text_encoder", dtype, device)
        tokenizer = getattr(transformers, index["tokenizer"][1]).from_pretrained(
            str(folder / "tokenizer"), trust_remote_code=False, local_files_only=True
        )
    return encoder, tokenizer


@quiet_loading()
def load_scheduler(folder: Path, shift: float | None) -> FlowMatchEulerDiscreteScheduler:
    """The pipeline's scheduler alone; `shift` replaces its own."""
    scheduler = FlowMatchEulerDiscreteScheduler.from_pretrained(str(folder), subfolder="scheduler")
    return scheduler if shift is None else FlowMatchEulerDiscreteScheduler.from_config(scheduler.config, shift=shift)


def resolved_sigmas(scheduler: FlowMatchEulerDiscreteScheduler, steps: int, patches: int) -> tuple[list[float], int]:
    """The noise levels, final 0 included, that the pipeline asks this scheduler for, and the number of its steps.

    `patches` is the number of image tokens; it matters to schedulers that shift by resolution.
    """
    names = ("base_image_seq_len", "max_image_seq_len", "base_shift", "max_shift")
    known = [scheduler.config.get(name, default) for name, default in zip(names, (256, 4096, 0.5, 1.15), strict=True)]
    scheduler.set_timesteps(sigmas=get_default_z_image_sigmas(steps), mu=calculate_shift(patches, *known))
    return [round(float(sigma), 6) for sigma in scheduler.sigmas], len(scheduler.timesteps)
