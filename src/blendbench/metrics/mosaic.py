"""Read mosaics: steps that come and go with the patches, at any phase and of any sign.

Definition and source: metrics/grid_severity.md.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from blendbench.core.lazy import torch
from blendbench.metrics.borders import mean_along, sum_windows

if TYPE_CHECKING:
    from torch import Tensor

# Times its floor that the axes must have in the geometric mean: 2 t K_1(2 t) of images without a mosaic have t, 0.02 %.
_THRESHOLD = 5.0
# Frequencies on either side of a harmonic that give its floor.
_NEAREST, _FARTHEST = 2, 7
_MIN_TILES = 2 * (_FARTHEST + 1)


def read_mosaic(y: Tensor, p: int) -> Tensor:
    """Return (n,) log ratios of steps where they are greatest and least in a patch.

    Of (n, h, w) luma in 0..255 at period p, with the period of half a patch left out; the geometric mean of both axes.
    0 where one axis has none, and below sixteen tiles a side.
    """
    if min(y.shape[-2:]) < _MIN_TILES * p:
        return torch.zeros(len(y), device=y.device)
    (across, floor), (down, other) = (_power(y, p, axis) for axis in (-1, -2))
    beyond = across * down - _THRESHOLD**2 * floor * other
    return 4 * beyond.clamp_min(0).pow(1 / 4)


def _power(y: Tensor, p: int, axis: int) -> tuple[Tensor, Tensor]:
    """Return (n,) power of activity along one axis at period p, and its floor.

    In squared amplitudes, a quarter each. Activity is the mean log difference of neighbouring halves of a patch along
    `axis`, less that of their neighbours, of means of p / 4 and p pixels across it.
    """
    size = y.shape[axis] // p * p
    activity, field, length, half = torch.zeros(()), y.narrow(axis, 0, size), 1, p // 2
    for longer in (p // 4, p):
        field, length = mean_along(field, longer // length, -3 - axis), longer
        sums = sum_windows(field, half, axis)
        count = sums.shape[axis] - half
        step = (sums.narrow(axis, half, count) - sums.narrow(axis, 0, count)).div_(half)
        # Less the trend, which is steeper than a mosaic in most images.
        count -= 2 * half
        trend = step.narrow(axis, 0, count) + step.narrow(axis, 2 * half, count)
        step = step.narrow(axis, half, count) - trend.div_(2)
        # Means are quieter than pixels, and so is the floor that keeps flat areas quiet.
        activity = activity + step.abs_().add_(1 / math.sqrt(length)).log_().mean(-3 - axis) / 2
    # The differences that are missing at the end have the mean of all.
    centred = torch.nn.functional.pad(activity - activity.mean(-1, keepdim=True), (0, size - activity.shape[-1]))
    power = torch.view_as_real(torch.fft.rfft(centred)).square().sum(-1) / size**2
    first = size // p
    around = [first + sign * k for k in range(_NEAREST, _FARTHEST + 1) for sign in (-1, 1)]
    return power[:, first], power[:, around].quantile(0.5, dim=-1) / math.log(2)
