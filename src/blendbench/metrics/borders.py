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
# Steps along a line count up to this many times the steps beside, and are averaged over each of so many parts.
_MOST, _PARTS = 2.0, 4
# Deviations of all lines of an image along both axes, and mean step, from which a line stands out. Good generated
# images have at most 0.49 along both, photos 0.52.
_LINE_DEVIATIONS, _LEAST_LINE, _ROUNDING = 3.5, 0.55, 0.01
# Standard deviation of `excess` in clean images, times the root of the borders' pixels: 0.05 at 128 pixels a side.
_DEVIATION = 1.5


@dataclass(frozen=True)
class BorderReading:
    """Hold how much steps at patch borders exceed the others, (n,) each.

    `excess`: over the median phase and over half a period, whichever is greater; below 0 if borders have less.
    `lead`: over the greatest phase other than half a period and the border's neighbours; above 0, no other phase has
    such steps. `half`: how much steps at borders and half way between them, both, exceed the median phase and those at
    quarters; JPEG has them too. `line`: mean step of one sign along one straight line at a multiple of half the period,
    in units of the steps beside, the geometric mean of both axes; 0 where one axis has no line that stands out, or the
    strongest ones elsewhere have more. `line_lead`: `line` over these. `lesser`: `excess` of the axis that has less.
    `quarters`: fraction of the steps at borders, over the median phase, that each quarter of the period along each axis
    has; video codecs and WebP transform blocks of 4 pixels within theirs of 16.
    """

    excess: Tensor
    lead: Tensor
    half: Tensor
    line: Tensor
    line_lead: Tensor
    lesser: Tensor
    quarters: Tensor


def read_borders(y: Tensor, p: int) -> BorderReading:
    """Read (n, h, w) luma in 0..255 at period p.

    All NaN below three tiles a side.
    """
    if min(y.shape[-2:]) < _MIN_TILES * p or p < _MIN_PATCH_GRID:
        nothing = torch.full((len(y),), math.nan, device=y.device)
        return BorderReading(nothing, nothing, nothing, nothing, nothing, nothing, nothing)
    excess, lead, half, line, elsewhere, border, quarter = (
        torch.stack(both) for both in zip(*(_read(y, p, axis) for axis in (-1, -2)), strict=True)
    )
    both = line.prod(0).sqrt()
    others = elsewhere.clamp_min(0).prod(0).sqrt()
    line = torch.where(both >= others.clamp_min(_LEAST_LINE), both, 0.0)
    lead_of_line = line / others.clamp_min(_ROUNDING)
    quarters = quarter.amin(0) / border.mean(0).clamp_min(_ROUNDING)
    return BorderReading(excess.mean(0), lead.mean(0), half.mean(0), line, lead_of_line, excess.amin(0), quarters)


def sampling_deviation(height: int, width: int, p: int) -> float:
    """Return how far `excess` strays in clean images of this size."""
    return _DEVIATION * math.sqrt(p / (height * width))


def _read(y: Tensor, p: int, axis: int) -> tuple[Tensor, ...]:
    """Read one axis of (n, h, w).

    Returns (n,) excess, lead, half, line, line elsewhere, and steps at borders and at the lesser quarter over the
    median phase.
    """
    reach = min(_REACH, p // 4)
    ratio, lines, field, length = torch.zeros(()), y, y, 1
    for longer in (1, p // 4, p):
        field, length = mean_along(field, longer // length, -3 - axis), longer
        rest, beside = _steps(field, reach, 1 / math.sqrt(length), axis)
        if length == p // 4:
            lines = _along(rest / beside, -3 - axis)
        logs = rest.abs_().add_(1 / math.sqrt(length)).div_(beside).log_()
        ratio = ratio + logs.clamp_(-CLIP, CLIP).mean(-3 - axis) / 3
    # Place k of `ratio` is the step between pixels k + 2 reach and k + 2 reach + 1.
    phases = [ratio[..., (phase - 2 * reach) % p :: p].mean(-1) for phase in range(p)]
    border, half = p - 1, p // 2 - 1
    others = torch.stack([phases[k] for k in range(p) if k not in (border, half)])
    median = others.quantile(0.5, dim=0)
    usual = torch.maximum(phases[half], median)
    # A line of one pixel along the border, or a blurred step, has steps at the next phase too.
    distant = others[1:-1]
    quarters = torch.stack([phases[half - p // 4], phases[half + p // 4]])
    double = torch.minimum(phases[border], phases[half]) - torch.maximum(quarters.amax(0), median)
    line, elsewhere = _outstanding(lines, (half - 2 * reach) % (p // 2), p // 2)
    over_median = phases[border] - median, quarters.amin(0) - median
    return phases[border] - usual, phases[border] - distant.amax(0), double, line, elsewhere, *over_median


def _along(steps: Tensor, axis: int) -> Tensor:
    """Return (n, m) magnitudes of mean clipped steps along parts of `axis`, averaged over the parts.

    A seam keeps its sign along a tile, edges of the content change it or end.
    """
    whole = steps.shape[axis] // _PARTS * _PARTS
    parts = steps.narrow(axis, 0, whole).clamp(-_MOST, _MOST).unflatten(axis, (_PARTS, -1))
    along: Tensor = parts.mean(axis).abs().mean(axis)
    return along


def _outstanding(lines: Tensor, first: int, step: int) -> tuple[Tensor, Tensor]:
    """Return (n,) greatest of (n, m) at `first` + k `step`, and elsewhere, over the median.

    The greatest is 0 if it does not stand out.
    """
    over = lines - lines.quantile(0.5, dim=-1, keepdim=True)
    # The median magnitude of a normal distribution is 0.67 deviations.
    deviation = over.abs().quantile(0.5, dim=-1) / 0.67 + _ROUNDING
    greatest = over[:, first::step].amax(-1)
    elsewhere = torch.cat([over[:, k::step] for k in range(step) if k != first], -1).amax(-1)
    return torch.where(greatest >= _LINE_DEVIATIONS * deviation, greatest, 0.0), elsewhere


def mean_along(field: Tensor, count: int, axis: int) -> Tensor:
    """Average each `count` neighbours of (n, h, w) along an axis."""
    if count == 1:
        return field
    whole = field.shape[axis] // count * count
    parts = field.narrow(axis, 0, whole).unflatten(axis, (-1, count)).unbind(axis)
    total: Tensor = sum(parts[1:], start=parts[0])
    return total / count


def _steps(field: Tensor, reach: int, floor: float, axis: int) -> tuple[Tensor, Tensor]:
    """Return (n, h, m) or (n, m, w) steps less their trend, and the mean magnitude of those beside.

    The trend is the mean of the `reach` steps on either side, which telescopes. `floor` is added to the magnitudes
    beside. m is the size less 1 + 4 `reach`.
    """
    size, span = field.shape[axis], 2 * reach + 1
    step = field.narrow(axis, reach + 1, size - span) - field.narrow(axis, reach, size - span)
    whole = field.narrow(axis, span, size - span) - field.narrow(axis, 0, size - span)
    # The step less (whole - step) / (2 reach).
    rest = step.mul_(span / (2 * reach)).sub_(whole, alpha=1 / (2 * reach))
    magnitude, inner = rest.abs(), rest.narrow(axis, reach, size - span - 2 * reach)
    around = sum_windows(magnitude, span, axis).sub_(magnitude.narrow(axis, reach, inner.shape[axis]))
    return inner, around.div_(2 * reach).add_(floor)


def sum_windows(field: Tensor, span: int, axis: int) -> Tensor:
    """Sum each `span` neighbours along an axis."""
    total, length = field, 1
    while 2 * length <= span:
        size = total.shape[axis] - length
        total, length = total.narrow(axis, 0, size) + total.narrow(axis, length, size), 2 * length
    for k in range(length, span):
        size = field.shape[axis] - k
        total = total.narrow(axis, 0, size) + field.narrow(axis, k, size)
    return total
