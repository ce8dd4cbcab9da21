"""Read mosaics: steps that come and go with the patches, at any phase and of any sign.

Definition and source: metrics/grid_severity.md.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from blendbench.core.lazy import torch
from blendbench.metrics.borders import mean_along

if TYPE_CHECKING:
    from torch import Tensor

# Times its floor that each axis must have: e^-8 of images without a mosaic have that along both.
_THRESHOLD = 4.0
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
    return (_swing(y, p, -1) * _swing(y, p, -2)).sqrt()


def _swing(y: Tensor, p: int, axis: int) -> Tensor:
    """Return (n,) twice the amplitude of activity along one axis at period p.

    Activity is the mean log step along `axis`, of single pixels and of means of p / 4 and p pixels across it.
    """
    size = y.shape[axis] // p * p
    activity, field, length = torch.zeros(()), y.narrow(axis, 0, size), 1
    for longer in (1, p // 4, p):
        field, length = mean_along(field, longer // length, -3 - axis), longer
        step = field.narrow(axis, 1, size - 1) - field.narrow(axis, 0, size - 1)
        # Means are quieter than pixels, and so is the floor that keeps flat areas quiet.
        activity = activity + step.abs_().add_(1 / math.sqrt(length)).log_().mean(-3 - axis) / 3
    # The step that is missing at the end has the mean of all.
    centred = torch.nn.functional.pad(activity - activity.mean(-1, keepdim=True), (0, 1))
    power = torch.view_as_real(torch.fft.rfft(centred)).square().sum(-1)
    first = size // p
    around = [first + sign * k for k in range(_NEAREST, _FARTHEST + 1) for sign in (-1, 1)]
    floor = power[:, around].quantile(0.5, dim=-1) / math.log(2)
    return 4 * (power[:, first] - _THRESHOLD * floor).clamp_min(0).sqrt() / size
