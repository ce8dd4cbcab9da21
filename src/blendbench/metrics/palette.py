"""Colour distributions of images and Wasserstein-1 distances between them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from blendbench.core.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

_DIRECTIONS = 16
_BINS = 2048
# The sRGB gamut lies within 0.33 of the grey axis of OKLab.
_REACH = 0.35
# Cells a side of the (a, b) plane. Pixels of one cell move together: half a cell is 7e-4.
_CELLS = 512
_CELLS_AT_ONCE = 1 << 24


@dataclass(frozen=True)
class Palette:
    """Hold the distributions of the colours of n images, wherever they are.

    `chroma`: (n, 16, 2048) float64, the fraction of pixels up to each bin of OKLab (a, b) projected on each of 16
    directions. `tone`: (n, 2048), the same of OKLab L.
    """

    chroma: Tensor
    tone: Tensor


def read_palette(oklab: Tensor) -> Palette:
    """Read the palette of (n, 3, h, w) OKLab."""
    at_once = max(1, _CELLS_AT_ONCE // _CELLS**2)
    chroma = [_chroma(part[:, 1].flatten(1), part[:, 2].flatten(1)) for part in oklab.split(at_once)]
    # Rounding may leave white a little above 1.
    tone = (oklab[:, 0].flatten(1) * (_BINS - 1)).add_(0.5).int().clamp_(0, _BINS - 1)
    first = torch.arange(len(oklab), dtype=torch.int32, device=oklab.device)[:, None] * _BINS
    counts = torch.bincount(tone.add_(first).flatten(), minlength=len(oklab) * _BINS).reshape(-1, _BINS)
    return Palette(torch.cat(chroma), _cumulative(counts.double()))


def chroma_distance(one: Palette, other: Palette) -> Tensor:
    """Return (n,) sliced Wasserstein-1 distances of (a, b) in OKLab units.

    Source: Rabin, Peyre, Delon & Bernot 2011.
    """
    return (one.chroma - other.chroma).abs().sum(-1).mean(-1) * (2 * _REACH / _BINS)


def tone_distance(one: Palette, other: Palette) -> Tensor:
    """Return (n,) Wasserstein-1 distances of OKLab L, in 0..1."""
    return (one.tone - other.tone).abs().sum(-1) / (_BINS - 1)


def _chroma(a: Tensor, b: Tensor) -> Tensor:
    """Project (n, m) a and b on directions; return (n, directions, bins).

    Cells are counted first where they are fewer than the pixels.
    """
    n, m = a.shape
    scale = _CELLS / (2 * _REACH)
    # Grey lies in the middle of a cell: on an edge, rounding would move all grey pixels from one cell to the next.
    row, column = ((axis * scale).add_(_CELLS / 2 + 0.5).int() for axis in (a, b))
    image = torch.arange(n, dtype=torch.int32, device=a.device)[:, None]
    weight = None
    if m > _CELLS**2 // 4:
        counts = torch.bincount(
            row.mul_(_CELLS).add_(column).add_(image * _CELLS**2).flatten(), minlength=n * _CELLS**2
        )
        cell = counts.nonzero().squeeze(1).int()
        weight = counts[cell].double()
        image, place = cell // _CELLS**2, cell % _CELLS**2
        row, column = place // _CELLS, place % _CELLS
    a, b = ((index - _CELLS // 2).float() / scale for index in (row, column))
    first = image * _BINS
    rows = []
    for k in range(_DIRECTIONS):
        angle, bins = math.pi * k / _DIRECTIONS, _BINS / (2 * _REACH)
        along = (a * (math.cos(angle) * bins)).add_(b, alpha=math.sin(angle) * bins).add_(_BINS / 2 + 0.5)
        rows.append(torch.bincount((along.int() + first).flatten(), weight, n * _BINS).reshape(n, _BINS))
    return _cumulative(torch.stack(rows, 1).double())


def _cumulative(counts: Tensor) -> Tensor:
    return counts.cumsum(-1) / counts.sum(-1, keepdim=True)
