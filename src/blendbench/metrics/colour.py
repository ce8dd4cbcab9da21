"""Colour, tone, saturation and clipping: how far the distribution of colours moved away from the baseline image."""

import torch
from torch import Tensor

from blendbench.metrics.batch import Batch
from blendbench.metrics.palette import chroma_distance, tone_distance
from blendbench.metrics.registry import metric


@metric("color_drift", needs=("palette", "baseline_palette"))
def color_drift(batch: Batch) -> Tensor:
    """(n,) sliced Wasserstein-1 distance of OKLab (a, b) to the baseline, OKLab units. See metrics/color_drift.md."""
    return chroma_distance(batch.palette, batch.baseline_palette)


@metric("tone_drift", needs=("palette", "baseline_palette"))
def tone_drift(batch: Batch) -> Tensor:
    """(n,) Wasserstein-1 distance of OKLab L to the baseline, 0..1. See metrics/tone_drift.md."""
    return tone_distance(batch.palette, batch.baseline_palette)


@metric("saturation_shift", needs=("oklab", "baseline_oklab"))
def saturation_shift(batch: Batch) -> Tensor:
    """(n,) mean OKLab chroma less the baseline's; above 0 the image is more colourful."""
    return _mean_chroma(batch.oklab) - _mean_chroma(batch.baseline_oklab)


@metric("clip_shift", needs=("images", "baselines"))
def clip_shift(batch: Batch) -> Tensor:
    """(n,) share of pixels with a channel at 0 or 255, less the baseline's."""
    assert batch.baselines is not None
    return _clipped(batch.images) - _clipped(batch.baselines)


def _mean_chroma(oklab: Tensor) -> Tensor:
    a, b = oklab[:, 1], oklab[:, 2]
    # Rows in float32, their mean in float64: the order of the sum must not show.
    return a.square().addcmul_(b, b).sqrt_().mean(-1).double().mean(-1)


def _clipped(images: Tensor) -> Tensor:
    # 255 wraps round to 0, so that both ends of the range lie below 2.
    r, g, b = (images + 1).unbind(1)
    clipped = torch.minimum(torch.minimum(r, g), b) < 2
    return clipped.flatten(1).count_nonzero(1).double() / clipped[0].numel()
