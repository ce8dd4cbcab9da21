"""Colour, tone, saturation and clipping against the baseline image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blendbench.core.lazy import torch
from blendbench.metrics.inputs import baseline_oklab, baseline_palette, oklab, palette
from blendbench.metrics.palette import chroma_distance, tone_distance
from blendbench.metrics.registry import metric

if TYPE_CHECKING:
    from torch import Tensor

    from blendbench.metrics.batch import Batch


@metric("color_drift", needs=("palette", "baseline_palette"))
def color_drift(batch: Batch) -> Tensor:
    """Return (n,) sliced Wasserstein-1 OKLab (a, b) distances to the baseline.

    In OKLab units. Definition: metrics/color_drift.md.
    """
    return chroma_distance(palette(batch), baseline_palette(batch))


@metric("tone_drift", needs=("palette", "baseline_palette"))
def tone_drift(batch: Batch) -> Tensor:
    """Return (n,) Wasserstein-1 distances of OKLab L to the baseline, 0..1.

    Definition: metrics/tone_drift.md.
    """
    return tone_distance(palette(batch), baseline_palette(batch))


@metric("saturation_shift", needs=("oklab", "baseline_oklab"))
def saturation_shift(batch: Batch) -> Tensor:
    """Return (n,) mean OKLab chroma less the baseline's.

    Above 0 for more colour.
    """
    return _mean_chroma(oklab(batch)) - _mean_chroma(baseline_oklab(batch))


@metric("clip_shift", needs=("images", "baselines"))
def clip_shift(batch: Batch) -> Tensor:
    """Return (n,) fractions of clipped pixels, less the baseline's.

    A pixel is clipped if a channel is 0 or 255.
    """
    return _clipped(batch.images) - _clipped(batch["baselines"])


def _mean_chroma(lab: Tensor) -> Tensor:
    a, b = lab[:, 1], lab[:, 2]
    # Rows in float32, their mean in float64: the order of the sum must not show.
    return a.square().addcmul_(b, b).sqrt_().mean(-1).double().mean(-1)


def _clipped(images: Tensor) -> Tensor:
    # 255 wraps round to 0, so that both ends of the range lie below 2.
    r, g, b = (images + 1).unbind(1)
    clipped = torch.minimum(torch.minimum(r, g), b) < 2
    return clipped.flatten(1).count_nonzero(1).double() / clipped[0].numel()
