"""Blockiness: steps in brightness at patch borders, whatever their sign."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from blendbench.core.lazy import torch
from blendbench.metrics.inputs import luma
from blendbench.metrics.registry import metric

if TYPE_CHECKING:
    from torch import Tensor

    from blendbench.metrics.batch import Batch

# Steps on either side that give the trend, and steps on either side that a border is compared with.
_REACH = 4
_CLIP = math.log(8)
_MIN_TILES = 3
_MIN_PATCH_GRID = 8


@metric("blockiness", needs=("luma",))
def blockiness(batch: Batch) -> Tensor:
    """Return (n,) excesses of log-normalised steps at patch borders.

    NaN below three tiles a side. Definition: metrics/blockiness.md. Source: the neighbour-normalised step of Muijs &
    Kirenko 2005, freed of the trend, averaged along the border at three lengths, with a half-period control.
    """
    y, patch_grid = luma(batch), batch.patch_grid
    if min(y.shape[-2:]) < _MIN_TILES * patch_grid or patch_grid < _MIN_PATCH_GRID:
        return torch.full((len(batch),), math.nan, device=y.device)
    return (_excess(y, patch_grid, -1) + _excess(y, patch_grid, -2)) / 2


def _excess(y: Tensor, patch_grid: int, axis: int) -> Tensor:
    """Return the mean step of (n, h, w) at patch borders along `axis`.

    Less the greater of that at half a period and the median of the other phases.
    """
    reach = min(_REACH, patch_grid // 4)
    ratio, field, length = torch.zeros(()), y, 1
    for longer in (1, patch_grid // 4, patch_grid):
        field, length = _along(field, longer // length, -3 - axis), longer
        ratio = ratio + _ratio(field, reach, 1 / math.sqrt(length), axis) / 3
    # Place k of `ratio` is the step between pixels k + 2 reach and k + 2 reach + 1.
    phases = [ratio[..., (phase - 2 * reach) % patch_grid :: patch_grid].mean(-1) for phase in range(patch_grid)]
    border, half = patch_grid - 1, patch_grid // 2 - 1
    others = torch.stack([phases[k] for k in range(patch_grid) if k not in (border, half)])
    return phases[border] - torch.maximum(phases[half], others.quantile(0.5, dim=0))


def _along(field: Tensor, count: int, axis: int) -> Tensor:
    """Average each `count` neighbours of (n, h, w) along an axis."""
    if count == 1:
        return field
    whole = field.shape[axis] // count * count
    parts = field.narrow(axis, 0, whole).unflatten(axis, (-1, count)).unbind(axis)
    total: Tensor = sum(parts[1:], start=parts[0])
    return total / count


def _ratio(field: Tensor, reach: int, floor: float, axis: int) -> Tensor:
    """Return (n, m) means over the other axis of clipped log ratios of steps.

    The ratio is (E + floor) / (mean of E beside + floor). E is the magnitude of a step along `axis` less the trend: the
    mean of the `reach` steps on either side, which telescopes. m is the size less 1 + 4 `reach`.
    """
    size, span = field.shape[axis], 2 * reach + 1
    step = field.narrow(axis, reach + 1, size - span) - field.narrow(axis, reach, size - span)
    whole = field.narrow(axis, span, size - span) - field.narrow(axis, 0, size - span)
    # The step less (whole - step) / (2 reach).
    rest = step.mul_(span / (2 * reach)).sub_(whole, alpha=1 / (2 * reach)).abs_()
    inner = rest.narrow(axis, reach, size - span - 2 * reach)
    around = _windows(rest, span, axis).sub_(inner).div_(2 * reach).add_(floor)
    return (inner + floor).div_(around).log_().clamp_(-_CLIP, _CLIP).mean(-3 - axis)


def _windows(field: Tensor, span: int, axis: int) -> Tensor:
    """Sum each `span` neighbours along an axis; an odd number."""
    total, length = field, 1
    while 2 * length < span:
        size = total.shape[axis] - length
        total, length = total.narrow(axis, 0, size) + total.narrow(axis, length, size), 2 * length
    for k in range(length, span):
        size = field.shape[axis] - k
        total = total.narrow(axis, 0, size) + field.narrow(axis, k, size)
    return total
