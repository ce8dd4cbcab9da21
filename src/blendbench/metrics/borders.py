"""Read steps in brightness at patch borders, whatever their sign.

Definition and source: metrics/blockiness.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from blendbench.core.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

# Steps on either side that give the trend, and steps on either side that a border is compared with.
_REACH = 4
# Greatest magnitude of a log ratio of steps.
CLIP = math.log(8)
_MIN_TILES = 3
_MIN_PATCH_GRID = 8
# Deviations of all lines of an image, and log ratio of steps, from which a line stands out. Along both axes at
# multiples of eight pixels, good generated images and crops of them have 3.0 and 0.2, photos 2.5 and 0.4.
_LINE_DEVIATIONS, _LEAST_LINE, _ROUNDING = 3.5, 0.2, 0.02
# Standard deviation of `excess` in clean images, times the root of the borders' pixels: 0.05 at 128 pixels a side.
_DEVIATION = 1.5


@dataclass(frozen=True)
class BorderReading:
    """Hold how much steps at patch borders exceed the others, (n,) each.

    `excess`: over the median phase and over half a period, whichever is greater; below 0 if borders have less.
    `lead`: over the greatest phase other than half a period and the border's neighbours; above 0, no other phase has
    such steps. `half`: how much steps at borders and half way between them, both, exceed the median phase and those at
    quarters; JPEG has them too. `line`: how much steps along one straight line at a multiple of half the period exceed
    those around, along both axes; 0 where one axis has no line that stands out.
    """

    excess: Tensor
    lead: Tensor
    half: Tensor
    line: Tensor


def read_borders(y: Tensor, p: int) -> BorderReading:
    """Read (n, h, w) luma in 0..255 at period p.

    All NaN below three tiles a side.
    """
    if min(y.shape[-2:]) < _MIN_TILES * p or p < _MIN_PATCH_GRID:
        nothing = torch.full((len(y),), math.nan, device=y.device)
        return BorderReading(nothing, nothing, nothing, nothing)
    (*one, line), (*other, across) = (_read(y, p, axis) for axis in (-1, -2))
    excess, lead, half = (torch.stack(both).mean(0) for both in zip(one, other, strict=True))
    return BorderReading(excess, lead, half, torch.minimum(line, across))


def sampling_deviation(height: int, width: int, p: int) -> float:
    """Return how far `excess` strays in clean images of this size."""
    return _DEVIATION * math.sqrt(p / (height * width))


def _read(y: Tensor, p: int, axis: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return (n,) excess, lead, half and line along one axis of (n, h, w)."""
    reach = min(_REACH, p // 4)
    ratio, field, length = torch.zeros(()), y, 1
    for longer in (1, p // 4, p):
        field, length = mean_along(field, longer // length, -3 - axis), longer
        ratio = ratio + _ratio(field, reach, 1 / math.sqrt(length), axis) / 3
    # Place k of `ratio` is the step between pixels k + 2 reach and k + 2 reach + 1.
    phases = [ratio[..., (phase - 2 * reach) % p :: p].mean(-1) for phase in range(p)]
    border, half = p - 1, p // 2 - 1
    others = torch.stack([phases[k] for k in range(p) if k not in (border, half)])
    median = others.quantile(0.5, dim=0)
    usual = torch.maximum(phases[half], median)
    # A line of one pixel along the border, or a blurred step, has steps at the next phase too.
    distant = others[1:-1]
    quarters = torch.stack([phases[half - p // 4], phases[half + p // 4]]).amax(0)
    double = torch.minimum(phases[border], phases[half]) - torch.maximum(quarters, median)
    line = _outstanding(ratio, (half - 2 * reach) % (p // 2), p // 2)
    return phases[border] - usual, phases[border] - distant.amax(0), double, line


def _outstanding(ratio: Tensor, first: int, step: int) -> Tensor:
    """Return (n,) greatest of (n, m) at `first` + k `step`; 0 if it does not stand out."""
    greatest = ratio[:, first::step].amax(-1)
    median = ratio.quantile(0.5, dim=-1)
    # The median magnitude of a normal distribution is 0.67 deviations.
    deviation = (ratio - median[:, None]).abs().quantile(0.5, dim=-1) / 0.67 + _ROUNDING
    found = ((greatest - median) / deviation >= _LINE_DEVIATIONS) & (greatest >= _LEAST_LINE)
    return torch.where(found, greatest, 0.0)


def mean_along(field: Tensor, count: int, axis: int) -> Tensor:
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
    return (inner + floor).div_(around).log_().clamp_(-CLIP, CLIP).mean(-3 - axis)


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
