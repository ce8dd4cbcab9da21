"""Denoising through `ZImagePipeline` itself, with given conditionings and given initial latents."""

from typing import Any

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, ZImagePipeline
from torch import Tensor

BUCKET = 32  # the transformer pads captions to multiples of this


def load_pipeline(source: str, dtype: torch.dtype, device: str, shift: float | None) -> ZImagePipeline:
    """The pipeline from a local folder or a hub id; `shift` replaces the scheduler's."""
    pipeline = ZImagePipeline.from_pretrained(source, torch_dtype=dtype).to(device)
    if shift is not None:
        pipeline.scheduler = FlowMatchEulerDiscreteScheduler.from_config(pipeline.scheduler.config, shift=shift)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


class Denoiser:
    """Draws pictures for conditionings; a picture depends on its own conditioning and latents only."""

    def __init__(self, pipeline: Any, sampler: Any) -> None:
        self.pipeline, self.sampler = pipeline, sampler
        patch = pipeline.transformer.config.all_patch_size[0]
        self.stride = pipeline.vae_scale_factor
        self.lattice: int = self.stride * patch
        if sampler.height % self.lattice or sampler.width % self.lattice:
            raise ValueError(f"height and width must be multiples of {self.lattice}")

    @property
    def longest(self) -> int:
        """The most caption tokens, padded, whose positions and the picture's after them fit the rotary table."""
        length: int = self.pipeline.transformer.config.axes_lens[0]
        return (length - 2) // BUCKET * BUCKET

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
