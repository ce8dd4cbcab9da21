"""Colour drift: how far the distribution of hue and saturation moved away from the baseline picture."""

import math

import torch
from torch import Tensor

from blendbench.scoring.batch import Batch
from blendbench.scoring.registry import metric

_DIRECTIONS = 16
_BINS = 2048
# The sRGB gamut lies within 0.33 of the grey axis of OKLab.
_REACH = 0.35


@metric("color_drift", needs=("chroma", "baseline_chroma"))
def color_drift(batch: Batch) -> Tensor:
    """(n,) sliced Wasserstein-1 distance of OKLab (a, b) to the baseline, OKLab units. See metrics/color_drift.md."""
    return (
        _cumulative(batch.chroma).sub(_cumulative(batch.baseline_chroma)).abs().sum(-1).mean(-1).mul(2 * _REACH / _BINS)
    )


def _cumulative(chroma: Tensor) -> Tensor:
    """(n, 2, h, w) -> (n, directions, bins): share of pixels up to each bin along each direction of (a, b)."""
    n, places = len(chroma), chroma.flatten(2)
    a, b = places[:, 0], places[:, 1]
    # 32-bit cells: half the memory traffic of 64-bit ones, which is what this costs.
    first = torch.arange(n, dtype=torch.int32, device=chroma.device)[:, None] * _BINS
    scale = _BINS / (2 * _REACH)
    # Grey lies in the middle of a bin: on an edge, rounding would move all grey pixels from one bin to the next.
    grey = _BINS / 2 + 0.5
    rows = []
    for k in range(_DIRECTIONS):
        angle = math.pi * k / _DIRECTIONS
        place = (a * (math.cos(angle) * scale)).add_(b, alpha=math.sin(angle) * scale).add_(grey)
        rows.append(torch.bincount(place.int().add_(first).flatten(), minlength=n * _BINS).reshape(n, _BINS))
    return torch.stack(rows, 1).cumsum(-1).double() / places.shape[-1]
