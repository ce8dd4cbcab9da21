"""Grid energy: the share of a picture's fine detail that is locked to the generator's patch lattice."""

import math
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from blendbench.scoring.batch import Batch
from blendbench.scoring.registry import metric

# Grey levels below which contrast is not amplified.
_CONTRAST = 2.0
# How many lattice harmonics may stand above the threshold by chance, in a picture of white noise.
_FALSE_PEAKS = 0.1
_MIN_TILES = 8
_BLOCK = 128
# A residual below this RMS in grey levels is rounding of the arithmetic, not something in the picture.
_SILENCE = 0.01


@metric("grid_energy", needs=("luma",))
def grid_energy(batch: Batch) -> Tensor:
    """(n,) share of normalised high-frequency power on the lattice's harmonics; NaN below eight tiles a side.

    Definition and source: metrics/grid_energy.md.
    """
    p = batch.lattice
    rows, columns = (size // p for size in batch.luma.shape[-2:])
    if min(rows, columns) < _MIN_TILES:
        return torch.full((len(batch),), math.nan)
    residual = high_pass(batch.luma[:, : rows * p, : columns * p], p / 4)
    power = power_spectrum(_normalised(residual, p))
    # The columns between zero and Nyquist stand for two of the whole plane.
    total = power.sum((-2, -1)) + power[..., 1 : (columns * p + 1) // 2].sum((-2, -1))
    share = _excess(power, p, columns * p) / total
    return torch.where(residual.square().mean((-2, -1)).sqrt() < _SILENCE, 0.0, share)


def high_pass(luma: Tensor, sigma: float) -> Tensor:
    """(n, h, w) minus its Gaussian blur."""
    return luma - blur(luma, sigma)


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


def power_spectrum(residual: Tensor) -> Tensor:
    """(n, h, w) -> (n, h, w // 2 + 1) squared magnitudes of the half-plane DFT."""
    spectrum = torch.fft.rfft2(residual)
    return spectrum.real.square() + spectrum.imag.square()


def _normalised(residual: Tensor, p: int) -> Tensor:
    """Residual over its local RMS: flat areas count as much as busy ones, and edges do not dominate."""
    return residual / (blur(residual.square(), p / 2) + _CONTRAST**2).sqrt()


def _excess(power: Tensor, p: int, width: int) -> Tensor:
    """(n,) power of the lattice's p * p - 1 harmonics that stands above the floor around each of them."""
    flat = power.flatten(1)
    # The bins of a periodogram of noise are exponential: this many times their mean is passed by _FALSE_PEAKS of them.
    threshold = math.log((p * p - 1) / _FALSE_PEAKS)
    total = torch.zeros_like(flat[:, 0])
    for places in _comb_places(power.shape[-2], width, p):
        around = flat[:, torch.as_tensor(places, device=flat.device)]
        peak, nearest, ring = around[..., 0], around[..., 1:9].amax(-1), around[..., 9:].sort(-1).values
        middle = ring.shape[-1] // 2
        mean = (ring[..., middle - 1] + ring[..., middle]) / (2 * math.log(2))
        total += (peak - torch.maximum(threshold * mean, nearest)).clamp_min(0).sum(-1)
    return total


@lru_cache(maxsize=16)
def _comb_places(height: int, width: int, p: int) -> list[list[list[int]]]:
    """Flat half-plane places for the harmonics on each axis and off them: the bin, its eight neighbours, its ring.

    Off the axes the ring is the 7x7 around a bin without its 3x3. Natural pictures have a ridge of power along each
    axis, so a bin on an axis is compared with 2..7 places along that axis alone, stopping short of the next bin.
    """
    step_v, step_u = height // p, width // p
    square = [(dv, du) for dv in range(-3, 4) for du in range(-3, 4)]
    nearest = [(dv, du) for dv, du in square if max(abs(dv), abs(du)) == 1]
    ring = [(dv, du) for dv, du in square if max(abs(dv), abs(du)) > 1]
    along_v = [(d * s, 0) for d in range(2, min(7, step_v - 2) + 1) for s in (-1, 1)]
    along_u = [(0, d * s) for d in range(2, min(7, step_u - 2) + 1) for s in (-1, 1)]
    half = width // 2 + 1

    def place(v: int, u: int) -> int:
        v, u = v % height, u % width
        # The DFT of a real picture is symmetric about the origin.
        return v * half + u if u < half else (-v % height) * half + width - u

    kinds = [
        ([(i * step_v, 0) for i in range(1, p)], along_v),
        ([(0, j * step_u) for j in range(1, p)], along_u),
        ([(i * step_v, j * step_u) for i in range(1, p) for j in range(1, p)], ring),
    ]
    return [
        [[place(v + dv, u + du) for dv, du in [(0, 0), *nearest, *around]] for v, u in harmonics]
        for harmonics, around in kinds
    ]
