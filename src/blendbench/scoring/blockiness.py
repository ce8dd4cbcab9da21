"""Blockiness: steps in brightness at patch borders, whatever their sign."""

import math

import torch
from torch import Tensor

from blendbench.scoring.batch import Batch
from blendbench.scoring.registry import metric

# Steps on either side that tell the trend, and steps on either side that a border is compared with.
_REACH = 4
_CLIP = math.log(8)
_MIN_TILES = 3
_MIN_LATTICE = 8


@metric("blockiness", needs=("luma",))
def blockiness(batch: Batch) -> Tensor:
    """(n,) excess of log-normalised steps at lattice borders; NaN below three tiles a side. See metrics/blockiness.md.

    Source: the neighbour-normalised step of Muijs & Kirenko 2005, freed of the trend, averaged along the border at
    three lengths, with a half-period control.
    """
    luma, lattice = batch.luma, batch.lattice
    if min(luma.shape[-2:]) < _MIN_TILES * lattice or lattice < _MIN_LATTICE:
        return torch.full((len(batch),), math.nan, device=luma.device)
    return (_excess(luma, lattice) + _excess(luma.transpose(-1, -2).contiguous(), lattice)) / 2


def _excess(luma: Tensor, lattice: int) -> Tensor:
    """Border steps of (n, h, w) along w: mean at lattice borders minus the greater of half-period and median phase."""
    reach = min(_REACH, lattice // 4)
    ratio, rows, length = torch.zeros(()), luma, 1
    for longer in (1, lattice // 4, lattice):
        rows, length = _along(rows, longer // length), longer
        ratio = ratio + _ratio(rows, reach, 1 / math.sqrt(length)) / 3
    # Column k of `ratio` is the step between pixels k + 2 reach and k + 2 reach + 1.
    phases = [ratio[..., (phase - 2 * reach) % lattice :: lattice].mean(-1) for phase in range(lattice)]
    border, half = lattice - 1, lattice // 2 - 1
    others = torch.stack([phases[k] for k in range(lattice) if k not in (border, half)])
    return phases[border] - torch.maximum(phases[half], others.quantile(0.5, dim=0))


def _along(rows: Tensor, count: int) -> Tensor:
    """(n, h, w) -> (n, h // count, w): mean of each `count` rows."""
    whole = rows.shape[1] // count
    return rows[:, : whole * count].unflatten(1, (whole, count)).mean(2) if count > 1 else rows


def _ratio(rows: Tensor, reach: int, floor: float) -> Tensor:
    """(n, h, w) -> (n, w - 1 - 4 reach) mean over h of ln((E + floor) / (mean E beside + floor)), clipped.

    E is the magnitude of a step less the trend: the mean of the `reach` steps on either side, which telescopes.
    """
    width, span = rows.shape[-1], 2 * reach + 1
    step = rows[..., reach + 1 : width - reach] - rows[..., reach : width - 1 - reach]
    whole = rows[..., span:] - rows[..., : width - span]
    # The step less (whole - step) / (2 reach).
    rest = step.mul_(span / (2 * reach)).sub_(whole, alpha=1 / (2 * reach)).abs_()
    inner = rest[..., reach : rest.shape[-1] - reach]
    around = _windows(rest, span).sub_(inner).div_(2 * reach).add_(floor)
    return (inner + floor).div_(around).log_().clamp_(-_CLIP, _CLIP).mean(-2)


def _windows(row: Tensor, span: int) -> Tensor:
    """(..., w) -> (..., w - span + 1) sums of `span` neighbours, an odd number."""
    total, length = row, 1
    while 2 * length < span:
        total, length = total[..., : total.shape[-1] - length] + total[..., length:], 2 * length
    for k in range(length, span):
        total = total[..., : row.shape[-1] - k] + row[..., k:]
    return total
