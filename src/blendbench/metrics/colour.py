"""Colour, tone, saturation and clipping against the baseline image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blendbench.core.lazy import torch
from blendbench.metrics.inputs import (
    baseline_color_quantiles,
    baseline_oklab,
    baseline_palette,
    color_quantiles,
    oklab,
    palette,
    reference_color_quantiles,
)
from blendbench.metrics.palette import chroma_distance, tone_distance
from blendbench.metrics.quantiles import color_size
from blendbench.metrics.registry import metric

if TYPE_CHECKING:
    from torch import Tensor

    from blendbench.metrics.batch import Batch

# A reference nearer than this to the baseline has no colours to give: the margin of color_towards.
LEAST_WAY = 0.03
_QUANTILES = ("color_quantiles", "baseline_color_quantiles", "reference_color_quantiles")


@metric("color_towards", needs=_QUANTILES)
def color_towards(batch: Batch) -> Tensor:
    """Return (n,) parts of the way to the reference's colours.

    In OKLab units; NaN where the reference has the baseline's colours. Definition: metrics/color_towards.md.
    """
    way, _, fraction = _split(batch)
    size = color_size(way)
    return torch.where(size < LEAST_WAY, torch.nan, fraction * size)


@metric("color_elsewhere", needs=_QUANTILES)
def color_elsewhere(batch: Batch) -> Tensor:
    """Return (n,) changes of colour that do not lead to the reference's.

    In OKLab units. Definition: metrics/color_elsewhere.md.
    """
    way, change, fraction = _split(batch)
    return color_size(change - fraction[:, None, None] * way)


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


def _split(batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Return the way to the reference, the change, and its fraction of the way.

    Two (n, 16, 8) differences of quantiles from the baseline's, and (n,) in 0..1.
    """
    baseline = baseline_color_quantiles(batch)
    way, change = reference_color_quantiles(batch) - baseline, color_quantiles(batch) - baseline
    length = way.square().sum((1, 2))
    along = (way * change).sum((1, 2))
    return way, change, torch.where(length > 0, along / length, 0.0).clamp(0, 1)


def _mean_chroma(lab: Tensor) -> Tensor:
    a, b = lab[:, 1], lab[:, 2]
    # Rows in float32, their mean in float64: the order of the sum must not show.
    return a.square().addcmul_(b, b).sqrt_().mean(-1).double().mean(-1)


def _clipped(images: Tensor) -> Tensor:
    # 255 wraps round to 0, so that both ends of the range lie below 2.
    r, g, b = (images + 1).unbind(1)
    clipped = torch.minimum(torch.minimum(r, g), b) < 2
    return clipped.flatten(1).count_nonzero(1).double() / clipped[0].numel()
