"""Blockiness: steps in brightness at patch borders, whatever their sign."""

import math

import torch
from torch import Tensor

from blendbench.scoring.batch import Batch
from blendbench.scoring.registry import metric

_REACH = 3
_CLIP = math.log(8)
_MIN_TILES = 3


@metric("blockiness", needs=("luma",))
def blockiness(batch: Batch) -> Tensor:
    """(n,) excess of log-normalised steps at lattice borders; NaN below three tiles a side. See metrics/blockiness.md.

    Source: the neighbour-normalised step of Muijs & Kirenko 2005, with a half-period control.
    """
    luma, lattice = batch.luma, batch.lattice
    if min(luma.shape[-2:]) < _MIN_TILES * lattice or lattice < 2 * _REACH + 2:
        return torch.full((len(batch),), math.nan)
    return (_excess(luma, lattice) + _excess(luma.transpose(-1, -2), lattice)) / 2


def _excess(luma: Tensor, lattice: int) -> Tensor:
    """Border steps of (n, h, w) along w: mean at lattice borders minus the greater of half-period and median phase."""
    step = luma.diff(dim=-1).abs()
    width = step.shape[-1] - 2 * _REACH
    shifts = [step[..., start : start + width] for start in range(2 * _REACH + 1)]
    inner = shifts.pop(_REACH)
    around = sum(shifts) / (2 * _REACH)
    ratio = torch.log((inner + 1) / (around + 1)).clamp(-_CLIP, _CLIP).mean(-2)
    # Column k of `ratio` is the step between pixels k + 3 and k + 4.
    phases = [ratio[..., (phase - _REACH) % lattice :: lattice].mean(-1) for phase in range(lattice)]
    border, half = lattice - 1, lattice // 2 - 1
    others = torch.stack([phases[k] for k in range(lattice) if k not in (border, half)])
    return phases[border] - torch.maximum(phases[half], others.quantile(0.5, dim=0))
