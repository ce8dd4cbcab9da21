"""Gaussian low-pass and power spectra, batched."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

_BLOCK = 64


def blur(picture: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of (n, h, w), cut at 4 sigma, mirrored at the borders without repeating the edge pixel.

    Errors: RuntimeError if a side is not longer than 4 sigma.
    """
    radius = math.ceil(4 * sigma)
    x = torch.arange(-radius, radius + 1, dtype=torch.float64)
    kernel = torch.exp(-0.5 * (x / sigma) ** 2)
    # One block of the banded matrix: a product with it is several times faster than a convolution on the CPU.
    matrix = torch.zeros(_BLOCK + 2 * radius, _BLOCK, dtype=torch.float64)
    for i in range(_BLOCK):
        matrix[i : i + len(x), i] = kernel / kernel.sum()
    matrix = matrix.to(picture.device, picture.dtype)
    return _filtered(_filtered(picture, matrix).transpose(-1, -2), matrix).transpose(-1, -2)


def _filtered(picture: Tensor, matrix: Tensor) -> Tensor:
    width, (window, block) = picture.shape[-1], matrix.shape
    radius = (window - block) // 2
    mirrored = F.pad(picture, (radius, radius), mode="reflect")
    filled = F.pad(mirrored, (0, -width % block))
    return (filled.unfold(-1, window, block) @ matrix).flatten(-2)[..., :width]


def high_pass(picture: Tensor, sigma: float) -> Tensor:
    """(n, h, w) minus its Gaussian blur."""
    return picture - blur(picture, sigma)


def power_spectrum(field: Tensor) -> Tensor:
    """(n, h, w) -> (n, h, w // 2 + 1) squared magnitudes of the half-plane DFT."""
    spectrum = torch.fft.rfft2(field)
    return spectrum.real.square() + spectrum.imag.square()


def whole_plane_sum(power: Tensor, width: int) -> Tensor:
    """(n, h, width // 2 + 1) half-plane power -> (n,) its sum over the whole plane."""
    # The columns between zero and Nyquist stand for two of the whole plane.
    return power.sum((-2, -1)) + power[..., 1 : (width + 1) // 2].sum((-2, -1))
