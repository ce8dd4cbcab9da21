"""Sample with the networks of diffusers as `ZImagePipeline` does, bit for bit.

Conditionings, initial latents and noise levels are given. The pipeline's own module is not imported: what it needs
beside the networks takes longer than loading their weights. Source: diffusers 0.42.1, pipeline_z_image.py.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from blendbench.models.families.base import Injection, Start
from blendbench.models.families.z_image.fast import compile_pipeline
from blendbench.models.families.z_image.injection import injected, refined
from blendbench.models.families.z_image.pipeline import Pipeline
from blendbench.models.families.z_image.replays import Replays
from blendbench.models.tokens import Plant

# Captions that warm up: odd and even multiples of 32 tokens, which some kernels treat differently.
_WARM_UP_TOKENS = (64, 96)


@dataclass(frozen=True)
class Guidance:
    """Classifier-free guidance as the pipeline does it; a scale of 0 is none.

    Conditioning and negative go through the transformer as one batch, and the velocity is c + scale * (c - n). If
    `normalized`, it is shortened to the length of c where it is longer.
    """

    scale: float = 0.0
    normalized: bool = False


NO_GUIDANCE = Guidance()


class ZImageDenoiser:
    """Generate images for conditionings.

    An image depends on its own conditioning and latents only.

    Args:
        pipeline: Transformer, autoencoder, and a scheduler that takes noise levels as they are.
        size: Height and width in pixels.
        sigmas: Noise levels of all steps and the final 0.
        guidance: Classifier-free guidance.
        plant: Massive activations that the transformer must not see.
        compiled: Whether to use the compiled networks of `fast`: equal images within the rounding of the dtype.
        graphs: Where compiled graphs are kept; None: nowhere.
        recorder: Makes the CUDA graphs of `replays`: equal images.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        size: tuple[int, int],
        sigmas: tuple[float, ...],
        guidance: Guidance = NO_GUIDANCE,
        plant: Plant | None = None,
        compiled: bool = False,
        graphs: Path | None = None,
        recorder: Callable[..., Any] | None = None,
    ) -> None:
        self.pipeline, self.size, self.sigmas, self.guidance = pipeline, size, sigmas, guidance
        self.plant, self.compiled = plant, compiled
        self._warm: set[int] = set()
        if compiled:
            compile_pipeline(pipeline, graphs)
        self._replays = Replays(pipeline.transformer.forward, recorder) if recorder else None
        if self._replays:
            pipeline.transformer.forward = self._replays

    def is_cold(self, images: int) -> bool:
        """Report whether a batch of `images` would first have to compile."""
        return self.compiled and images not in self._warm

    def warm_up(self, images: int) -> None:
        """Compile for batches of `images` and wait for it, in images of one step.

        The captions are always the same: what is compiled does not depend on what is generated first.
        """
        sigmas, self.sigmas = self.sigmas, (1.0, 0.0)
        try:
            self._warm_up(images)
        finally:
            self.sigmas = sigmas
        self._warm.add(images)

    def _warm_up(self, images: int) -> None:
        latents = torch.stack([self.initial_latents(0)] * images)
        dim = self.pipeline.transformer.config.cap_feat_dim
        for tokens in _WARM_UP_TOKENS:
            # A negative of another padded length takes a mask.
            for negative in (tokens, 1) if self.guidance.scale else (tokens,):
                captions, negatives = ([(torch.zeros(length, dim),)] * images for length in (tokens, negative))
                self.generate(captions, latents, negatives=negatives)[0].cpu()

    def stop_replays(self) -> bool:
        """Drop recorded graphs for good.

        Report whether there were any, whose memory is free now.
        """
        if self._replays is None or not self._replays.active:
            return False
        self._replays.stop()
        return True

    def initial_latents(self, noise_seed: int) -> Tensor:
        """Return (c, h, w) float32 latents of a CPU generator.

        They are the same on every device.
        """
        height, width = (pixels // self.pipeline.vae_scale_factor for pixels in self.size)
        shape = (self.pipeline.transformer.config.in_channels, height, width)
        return torch.randn(shape, generator=torch.Generator().manual_seed(noise_seed), dtype=torch.float32)

    def generate(
        self,
        schedules: Sequence[tuple[Tensor, ...]],
        latents: Tensor,
        injection: Injection | None = None,
        start: Start | None = None,
        negatives: Sequence[tuple[Tensor, ...]] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Denoise and decode.

        On a GPU the call returns before the images are there.
        """
        return self.decode(self.denoise(schedules, latents, injection, start, negatives))

    @torch.inference_mode()
    def denoise(
        self,
        schedules: Sequence[tuple[Tensor, ...]],
        latents: Tensor,
        injection: Injection | None = None,
        start: Start | None = None,
        negatives: Sequence[tuple[Tensor, ...]] | None = None,
    ) -> Tensor:
        """Return float32 latents (n, c, h, w) on the transformer's device.

        Args:
            schedules: For each image its conditionings (tokens, dim): one per step, or one for all steps.
            latents: Initial latents in the shape of the result.
            injection: Captions for some of the blocks.
            start: Images to start from instead of noise.
            negatives: As `schedules`, what guidance leads away from; needed if there is guidance.

        Errors: ValueError if negatives are missing.
        """
        if self.guidance.scale and not negatives:
            raise ValueError("guidance needs negatives")
        transformer = self.pipeline.transformer
        placed = [[self._placed(rows) for rows in schedule] for schedule in schedules]
        against = [[self._placed(rows) for rows in schedule] for schedule in negatives or ()]
        latents, first = self._sent(latents), 0
        if start is not None:
            first = _skipped_steps(len(self.sigmas) - 1, start.strength)
            latents = self._started(latents, start, self.sigmas[first])

        with ExitStack() as stack:
            if injection is not None:
                if self._replays:
                    stack.enter_context(self._replays.paused())
                caption = refined(transformer, [self._placed(rows) for rows in injection.rows], latents)
                stack.enter_context(injected(transformer, caption, injection.blocks))
            scheduler = self.pipeline.scheduler
            scheduler.set_timesteps(sigmas=list(self.sigmas[first:-1]), device=latents.device)
            scheduler.set_begin_index(0)  # else the scheduler waits for the GPU, to find the step that a moment is of
            for step, moment in enumerate(scheduler.timesteps):
                now, negative = ([rows[min(step, len(rows) - 1)] for rows in part] for part in (placed, against))
                velocity = self._velocity(latents, moment, now, negative)
                latents = scheduler.step(velocity, moment, latents, return_dict=False)[0]
        return latents

    def _velocity(self, latents: Tensor, moment: Tensor, captions: list[Tensor], negatives: list[Tensor]) -> Tensor:
        """Return the velocity (n, c, h, w) from image to noise, float32; guided if there is guidance."""
        transformer, count = self.pipeline.transformer, len(latents)
        images = list(latents.to(transformer.dtype).unsqueeze(2))
        if self.guidance.scale:
            images, captions = images * 2, captions + negatives
        times = (1000 - moment.expand(len(images))) / 1000
        found = [image.float() for image in transformer(images, times, captions, return_dict=False)[0]]
        if self.guidance.scale:
            found = [self._guided(*pair) for pair in zip(found[:count], found[count:], strict=True)]
        return -torch.stack(found).squeeze(2)

    def _guided(self, towards: Tensor, away: Tensor) -> Tensor:
        guided = towards + self.guidance.scale * (towards - away)
        if not self.guidance.normalized:
            return guided
        own, norm = torch.linalg.vector_norm(towards), torch.linalg.vector_norm(guided)
        return guided * torch.where(norm > own, own / norm, 1.0)

    @torch.inference_mode()
    def decode(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Decode as the pipeline does: uint8 (n, h, w, 3), and (n,) finiteness.

        The result stays on the VAE's device.
        """
        vae = self.pipeline.vae
        scaled = latents.to(vae.dtype) / vae.config.scaling_factor + vae.config.shift_factor
        decoded = vae.decode(scaled, return_dict=False)[0]
        # In [0, 1], or NaN. Rounding to 8 bits on the device leaves a quarter of the bytes to copy.
        images = (decoded * 0.5 + 0.5).clamp(0, 1).float()
        pixels = (images.nan_to_num() * 255).round().to(torch.uint8)
        return pixels.permute(0, 2, 3, 1).contiguous(), images.isfinite().flatten(1).all(1)

    def _placed(self, rows: Tensor) -> Tensor:
        """Move a conditioning to the transformer without planted activations."""
        if self.plant is not None:
            rows = rows.clone()
            rows[0, self.plant.dimensions] = 0
        return self._sent(rows.to(self.pipeline.transformer.dtype))

    def _sent(self, values: Tensor) -> Tensor:
        """Copy values to the transformer's device without waiting for the GPU."""
        device = self.pipeline.transformer.device
        if device.type == "cuda":
            values = values.contiguous().pin_memory()
        return values.to(device, non_blocking=True)

    def _started(self, noise: Tensor, start: Start, sigma: float) -> Tensor:
        """Return starting images' latents, noised to the first remaining step."""
        vae = self.pipeline.vae
        pixels = torch.from_numpy(start.images).permute(0, 3, 1, 2).to(vae.device, vae.dtype) / 127.5 - 1
        clean = (vae.encode(pixels).latent_dist.mode() - vae.config.shift_factor) * vae.config.scaling_factor
        level = round(sigma, 6)  # as in all published images
        noised: Tensor = (1 - level) * clean.to(noise.dtype) + level * noise
        return noised.contiguous()


def _skipped_steps(steps: int, strength: float) -> int:
    """Count the steps that img2img leaves out, as ZImageImg2ImgPipeline does.

    Unlike there, the starting latents are the mean of the encoder's distribution and no sample of it.
    """
    return int(steps * (1 - strength))
