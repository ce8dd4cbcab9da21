"""Sliced quantiles of the colours of images."""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING

from blendbench.core.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

PARTS = 8
# OKLab rates differences of lightness twice too high against those of a and b: with these doubled it fits the data on
# perceived differences best (Ottosson 2021, https://github.com/w3c/csswg-drafts/issues/6642).
LIGHTNESS = 0.5
_BINS = 4096
# Where sRGB lies on all directions, with room for rounding.
_LOW, _HIGH = -0.35, 0.6
_SCALE = _BINS / (_HIGH - _LOW)
# An image with more pixels is read at one pixel of each block.
_MOST = 1 << 18
# On the CPU so many pixels are projected at once, which stay in the cache.
_AT_ONCE = 1 << 14
_GOLDEN = (1 + math.sqrt(5)) / 2
# The axes through the corners of an icosahedron and of the dodecahedron dual to it: evenly spread, and the squares of
# the projections of any vector sum to 16 / 3 of its square.
_CORNERS = (
    *((0.0, _GOLDEN, 1.0), (0.0, _GOLDEN, -1.0), (1.0, 0.0, _GOLDEN), (1.0, 0.0, -_GOLDEN), (_GOLDEN, 1.0, 0.0)),
    *((_GOLDEN, -1.0, 0.0), (1.0, 1.0, 1.0), (1.0, 1.0, -1.0), (1.0, -1.0, 1.0), (1.0, -1.0, -1.0)),
    *((0.0, 1 / _GOLDEN, _GOLDEN), (0.0, 1 / _GOLDEN, -_GOLDEN), (1 / _GOLDEN, _GOLDEN, 0.0)),
    *((1 / _GOLDEN, -_GOLDEN, 0.0), (_GOLDEN, 0.0, 1 / _GOLDEN), (_GOLDEN, 0.0, -1 / _GOLDEN)),
)


def read_quantiles(oklab: Tensor) -> Tensor:
    """Return (n, 16, 8) float64 sliced quantiles of (n, 3, h, w) OKLab.

    Colours (L / 2, a, b) are projected on 16 directions and sorted; each value is the mean of one of 8 equal parts of
    them. Unlike a single order statistic it moves in proportion to the pixels that change.
    """
    matrix = torch.tensor(_directions(), device=oklab.device) * _SCALE
    matrix[:, 0] *= LIGHTNESS
    count = len(matrix)
    rows = torch.arange(count, dtype=torch.int32, device=oklab.device)[:, None] * _BINS
    counts = torch.zeros(len(oklab), count * _BINS, dtype=torch.int64, device=oklab.device)
    step = _AT_ONCE if oklab.device.type == "cpu" else oklab[0, 0].numel()
    for image, pixels in enumerate(map(_sample, oklab)):
        for part in pixels.split(step, dim=1):
            # Grey lies in the middle of a bin: on an edge, rounding would move all of it from one bin to the next.
            places = (matrix @ part).add_(0.5 - _LOW * _SCALE).int().add_(rows)
            counts[image] += torch.bincount(places.flatten(), minlength=count * _BINS)
    return _part_means(counts.reshape(-1, count, _BINS).double())


def color_size(change: Tensor) -> Tensor:
    """Return (n,) sizes in OKLab units of (n, 16, 8) changes of quantiles.

    A shift of every (L / 2, a, b) by one vector has the length of the vector.
    """
    return (3 * change.square().mean((1, 2))).sqrt()


@cache
def _directions() -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(value / math.hypot(*corner) for value in corner) for corner in _CORNERS)


def _sample(oklab: Tensor) -> Tensor:
    """Return (3, m) pixels of one (3, h, w) image.

    One pixel of each block of a large image; which one is scattered, so that no pattern falls in step with the blocks.
    """
    _, height, width = oklab.shape
    block = math.ceil(math.sqrt(height * width / _MOST))
    if block == 1:
        return oklab.flatten(1)
    down, across = (torch.arange(side // block, device=oklab.device) for side in (height, width))
    # A hash of the block's place (the multiplicative one of Knuth, TAOCP 3, 6.4), in integers on every device.
    mixed = (down[:, None] * 40503 + across[None]) * 2654435761 % 2**32 // 2**12
    y, x = down[:, None] * block + mixed % block, across[None] * block + mixed // block % block
    return oklab.flatten(1)[:, (y * width + x).flatten()]


def _part_means(counts: Tensor) -> Tensor:
    """Return the means of equal parts of (n, directions, bins) counts."""
    centres = _LOW + torch.arange(_BINS, dtype=torch.float64, device=counts.device) / _SCALE
    mass, total = counts.cumsum(-1), (counts * centres).cumsum(-1)
    # In pixels: sums of integers are exact, whatever their order.
    pixels = mass[..., -1:]
    levels = pixels * torch.arange(1, PARTS, dtype=torch.float64, device=counts.device) / PARTS
    place = torch.searchsorted(mass, levels.contiguous())
    # Up to a level: all bins before its own, and of that bin what is missing.
    up_to = total.gather(-1, place) - (mass.gather(-1, place) - levels) * centres[place]
    ends = torch.cat([torch.zeros_like(pixels), up_to, total[..., -1:]], -1)
    return ends.diff(dim=-1) * (PARTS / pixels)
