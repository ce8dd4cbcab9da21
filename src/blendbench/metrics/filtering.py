"""Gaussian low-pass and power spectra of batches."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from blendbench.core.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

_BLOCK = 32


def blur(image: Tensor, sigma: float) -> Tensor:
    """Blur (n, h, w) with a Gaussian.

    Cut at 4 sigma; mirrored at the borders without repeating the edge pixel.

    Errors: RuntimeError if a side is not longer than 4 sigma.
    """
    radius = math.ceil(4 * sigma)
    x = torch.arange(-radius, radius + 1, dtype=torch.float64)
    kernel = torch.exp(-0.5 * (x / sigma) ** 2)
    # One block of the banded matrix: a product with it is several times faster than a convolution on the CPU.
    matrix = torch.zeros(_BLOCK + 2 * radius, _BLOCK, dtype=torch.float64)
    for i in range(_BLOCK):
        matrix[i : i + len(x), i] = kernel / kernel.sum()
    matrix = matrix.to(image.device, image.dtype)
    # Windows are views whose last step is 1, so that the products read them without a copy.
    down = _windows(image, 1, radius).transpose(-1, -2)
    image = (matrix.T @ down).flatten(1, 2)[:, : image.shape[1]]
    across = _windows(image, 2, radius).transpose(1, 2)
    return (across @ matrix).transpose(1, 2).flatten(-2)[..., : image.shape[2]]


def _windows(image: Tensor, axis: int, radius: int) -> Tensor:
    """Mirror at both ends of `axis` and cut into overlapping windows.

    The windows, of _BLOCK + 2 radius, come last.
    """
    size = image.shape[axis]
    if size <= radius:
        raise RuntimeError(f"a side of {size} pixels is too short for a blur that reaches {radius}")
    before = image.narrow(axis, 1, radius).flip(axis)
    after = image.narrow(axis, size - 1 - radius, radius).flip(axis)
    rest = list(image.shape)
    rest[axis] = -size % _BLOCK
    filled = torch.cat([before, image, after, image.new_zeros(rest)], axis)
    return filled.unfold(axis, _BLOCK + 2 * radius, _BLOCK)


def high_pass(image: Tensor, sigma: float) -> Tensor:
    """Subtract the Gaussian blur of (n, h, w)."""
    return image - blur(image, sigma)


def power_spectrum(field: Tensor) -> Tensor:
    """Return (n, h, w // 2 + 1) squared magnitudes of the DFT of (n, h, w)."""
    squares = torch.view_as_real(torch.fft.rfft2(field)).square_()
    return squares[..., 0] + squares[..., 1]


def whole_plane_sum(power: Tensor, width: int) -> Tensor:
    """Sum (n, h, width // 2 + 1) half-plane power over the whole plane."""
    # The columns between zero and Nyquist stand for two of the whole plane.
    return power.sum((-2, -1)) + power[..., 1 : (width + 1) // 2].sum((-2, -1))
