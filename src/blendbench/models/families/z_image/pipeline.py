"""Assemble `ZImagePipeline` from a folder of the official layout."""

import functools
import json
from pathlib import Path
from typing import Any

import torch
import transformers
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, ZImagePipeline, ZImageTransformer2DModel

from blendbench.models.loading import load_complete, quiet_loading


def load_pipeline(folder: Path, dtype: torch.dtype, device: str) -> ZImagePipeline:
    """Load the pipeline without tokenizer and text encoder.

    Errors: ValueError if weights are missing.
    """
    with quiet_loading():
        pipeline = ZImagePipeline(
            scheduler=unshifted_scheduler(folder),
            vae=load_complete(AutoencoderKL, folder / "vae", dtype, device),
            text_encoder=None,
            tokenizer=None,
            transformer=load_complete(ZImageTransformer2DModel, folder / "transformer", dtype, device),
        )
    pipeline.set_progress_bar_config(disable=True)
    cache_timesteps(pipeline.scheduler)
    return pipeline


def unshifted_scheduler(folder: Path) -> FlowMatchEulerDiscreteScheduler:
    """Load the pipeline's scheduler for noise levels that are shifted already."""
    scheduler = FlowMatchEulerDiscreteScheduler.from_pretrained(str(folder), subfolder="scheduler")
    return FlowMatchEulerDiscreteScheduler.from_config(scheduler.config, shift=1.0)


def cache_timesteps(scheduler: FlowMatchEulerDiscreteScheduler) -> None:
    """Let `set_timesteps` compute once for each request.

    It copies the noise levels to the device, and such a copy waits for the GPU: no image could be launched before the
    previous one is finished.
    """
    compute = scheduler.set_timesteps
    known: dict[str, dict[str, Any]] = {}

    @functools.wraps(compute)  # the pipeline inspects the names of the parameters
    def set_timesteps(**request: Any) -> None:
        key = repr(sorted(request.items()))
        if key not in known:
            compute(**request)
            known[key] = dict(vars(scheduler))
        vars(scheduler).update(known[key])

    scheduler.set_timesteps = set_timesteps


def load_text_encoder(folder: Path, dtype: torch.dtype, device: str) -> tuple[Any, Any]:
    """Load the text encoder that the pipeline's index names, and tokenizer.

    Errors: ValueError if weights are missing.
    """
    index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    with quiet_loading():
        encoder = load_complete(getattr(transformers, index["text_encoder"][1]), folder / "text_encoder", dtype, device)
        tokenizer = getattr(transformers, index["tokenizer"][1]).from_pretrained(
            str(folder / "tokenizer"), trust_remote_code=False, local_files_only=True
        )
    return encoder, tokenizer
