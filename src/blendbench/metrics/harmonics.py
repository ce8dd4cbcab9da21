"""Locate the harmonics of a patch grid in a half-plane power spectrum.

Each comes with the places around it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from blendbench.core.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

# Sub-harmonics are looked for up to this frequency in cycles a patch grid period: a quarter of all for 16 pixels.
SUB_REACH = 4


@dataclass(frozen=True)
class Comb:
    """Hold m frequencies of one kind.

    `places`: (m, 9 + k) flat half-plane indices of a bin, its 8 neighbours and its ring. `orders`: (m, 2) the harmonic
    along v and u in cycles a patch grid period, the least in magnitude. `tile`: (m,) the place in the flat DFT of a
    tile.
    """

    places: Tensor
    orders: Tensor
    tile: Tensor


def _near() -> list[tuple[int, int]]:
    return [(dv, du) for dv in (-1, 0, 1) for du in (-1, 0, 1) if (dv, du) != (0, 0)]


def _places(bins: Tensor, height: int, width: int) -> Tensor:
    """Return the flat half-plane indices of bins (..., 2), given by row and column."""
    v, u = bins.unbind(-1)
    half = width // 2 + 1
    # The DFT of a real image is symmetric about the origin.
    return torch.where(u % width < half, v % height * half + u % width, -v % height * half + -u % width)


@lru_cache(maxsize=32)
def patch_grid_combs(height: int, width: int, p: int, highest: int, device: torch.device) -> tuple[Comb, ...]:
    """Return the harmonics of period p: on each axis, and the rest.

    `height` and `width` are multiples of p; `highest`: the greatest order along an axis, p // 2 for all.

    Off the axes the ring is the 7x7 around a bin without its 3x3. Natural images have a ridge of power along each
    axis, so a bin on an axis is compared with 2..7 places along that axis alone, stopping short of the next bin.
    """
    step_v, step_u = height // p, width // p
    ring = [(dv, du) for dv in range(-3, 4) for du in range(-3, 4) if max(abs(dv), abs(du)) > 1]
    along_v = [(d * s, 0) for d in range(2, min(7, step_v - 2) + 1) for s in (-1, 1)]
    along_u = [(0, d * s) for d in range(2, min(7, step_u - 2) + 1) for s in (-1, 1)]
    present = [k for k in range(1, p) if min(k, p - k) <= highest]
    kinds = [
        ([(i, 0) for i in present], along_v),
        ([(0, j) for j in present], along_u),
        ([(i, j) for i in present for j in present], ring),
    ]
    combs = []
    for orders, around in kinds:
        centres = torch.tensor(orders) * torch.tensor([step_v, step_u])
        places = _places(centres[:, None] + torch.tensor([(0, 0), *_near(), *around]), height, width)
        least = torch.tensor([[min(i, p - i), min(j, p - j)] for i, j in orders])
        tile = torch.tensor([i * p + j for i, j in orders])
        combs.append(Comb(places.to(device), least.to(device), tile.to(device)))
    return tuple(combs)


@lru_cache(maxsize=32)
def sub_comb(height: int, width: int, p: int, multiple: int, device: torch.device) -> Tensor:
    """Return (m, 1 + 16) places of the low harmonics of period `multiple` * p.

    Without those of period p itself; each with a ring around it. Where such a frequency falls between bins, the bins on
    either side stand for it.
    """
    reach = SUB_REACH * multiple
    bins = set()
    for i in range(-reach, reach + 1):
        for j in range(reach + 1):
            if i % multiple == 0 and j % multiple == 0:
                continue
            for v in _around(i * height, multiple * p):
                for u in _around(j * width, multiple * p):
                    # Within two places of a harmonic of the patch grid itself, its power leaks in.
                    if not (_beside(v, height // p) and _beside(u, width // p)):
                        bins.add((v, u))
    ring = [(dv, du) for dv in range(-2, 3) for du in range(-2, 3) if max(abs(dv), abs(du)) == 2]
    centres = torch.tensor(sorted(bins - {(0, 0)})).reshape(-1, 1, 2)
    return _places(centres + torch.tensor([(0, 0), *ring]), height, width).to(device)


def _around(numerator: int, denominator: int) -> tuple[int, ...]:
    low = numerator // denominator
    return (low,) if numerator % denominator == 0 else (low, low + 1)


def _beside(place: int, step: int) -> bool:
    offset = place % step
    return min(offset, step - offset) <= 1
