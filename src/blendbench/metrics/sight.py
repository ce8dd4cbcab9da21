"""Contrast sensitivity of the eye, by frequency."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from blendbench.core.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

# Pixels a degree of visual angle: a desktop monitor of 100 dots an inch at 58 cm.
PIXELS_A_DEGREE = 40.0
# Fall of the sensitivity to red-green gratings, a cycle a degree (read off figure 6 of Mullen 1985).
_CHROMA_FALL = 0.47


@lru_cache(maxsize=16)
def sensitivity(p: int, pixels_a_degree: float, device: torch.device, *, chroma: bool) -> Tensor:
    """Return (p * p,) relative sensitivities at the frequencies of a tile's DFT.

    At most 1. Sources: Mannos & Sakrison 1974 for luma, Mullen 1985 for
    chroma.
    """
    squares = torch.fft.fftfreq(p).square()
    frequency = (squares[:, None] + squares).flatten().sqrt() * pixels_a_degree
    seen = 2.6 * (0.0192 + 0.114 * frequency) * torch.exp(-((0.114 * frequency) ** 1.1)) / 0.981
    if chroma:
        seen = torch.exp(-_CHROMA_FALL * frequency)
    on_device: Tensor = seen.to(device)
    return on_device
