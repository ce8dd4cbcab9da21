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
    n, a, b = len(chroma), chroma[:, 0].flatten(1), chroma[:, 1].flatten(1)
    rows = []
    for k in range(_DIRECTIONS):
        angle = math.pi * k / _DIRECTIONS
        place = a * math.cos(angle) + b * math.sin(angle)
        cell = ((place + _REACH) * (_BINS / (2 * _REACH))).long().clamp_(0, _BINS - 1)
        cell += torch.arange(n, device=cell.device)[:, None] * _BINS
        rows.append(torch.bincount(cell.flatten(), minlength=n * _BINS).reshape(n, _BINS))
    counts = torch.stack(rows, 1)
    return counts.cumsum(-1).double() / a.shape[1]
