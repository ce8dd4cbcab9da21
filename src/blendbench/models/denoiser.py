"""Denoising through `ZImagePipeline` itself, with given conditionings and given initial latents."""

from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from diffusers.pipelines.z_image.pipeline_z_image import get_default_z_image_sigmas
from torch import Tensor

from blendbench.models.interventions import Injection, Start, injected, refined
from blendbench.models.pipeline import resolved_sigmas
from blendbench.models.tokens import Plant


class Denoiser:
    """Draws pictures for conditionings; a picture depends on its own conditioning and latents only."""

    def __init__(self, pipeline: Any, sampler: Any, plant: Plant | None = None) -> None:
        self.pipeline, self.sampler, self.plant = pipeline, sampler, plant
        self.stride = pipeline.vae_scale_factor

    def initial_latents(self, noise_seed: int) -> Tensor:
        """(channels, height, width) float32 from a CPU generator: the same on every device and in every batch."""
        channels = self.pipeline.transformer.config.in_channels
        shape = (channels, self.sampler.height // self.stride, self.sampler.width // self.stride)
        return torch.randn(shape, generator=torch.Generator().manual_seed(noise_seed))

    def generate(
        self, schedules: list[tuple[Tensor, ...]], latents: Tensor, injection: Injection | None = None,
        start: Start | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
        """Draw n pictures: `denoise`, then `decode`."""
        return self.decode(self.denoise(schedules, latents, injection, start))

    @torch.inference_mode()
    def denoise(
        self, schedules: list[tuple[Tensor, ...]], latents: Tensor, injection: Injection | None = None,
        start: Start | None = None,
    ) -> Tensor:  # fmt: skip
        """Latents of n pictures, float32 (n, channels, height, width), on the transformer's device.

        `schedules`: for each the conditionings (tokens, dim), one for each transformer call or one for all; `latents`:
        the initial ones, in the same shape.
        """
        transformer = self.pipeline.transformer
        placed = [[self._placed(rows) for rows in schedule] for schedule in schedules]
        latents, sigmas = latents.to(transformer.device), get_default_z_image_sigmas(self.sampler.steps)
        if start is not None:
            latents, sigmas = self._started(latents, start, sigmas)

        def rows_at(step: int) -> list[Tensor]:
            return [schedule[min(step, len(schedule) - 1)] for schedule in placed]

        def next_rows(_pipeline: Any, step: int, _time: Any, _tensors: Any) -> dict[str, Any]:
            return {"prompt_embeds": rows_at(step + 1)}

        with ExitStack() as stack:
            if injection is not None:
                caption = refined(transformer, [self._placed(rows) for rows in injection.rows], latents)
                stack.enter_context(injected(transformer, caption, injection.blocks))
            drawn: Tensor = self.pipeline(
                prompt_embeds=rows_at(0),
                latents=latents,
                height=self.sampler.height,
                width=self.sampler.width,
                sigmas=sigmas,
                guidance_scale=self.sampler.guidance,
                callback_on_step_end=next_rows,
                callback_on_step_end_tensor_inputs=[],
                output_type="latent",
            ).images
        return drawn

    @torch.inference_mode()
    def decode(self, latents: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Pictures of latents, as the pipeline decodes them: uint8 (n, height, width, 3) and (n,), whether finite."""
        vae = self.pipeline.vae
        scaled = latents.to(vae.dtype) / vae.config.scaling_factor + vae.config.shift_factor
        drawn = self.pipeline.image_processor.postprocess(vae.decode(scaled, return_dict=False)[0], output_type="np")
        finite = np.isfinite(drawn).all((1, 2, 3))
        return (np.nan_to_num(drawn).clip(0, 1) * 255).round().astype(np.uint8), finite

    def _placed(self, rows: Tensor) -> Tensor:
        """A conditioning where and as the transformer reads it: position 0 without what was planted there."""
        if self.plant is not None:
            rows = rows.clone()
            rows[0, self.plant.dimensions] = 0
        return rows.to(self.pipeline.transformer.device, self.pipeline.transformer.dtype)

    def _started(self, noise: Tensor, start: Start, sigmas: Any) -> tuple[Tensor, Any]:
        """Latents of the starting pictures, noised to the level of the first step that is left, and the steps left."""
        left = len(sigmas) - int(len(sigmas) * (1 - start.strength))
        vae, scheduler = self.pipeline.vae, self.pipeline.scheduler
        pixels = torch.from_numpy(start.pictures).permute(0, 3, 1, 2).to(vae.device, vae.dtype) / 127.5 - 1
        clean = (vae.encode(pixels).latent_dist.mode() - vae.config.shift_factor) * vae.config.scaling_factor
        patches = noise.shape[-2] * noise.shape[-1] // 4
        levels, _ = resolved_sigmas(scheduler, self.sampler.steps, patches)
        level = levels[len(sigmas) - left]
        return ((1 - level) * clean.to(noise.dtype) + level * noise).contiguous(), sigmas[-left:]
