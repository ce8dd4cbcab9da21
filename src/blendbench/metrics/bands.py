"""Power of images in bands of frequency, batched."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

from blendbench.core.lazy import torch
from blendbench.metrics.filtering import power_spectrum

if TYPE_CHECKING:
    from torch import Tensor

# Cycles a pixel; below, an image of 128 pixels has too few frequencies.
_LOWEST, _HIGHEST = 0.02, 0.5
_BANDS = 18
_MIN_SIDE = 64
# Power a pixel of rounding to whole grey levels: flat images have this, and not less.
_ROUNDING = 1 / 12


def read_bands(luma: Tensor) -> Tensor:
    """Return (n, 18) log power per pixel in frequency bands of (n, h, w) luma.

    float64; NaN below 64 pixels a side.
    """
    n, height, width = luma.shape
    if min(height, width) < _MIN_SIDE:
        return torch.full((n, _BANDS), math.nan, device=luma.device, dtype=torch.float64)
    rows, columns = (torch.hann_window(size, periodic=False, device=luma.device) for size in (height, width))
    window = rows[:, None] * columns
    power = power_spectrum((luma - luma.double().mean((-2, -1), keepdim=True).float()) * window)
    # The columns between zero and Nyquist stand for two of the whole plane.
    power[..., 1 : (width + 1) // 2] *= 2
    places, counts = _bands(height, width, luma.device)
    sums = torch.zeros(n, _BANDS + 1, device=luma.device, dtype=torch.float64)
    # In float64, so that the order of the sum does not show.
    sums.index_add_(1, places, power.flatten(1).double())
    return (sums[:, :_BANDS] / counts / window.square().sum() + _ROUNDING).log()


def slope(bands: Tensor) -> Tensor:
    """Return (n,) least-squares slopes of log power over log frequency."""
    x = torch.linspace(math.log(_LOWEST), math.log(_HIGHEST), 2 * _BANDS + 1, device=bands.device, dtype=bands.dtype)[
        1::2
    ]
    x = x - x.mean()
    return bands @ x / x.square().sum()


@lru_cache(maxsize=16)
def _bands(height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the band of each place of the half plane, and the band sizes.

    _BANDS stands for no band; sizes count places of the whole plane.
    """
    v, u = torch.fft.fftfreq(height), torch.fft.rfftfreq(width)
    octaves = (v[:, None].square() + u.square()).sqrt().clamp_min(1e-9).div(_LOWEST).log()
    band = (octaves / math.log(_HIGHEST / _LOWEST) * _BANDS).floor().long()
    band = torch.where((band < 0) | (band >= _BANDS), _BANDS, band).flatten()
    twice = torch.ones(height, width // 2 + 1, dtype=torch.float64)
    twice[:, 1 : (width + 1) // 2] = 2
    counts = torch.bincount(band, twice.flatten(), _BANDS + 1)[:_BANDS].float()
    return band.to(device), counts.to(device)
