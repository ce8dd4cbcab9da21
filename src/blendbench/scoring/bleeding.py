"""Colour bleeding: colour that changes where lightness has no edge, against the baseline picture. Experimental."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from blendbench.scoring.batch import Batch
from blendbench.scoring.registry import metric

# Pixels averaged before gradients are taken, so that noise is no edge.
_CELL = 4
# OKLab L a cell from which there is an edge in lightness.
_EDGE = 0.03
# OKLab units a cell below which all colour is alike.
_FLAT = 1e-4
_MIN_SIDE = 32


@metric("color_bleeding", needs=("oklab", "baseline_oklab"))
def color_bleeding(batch: Batch) -> Tensor:
    """(n,) share of the colour gradient away from lightness edges, less the baseline's; NaN below 32 pixels a side."""
    return _unsupported(batch.oklab) - _unsupported(batch.baseline_oklab)


def _unsupported(oklab: Tensor) -> Tensor:
    if min(oklab.shape[-2:]) < _MIN_SIDE:
        return torch.full((len(oklab),), math.nan, device=oklab.device)
    cells = F.avg_pool2d(oklab, _CELL)
    chroma, light = _gradient(cells[:, 1:]), _gradient(cells[:, :1])
    supported = F.max_pool2d(light[:, None], 3, 1, 1)[:, 0] >= _EDGE
    return (chroma * ~supported).mean((-2, -1)) / (chroma.mean((-2, -1)) + _FLAT)


def _gradient(field: Tensor) -> Tensor:
    """(n, c, h, w) -> (n, h - 1, w - 1) length of the gradient over all channels."""
    across, down = field[..., :-1, 1:] - field[..., :-1, :-1], field[..., 1:, :-1] - field[..., :-1, :-1]
    return (across.square() + down.square()).sum(1).sqrt()
