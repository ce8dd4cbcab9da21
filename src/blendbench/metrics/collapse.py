"""Find images that show nothing: one colour, or noise alone."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from blendbench.core.lazy import torch
from blendbench.metrics.filtering import power_spectrum

if TYPE_CHECKING:
    from torch import Tensor

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


def find_collapse(images: Tensor, luma: Tensor) -> list[str]:
    """Name what each of uint8 (n, 3, h, w) shows instead of a scene.

    `blank`, `noise`, or "" for an image that shows something. `luma` is (n, h, w).
    """
    pairs = zip(images, luma, strict=True)
    return ["blank" if is_blank(*pair) else "noise" if is_noise(*pair) else "" for pair in pairs]


def is_blank(image: Tensor, luma: Tensor) -> bool:
    """Say whether a uint8 (3, h, w) image is of one colour; `luma` is (h, w)."""
    if luma.std(correction=0) > _BLANK:
        return False
    return bool((image.float().std((-2, -1), correction=0) <= _BLANK).all())


def is_noise(image: Tensor, luma: Tensor) -> bool:
    """Say whether a uint8 (3, h, w) image is noise; `luma` is (h, w).

    Noise is alike everywhere: its tiles have the same contrast and the same mean, near ones are no more alike than far
    ones, and nothing repeats. False below 96 pixels a side, and below 192 unless channels differ.
    """
    if min(luma.shape) < _MIN_TILES * _TILE:
        return False
    centred = luma - luma.mean()
    means = _pooled(centred, _TILE)
    contrast = (_pooled(centred.square(), _TILE) - means.square()).clamp_min(0).sqrt()
    spread = float((contrast + 0.5).log().std())
    relative = float(means.std() / (contrast.mean() + 0.5))
    if spread > _COLOURED[0] or relative > _COLOURED[1]:
        return False
    # Only few images come here.
    found = (spread, relative, _correlation(image))
    coloured = all(value <= limit for value, limit in zip(found, _COLOURED, strict=True))
    grey = all(value <= limit for value, limit in zip(found, _GREY, strict=True))
    large = min(luma.shape) >= _MIN_GREY_TILES * _TILE
    alike = (grey and large) or (coloured and _first_axis(image) <= _FIRST_AXIS)
    variance = float(centred.square().mean())
    peak = 2 * float(power_spectrum(centred[None]).amax()) / (centred.numel() ** 2 * variance + 1e-9)
    equal = max(float((luma.diff(dim=axis) == 0).float().mean()) for axis in (0, 1))
    return alike and variance > _BLANK**2 and peak * math.sqrt(centred.numel()) <= _PEAK and equal <= _EQUAL


def _pooled(field: Tensor, side: int) -> Tensor:
    """Average (..., h, w) over whole tiles."""
    pooled: Tensor = torch.nn.functional.avg_pool2d(field.reshape(-1, *field.shape[-2:]), side)
    return pooled.reshape(*field.shape[:-2], *pooled.shape[-2:])


def _correlation(image: Tensor) -> float:
    """Return the greatest correlation of small tiles with their neighbours.

    Over channels and axes, less three deviations of what independent tiles have.
    """
    tiles = _pooled(image.float(), _SMALL)
    tiles = tiles - tiles.mean((-2, -1), keepdim=True)
    variance = tiles.square().mean((-2, -1)) + 1e-6
    down, across = (tiles[..., 1:, :] * tiles[..., :-1, :]), (tiles[..., 1:] * tiles[..., :-1])
    greatest = torch.maximum(down.mean((-2, -1)), across.mean((-2, -1))) / variance
    return float(greatest.amax()) - 3 / math.sqrt(tiles[0].numel())


def _first_axis(image: Tensor) -> float:
    """Return the fraction of the variance of detail on its first colour axis."""
    height, width = (size // _TILE * _TILE for size in image.shape[-2:])
    tiles = image[:, :height, :width].float().unflatten(-1, (-1, _TILE)).unflatten(-3, (-1, _TILE))
    detail = (tiles - tiles.mean((-3, -1), keepdim=True)).flatten(1)
    values = torch.linalg.eigvalsh((detail @ detail.T / detail.shape[1]).cpu())
    return float(values[-1] / (values.sum() + 1e-9))
