"""Grid energy: the share of a picture's fine detail that is locked to the generator's patch lattice."""

import math
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from blendbench.scoring.batch import Batch
from blendbench.scoring.registry import metric

# Grey levels below which contrast is not amplified, and the multiple of the local floor that counts as a peak.
_CONTRAST = 2.0
_THRESHOLD = 3.0
_MIN_TILES = 8
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
    peaks, floors = _comb(power, p, columns * p)
    total = power.sum((-2, -1)) * 2 - power[..., 0].sum(-1) - power[..., -1].sum(-1)
    share = (peaks - _THRESHOLD * floors).clamp_min(0).sum(-1) / total
    return torch.where(residual.square().mean((-2, -1)).sqrt() < _SILENCE, 0.0, share)


def high_pass(luma: Tensor, sigma: float) -> Tensor:
    """(n, h, w) minus its Gaussian blur."""
    return luma - blur(luma, sigma)


def blur(picture: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of (n, h, w), cut at 4 sigma, mirrored at the borders without repeating the edge pixel."""
    radius = math.ceil(4 * sigma)
    x = torch.arange(-radius, radius + 1, dtype=torch.float64, device=picture.device)
    kernel = torch.exp(-0.5 * (x / sigma) ** 2)
    kernel = (kernel / kernel.sum()).to(picture.dtype)
    padded = F.pad(picture[:, None], (radius,) * 4, mode="reflect")
    return F.conv2d(F.conv2d(padded, kernel[None, None, None]), kernel[None, None, :, None])[:, 0]


def power_spectrum(residual: Tensor) -> Tensor:
    """(n, h, w) -> (n, h, w // 2 + 1) squared magnitudes of the half-plane DFT."""
    spectrum = torch.fft.rfft2(residual)
    return spectrum.real.square() + spectrum.imag.square()


def _normalised(residual: Tensor, p: int) -> Tensor:
    """Residual over its local RMS: flat areas count as much as busy ones, and edges do not dominate."""
    return residual / (blur(residual.square(), p / 2) + _CONTRAST**2).sqrt()


def _comb(power: Tensor, p: int, width: int) -> tuple[Tensor, Tensor]:
    """Power at the p * p - 1 lattice harmonics and the floor around each, both (n, p * p - 1)."""
    bins, groups = _comb_places(power.shape[-2], width, p)
    flat = power.flatten(1)
    floors = [flat[:, torch.as_tensor(places, device=flat.device)].quantile(0.5, dim=-1) for places in groups]
    # The bins of a periodogram are exponential: their mean is their median over ln 2.
    return flat[:, torch.as_tensor(bins, device=flat.device)], torch.cat(floors, 1) / math.log(2)


@lru_cache(maxsize=16)
def _comb_places(height: int, width: int, p: int) -> tuple[list[int], list[list[list[int]]]]:
    """Flat half-plane places of the harmonics, and of their neighbours grouped by how many there are.

    Off the axes the neighbours are the 7x7 around a bin without its 3x3. Natural pictures have a ridge of power along
    each axis, so a bin on an axis is compared with 2..7 places along that axis alone, stopping short of the next bin.
    """
    step_v, step_u = height // p, width // p
    ring = [(dv, du) for dv in range(-3, 4) for du in range(-3, 4) if max(abs(dv), abs(du)) > 1]
    along_v = [(d * s, 0) for d in range(2, min(7, step_v - 2) + 1) for s in (-1, 1)]
    along_u = [(0, d * s) for d in range(2, min(7, step_u - 2) + 1) for s in (-1, 1)]
    half = width // 2 + 1

    def place(v: int, u: int) -> int:
        v, u = v % height, u % width
        # The DFT of a real picture is symmetric about the origin.
        return v * half + u if u < half else (-v % height) * half + width - u

    kinds: list[tuple[list[tuple[int, int]], list[tuple[int, int]]]] = [
        ([(i * step_v, 0) for i in range(1, p)], along_v),
        ([(0, j * step_u) for j in range(1, p)], along_u),
        ([(i * step_v, j * step_u) for i in range(1, p) for j in range(1, p)], ring),
    ]
    bins = [place(v, u) for harmonics, _ in kinds for v, u in harmonics]
    groups = [[[place(v + dv, u + du) for dv, du in around] for v, u in harmonics] for harmonics, around in kinds]
    return bins, groups
