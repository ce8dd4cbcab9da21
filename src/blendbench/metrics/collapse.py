"""Find images that show nothing: one colour, or noise alone."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from blendbench.core.lazy import torch
from blendbench.metrics.filtering import power_spectrum

if TYPE_CHECKING:
    from torch import Tensor

COLLAPSES = ("", "blank", "noise")
# Grey levels RMS in every channel. Black, white and one colour have less, dithered or not.
_BLANK = 2.0
# Side of the tiles that are compared, and of the finer ones whose neighbours are correlated.
_TILE, _SMALL = 32, 16
_MIN_TILES = 3
# Greatest spread of the contrast of tiles (of its logarithm), spread of their means over their contrast, and
# correlation of neighbours beyond chance: of noise whatever its colours, and of noise in which channels differ.
# Gravel and grass have a relative spread of means of 0.15 at least where there are 6 tiles a side, and 0.08 at 4;
# noise of single pixels has 0.03, a decoder's 0.30.
_GREY = (0.15, 0.12, 0.1)
_MIN_GREY_TILES = 6
_COLOURED = (0.25, 0.45, 0.3)
# Fraction of the variance of colour on its first axis: at least 0.78 in textures, 0.4 to 0.5 in a decoder's noise.
_FIRST_AXIS = 0.65
# Fraction of the variance at one frequency, times the side: a decoder's noise has 8, windows and diagonal stripes 19.
_PEAK = 12.8
# Fraction of neighbours that are equal: drawings, pages and pixel art have 0.49 at least.
_EQUAL = 0.3


def find_collapse(images: Tensor, luma: Tensor) -> Tensor:
    """Return (n,) places in COLLAPSES of what uint8 (n, 3, h, w) show.

    `luma` is (n, h, w).
    """
    return torch.where(_are_blank(images, luma), 1, torch.where(_are_noise(images, luma), 2, 0))


def _are_blank(images: Tensor, luma: Tensor) -> Tensor:
    """Say (n,) whether images are of one colour."""
    blank = luma.std((-2, -1), correction=0) <= _BLANK
    if not blank.any():
        return blank
    return blank & (images.float().std((-2, -1), correction=0) <= _BLANK).all(1)


def _are_noise(images: Tensor, luma: Tensor) -> Tensor:
    """Say (n,) whether images are noise.

    Noise is alike everywhere: its tiles have the same contrast and the same mean, near ones are no more alike than far
    ones, and nothing repeats. False below 96 pixels a side, and below 192 unless channels differ.
    """
    if min(luma.shape[-2:]) < _MIN_TILES * _TILE:
        return torch.zeros(len(luma), dtype=torch.bool, device=luma.device)
    centred = luma - luma.mean((-2, -1), keepdim=True)
    power = centred.square()
    means = _pooled(centred, _TILE)
    contrast = (_pooled(power, _TILE) - means.square()).clamp_min(0).sqrt()
    spread = (contrast + 0.5).log().flatten(1).std(1)
    relative = means.flatten(1).std(1) / (contrast.mean((-2, -1)) + 0.5)
    likely = (spread <= _COLOURED[0]) & (relative <= _COLOURED[1])
    # Few images come so far, and what follows costs more.
    if not likely.any():
        return likely
    found = torch.stack([spread, relative, _correlation(images)])
    grey, coloured = ((found <= found.new_tensor(limits)[:, None]).all(0) for limits in (_GREY, _COLOURED))
    if min(luma.shape[-2:]) < _MIN_GREY_TILES * _TILE:
        grey = torch.zeros_like(grey)
    alike = grey | (coloured & (_first_axis(images) <= _FIRST_AXIS))
    variance, places = power.mean((-2, -1)), math.prod(luma.shape[-2:])
    peak = 2 * power_spectrum(centred).amax((-2, -1)) / (places**2 * variance + 1e-9)
    equal = torch.stack([(luma.diff(dim=axis) == 0).float().mean((-2, -1)) for axis in (-2, -1)]).amax(0)
    varied = (variance > _BLANK**2) & (peak * math.sqrt(places) <= _PEAK) & (equal <= _EQUAL)
    return likely & alike & varied


def _pooled(field: Tensor, side: int) -> Tensor:
    """Average (..., h, w) over whole tiles."""
    pooled: Tensor = torch.nn.functional.avg_pool2d(field.reshape(-1, *field.shape[-2:]), side)
    return pooled.reshape(*field.shape[:-2], *pooled.shape[-2:])


def _correlation(images: Tensor) -> Tensor:
    """Return (n,) greatest correlations of small tiles with their neighbours.

    Over channels and axes, less three deviations of what independent tiles have.
    """
    tiles = _pooled(images.float(), _SMALL)
    tiles = tiles - tiles.mean((-2, -1), keepdim=True)
    variance = tiles.square().mean((-2, -1)) + 1e-6
    down, across = (tiles[..., 1:, :] * tiles[..., :-1, :]), (tiles[..., 1:] * tiles[..., :-1])
    greatest = torch.maximum(down.mean((-2, -1)), across.mean((-2, -1))) / variance
    beyond: Tensor = greatest.amax(1) - 3 / math.sqrt(tiles[0, 0].numel())
    return beyond


def _first_axis(images: Tensor) -> Tensor:
    """Return (n,) fractions of the variance of detail on its first colour axis."""
    height, width = (size // _TILE * _TILE for size in images.shape[-2:])
    tiles = images[..., :height, :width].float().unflatten(-1, (-1, _TILE)).unflatten(-3, (-1, _TILE))
    detail = (tiles - tiles.mean((-3, -1), keepdim=True)).flatten(2)
    values = torch.linalg.eigvalsh((detail @ detail.mT / detail.shape[2]).cpu()).to(images.device)
    first: Tensor = values[:, -1] / (values.sum(1) + 1e-9)
    return first
