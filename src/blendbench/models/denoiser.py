"""Denoising through `ZImagePipeline` itself, with given conditionings and given initial latents."""

from typing import Any

import numpy as np
import torch
import transformers
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, ZImagePipeline, ZImageTransformer2DModel
from diffusers.pipelines.z_image.pipeline_z_image import calculate_shift, get_default_z_image_sigmas
from torch import Tensor

from blendbench.models.loading import load_complete, quiet_loading


def load_pipeline(source: str, dtype: torch.dtype, device: str, shift: float | None) -> ZImagePipeline:
    """The pipeline from a local folder or a hub id; `shift` replaces the scheduler's.

    Errors: ValueError if weights are missing.
    """
    with quiet_loading():
        text_encoder = getattr(transformers, ZImagePipeline.load_config(source)["text_encoder"][1])
        kinds = {"text_encoder": text_encoder, "transformer": ZImageTransformer2DModel, "vae": AutoencoderKL}
        parts = {name: load_complete(kind, source, dtype, subfolder=name) for name, kind in kinds.items()}
        pipeline = ZImagePipeline.from_pretrained(source, **parts).to(device)
    if shift is not None:
        pipeline.scheduler = load_scheduler(source, shift)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@quiet_loading()
def load_config(source: str, part: str) -> dict[str, Any]:
    """The configuration of the pipeline's `vae` or `transformer`, without its weights."""
    kind = {"vae": AutoencoderKL, "transformer": ZImageTransformer2DModel}[part]
    return dict(kind.load_config(source, subfolder=part))


@quiet_loading()
def load_scheduler(source: str, shift: float | None) -> FlowMatchEulerDiscreteScheduler:
    """The pipeline's scheduler alone; `shift` replaces its own."""
    scheduler = FlowMatchEulerDiscreteScheduler.from_pretrained(source, subfolder="scheduler")
    return scheduler if shift is None else FlowMatchEulerDiscreteScheduler.from_config(scheduler.config, shift=shift)


def resolved_sigmas(scheduler: FlowMatchEulerDiscreteScheduler, steps: int, patches: int) -> tuple[list[float], int]:
    """The noise levels, final 0 included, that the pipeline asks this scheduler for, and the number of its steps.

    `patches` is the number of picture tokens; it matters to schedulers that shift by resolution.
    """
    names = ("base_image_seq_len", "max_image_seq_len", "base_shift", "max_shift")
    known = [scheduler.config.get(name, default) for name, default in zip(names, (256, 4096, 0.5, 1.15), strict=True)]
    scheduler.set_timesteps(sigmas=get_default_z_image_sigmas(steps), mu=calculate_shift(patches, *known))
    return [round(float(sigma), 6) for sigma in scheduler.sigmas], len(scheduler.timesteps)


class Denoiser:
    """Draws pictures for conditionings; a picture depends on its own conditioning and latents only."""

    def __init__(self, pipeline: Any, sampler: Any) -> None:
        self.pipeline, self.sampler = pipeline, sampler
        self.stride = pipeline.vae_scale_factor

    def initial_latents(self, noise_seed: int) -> Tensor:
        """(channels, height, width) float32 from a CPU generator: the same on every device and in every batch."""
        channels = self.pipeline.transformer.config.in_channels
        shape = (channels, self.sampler.height // self.stride, self.sampler.width // self.stride)
        return torch.randn(shape, generator=torch.Generator().manual_seed(noise_seed))

    @torch.inference_mode()
    def generate(self, conditionings: list[Tensor], latents: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Conditionings [(tokens, dim)] and latents (n, c, h, w) -> uint8 (n, height, width, 3) and (n,) is finite."""
        device, dtype = self.pipeline.transformer.device, self.pipeline.transformer.dtype
        drawn = self.pipeline(
            prompt_embeds=[rows.to(device, dtype) for rows in conditionings],
            latents=latents.to(device),
            height=self.sampler.height,
            width=self.sampler.width,
            num_inference_steps=self.sampler.steps,
            guidance_scale=self.sampler.guidance,
            output_type="np",
        ).images
        finite = np.isfinite(drawn).all((1, 2, 3))
        return (np.nan_to_num(drawn).clip(0, 1) * 255).round().astype(np.uint8), finite
