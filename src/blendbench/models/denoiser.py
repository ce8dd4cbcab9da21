"""Denoising through `ZImagePipeline` itself, with given conditionings and given initial latents."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from diffusers.pipelines.z_image.pipeline_z_image import get_default_z_image_sigmas
from torch import Tensor

from blendbench.models.fast import quicken
from blendbench.models.interventions import Injection, Start, injected, refined
from blendbench.models.pace import Pace
from blendbench.models.pipeline import resolved_sigmas
from blendbench.models.replays import Replays
from blendbench.models.tokens import Plant

# Lengths of the captions that warm up: odd and even multiples of 32 tokens, which some kernels tell apart.
_WARM_UP = (64, 96)


class Denoiser:
    """Draws images for conditionings; an image depends on its own conditioning and latents only.

    `compiled`: by the rearranged and compiled networks of `fast`, within the rounding of the dtype the same images;
    `recorder`: by the CUDA graphs that it makes, see `replays`, the same images.
    """

    def __init__(
        self,
        pipeline: Any,
        sampler: Any,
        plant: Plant | None = None,
        compiled: bool = False,
        recorder: Callable[..., Any] | None = None,
    ) -> None:
        self.pipeline, self.sampler, self.plant, self.compiled = pipeline, sampler, plant, compiled
        self.stride = pipeline.vae_scale_factor
        self._warm: set[int] = set()
        self._pace = Pace() if pipeline.transformer.device.type == "cuda" else None
        if compiled:
            quicken(pipeline)
        self._replays = Replays(pipeline.transformer.forward, recorder) if recorder else None
        if self._replays:
            pipeline.transformer.forward = self._replays

    def is_cold(self, images: int) -> bool:
        """Whether a batch of so many images would first have to compile."""
        return self.compiled and images not in self._warm

    def warm_up(self, images: int) -> None:
        """Compile for batches of so many images, and wait for it.

        The same captions each time: what is compiled then does not depend on what is drawn first.
        """
        latents = torch.stack([self.initial_latents(0)] * images)
        for tokens in _WARM_UP:
            caption = torch.zeros(tokens, self.pipeline.transformer.config.cap_feat_dim)
            self.generate([(caption,)] * images, latents)[0].cpu()
        self._warm.add(images)

    def stop_replays(self) -> bool:
        """Draw without recordings from here on; whether there were any, whose memory is free now."""
        if self._replays is None or not self._replays.active:
            return False
        self._replays.stop()
        return True

    def initial_latents(self, noise_seed: int) -> Tensor:
        """(channels, height, width) float32 from a CPU generator: the same on every device and in every batch."""
        channels = self.pipeline.transformer.config.in_channels
        shape = (channels, self.sampler.height // self.stride, self.sampler.width // self.stride)
        return torch.randn(shape, generator=torch.Generator().manual_seed(noise_seed))

    def generate(
        self,
        schedules: list[tuple[Tensor, ...]],
        latents: Tensor,
        injection: Injection | None = None,
        start: Start | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Draw n images: `denoise`, then `decode`. On a GPU the call returns before they are there."""
        return self.decode(self.denoise(schedules, latents, injection, start))

    @torch.inference_mode()
    def denoise(
        self,
        schedules: list[tuple[Tensor, ...]],
        latents: Tensor,
        injection: Injection | None = None,
        start: Start | None = None,
    ) -> Tensor:
        """Latents of n images, float32 (n, channels, height, width), on the transformer's device.

        `schedules`: for each the conditionings (tokens, dim), one for each transformer call or one for all; `latents`:
        the initial ones, in the same shape.
        """
        transformer = self.pipeline.transformer
        placed = [[self._placed(rows) for rows in schedule] for schedule in schedules]
        latents, sigmas = self._sent(latents), get_default_z_image_sigmas(self.sampler.steps)
        if start is not None:
            latents, sigmas = self._started(latents, start, sigmas)

        def rows_at(step: int) -> list[Tensor]:
            return [schedule[min(step, len(schedule) - 1)] for schedule in placed]

        def next_rows(_pipeline: Any, step: int, _time: Any, _tensors: Any) -> dict[str, Any]:
            if self._pace:
                self._pace.step()
            return {"prompt_embeds": rows_at(step + 1)}

        with ExitStack() as stack:
            if injection is not None:
                if self._replays:
                    stack.enter_context(self._replays.paused())
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
    def decode(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Images of latents, as the pipeline decodes them, on the VAE's device: uint8 (n, height, width, 3), and (n,)
        whether finite."""
        vae = self.pipeline.vae
        scaled = latents.to(vae.dtype) / vae.config.scaling_factor + vae.config.shift_factor
        decoded = vae.decode(scaled, return_dict=False)[0]
        # In [0, 1], or NaN; 8-bit values are made where the image is, so that a quarter of the bytes travels.
        drawn = self.pipeline.image_processor.postprocess(decoded, output_type="pt").float()
        pixels = (drawn.nan_to_num() * 255).round().to(torch.uint8)
        return pixels.permute(0, 2, 3, 1).contiguous(), drawn.isfinite().flatten(1).all(1)

    def _placed(self, rows: Tensor) -> Tensor:
        """A conditioning where and as the transformer reads it: position 0 without what was planted there."""
        if self.plant is not None:
            rows = rows.clone()
            rows[0, self.plant.dimensions] = 0
        return self._sent(rows.to(self.pipeline.transformer.dtype))

    def _sent(self, values: Tensor) -> Tensor:
        """Values on the transformer's device; a GPU fetches them when it gets there, and nobody waits for it."""
        device = self.pipeline.transformer.device
        if device.type == "cuda":
            values = values.contiguous().pin_memory()
        return values.to(device, non_blocking=True)

    def _started(self, noise: Tensor, start: Start, sigmas: Any) -> tuple[Tensor, Any]:
        """Latents of the starting images, noised to the level of the first step that is left, and the steps left."""
        left = len(sigmas) - int(len(sigmas) * (1 - start.strength))
        vae, scheduler = self.pipeline.vae, self.pipeline.scheduler
        pixels = torch.from_numpy(start.images).permute(0, 3, 1, 2).to(vae.device, vae.dtype) / 127.5 - 1
        clean = (vae.encode(pixels).latent_dist.mode() - vae.config.shift_factor) * vae.config.scaling_factor
        patches = noise.shape[-2] * noise.shape[-1] // 4
        levels, _ = resolved_sigmas(scheduler, self.sampler.steps, patches)
        level = levels[len(sigmas) - left]
        return ((1 - level) * clean.to(noise.dtype) + level * noise).contiguous(), sigmas[-left:]
