"""Colour bleeding: colour that changes where lightness has no edge.

Experimental.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from blendbench.core.lazy import torch
from blendbench.metrics.inputs import baseline_oklab, oklab
from blendbench.metrics.registry import metric

if TYPE_CHECKING:
    from torch import Tensor

    from blendbench.metrics.batch import Batch

# Pixels averaged before gradients are taken, so that noise is no edge.
_CELL = 4
# OKLab L a cell from which there is an edge in lightness.
_EDGE = 0.03
# OKLab units a cell below which all colour is alike.
_FLAT = 1e-4
_MIN_SIDE = 32


@metric("color_bleeding", needs=("oklab", "baseline_oklab"))
def color_bleeding(batch: Batch) -> Tensor:
    """Return (n,) fractions of the colour gradient away from lightness edges.

    Less the baseline's. NaN below 32 pixels a side.
    """
    return _unsupported(oklab(batch)) - _unsupported(baseline_oklab(batch))


def _unsupported(lab: Tensor) -> Tensor:
    if min(lab.shape[-2:]) < _MIN_SIDE:
        return torch.full((len(lab),), math.nan, device=lab.device)
    cells = _means(_means(lab, -2), -1)
    chroma, light = _gradient(cells[:, 1:]), _gradient(cells[:, :1])
    supported = _greatest_of_three(_greatest_of_three(light, -2), -1) >= _EDGE
    return (chroma * ~supported).mean((-2, -1)) / (chroma.mean((-2, -1)) + _FLAT)


def _means(field: Tensor, axis: int) -> Tensor:
    """Average each _CELL neighbours along an axis.

    Several times faster on the CPU than a pooling layer.
    """
    whole = field.shape[axis] // _CELL * _CELL
    parts = field.narrow(axis, 0, whole).unflatten(axis, (-1, _CELL)).unbind(axis)
    total: Tensor = sum(parts[1:], start=parts[0])
    return total / _CELL


def _greatest_of_three(field: Tensor, axis: int) -> Tensor:
    """Return the greatest of each value and its two neighbours along an axis."""
    size, greatest = field.shape[axis], field.clone()
    for start, shift in ((1, 0), (0, 1)):
        part = greatest.narrow(axis, start, size - 1)
        torch.maximum(part, field.narrow(axis, shift, size - 1), out=part)
    return greatest


def _gradient(field: Tensor) -> Tensor:
    """Return the length of the gradient of (n, c, h, w) over all channels."""
    across, down = field[..., :-1, 1:] - field[..., :-1, :-1], field[..., 1:, :-1] - field[..., :-1, :-1]
    return (across.square() + down.square()).sum(1).sqrt()
