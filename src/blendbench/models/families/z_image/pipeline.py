"""Assemble the networks of a pipeline from a folder of the official layout."""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.transformers.transformer_z_image import ZImageTransformer2DModel
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from blendbench.models.loading import assemble, quiet_loading


@dataclass
class Pipeline:
    """What generates images."""

    transformer: ZImageTransformer2DModel
    vae: AutoencoderKL
    scheduler: FlowMatchEulerDiscreteScheduler

    @property
    def vae_scale_factor(self) -> int:
        """Return the pixels of a latent, along one side."""
        return int(2 ** (len(self.vae.config.block_out_channels) - 1))


def make_pipeline(folder: Path, weights: dict[str, dict[str, Tensor]]) -> Pipeline:
    """Make a pipeline of configurations and `weights`. Errors: ValueError."""
    with quiet_loading():
        transformer = assemble(ZImageTransformer2DModel, folder / "transformer", weights["transformer"])
        vae = assemble(AutoencoderKL, folder / "vae", weights["vae"])
        scheduler = unshifted_scheduler(folder)
    cache_timesteps(scheduler)
    return Pipeline(transformer, vae, scheduler)


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
