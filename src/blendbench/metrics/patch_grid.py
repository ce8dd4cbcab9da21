"""Measure fine detail locked to the generator's patch grid.

All grid metrics use this one reading.

Definitions and sources: metrics/grid_energy.md, metrics/grid_amplitude.md, metrics/grid_severity.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from blendbench.core.lazy import torch
from blendbench.metrics.filtering import blur, high_pass, power_spectrum, whole_plane_sum
from blendbench.metrics.harmonics import patch_grid_combs, sub_comb

if TYPE_CHECKING:
    from torch import Tensor

# Grey levels below which contrast is not amplified.
_CONTRAST = 2.0
# How many patch grid harmonics may stand above the threshold by chance, in an image of white noise.
_FALSE_PEAKS = 0.1
# The part of these that the four fundamentals may have: most patterns are strongest there.
_FUNDAMENTALS = 0.2
_MIN_TILES = 8
# Once a harmonic is found, the others belong to the pattern from this many times their floor.
_FAINT = 3.0
# A residual below this RMS in grey levels is rounding of the arithmetic, not something in the image.
_SILENCE = 0.01
# Content that repeats with these multiples of the patch grid puts harmonics on it: 32, 48, 80 and 112 pixels, and their
# parts, such as bricks of 56 x 28.
_SUB_MULTIPLES = (2, 3, 5, 7)
# Ratio of power on sub-harmonics to power on harmonics at which generator and content count as equally likely, and the
# steepness of the transition. Photos with a mesh of four levels have at most 0.54; windows, bricks and stripes of other
# periods at least 0.83.
_VETO, _STEEPNESS = 0.55, 8
# Pixels a degree of visual angle: a desktop monitor of 100 dots an inch at 58 cm.
_PIXELS_A_DEGREE = 40.0
# RMS in grey levels at which a patch grid on flat ground is taken as just visible.
_JUST_VISIBLE = 1.0
# Exponent of pooling over places.
_POOLING = 4


@dataclass(frozen=True)
class PatchGridReading:
    """Hold what is locked to the patch grid, (n,) each.

    `odd`, `even`: fraction of normalised high-frequency power on harmonics with an odd order, and on those with two
    even orders. `sub`: the same on sub-harmonics. `amplitude`: RMS of the coherent pattern in grey levels. `severity`:
    its visible part in multiples of the threshold, less what the content explains.
    """

    odd: Tensor
    even: Tensor
    sub: Tensor
    amplitude: Tensor
    severity: Tensor


def is_too_small(height: int, width: int, p: int) -> bool:
    """Say whether there is no room for the floor around each harmonic."""
    return min(height, width) // p < _MIN_TILES


def read_patch_grid(luma: Tensor, p: int) -> PatchGridReading:
    """Read (n, h, w) luma in 0..255 at period p.

    All NaN below eight tiles a side.
    """
    rows, columns = (size // p for size in luma.shape[-2:])
    if is_too_small(luma.shape[-2], luma.shape[-1], p):
        nothing = torch.full((len(luma),), math.nan, device=luma.device)
        return PatchGridReading(nothing, nothing, nothing, nothing, nothing)
    height, width = rows * p, columns * p
    residual = high_pass(luma[:, :height, :width], p / 4)
    local = blur(residual.square(), p / 2)
    # Flat areas count as much as busy ones, and edges do not dominate.
    weight = (local + _CONTRAST**2).rsqrt()
    power = power_spectrum(residual * weight)
    silent = residual.square().mean((-2, -1)).sqrt() < _SILENCE
    odd, even, pattern, seen = _peaks(power, p, width)
    scale = weight.sum((-2, -1))
    amplitude = (pattern / scale**2).sqrt()
    visible = (seen / scale**2).sqrt()
    total = whole_plane_sum(power, width)
    sub = torch.stack([_sub_excess(power, p, width, multiple) for multiple in _SUB_MULTIPLES]).amax(0)
    severity = visible * _own_fraction(odd + even, sub) * _visibility(local, amplitude, p) / _JUST_VISIBLE
    quiet = [torch.where(silent, 0.0, value) for value in (odd / total, even / total, sub / total, amplitude, severity)]
    return PatchGridReading(*quiet)


def _peaks(power: Tensor, p: int, width: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Sum (n,) over the harmonics above their floor and their neighbours.

    Excess power of the odd ones, of the even ones; squared amplitude of the pattern and of its visible part, both times
    the squared sum of the weights.
    """
    flat = power.flatten(1)
    sums = torch.zeros(6, len(flat), device=flat.device)
    for comb in patch_grid_combs(power.shape[-2], width, p, power.device):
        around = flat[:, comb.places]
        peak, nearest, ring = around[..., 0], around[..., 1:9].amax(-1), around[..., 9:].sort(-1).values
        mean = _mean_of_exponential(ring)
        excess = (peak - torch.maximum(_thresholds(comb.orders, p) * mean, nearest)).clamp_min(0)
        odd = (comb.orders % 2).amax(-1).to(flat.dtype)
        gain, sensitivity = _gain(comb.orders, p) ** 2, _sensitivity(comb.orders, p) ** 2
        certain = torch.where(excess > 0, peak - mean, 0.0) / gain
        faint = (peak > _FAINT * mean) & (peak > nearest)
        likely = (torch.where(faint, peak - mean, 0.0) - _chance(_FAINT) * mean) / gain
        rows = [excess * odd, excess * (1 - odd), certain, certain * sensitivity, likely, likely * sensitivity]
        sums += torch.stack([row.sum(-1) for row in rows])
    found = sums[0] + sums[1] > 0
    pattern, seen = (torch.where(found, torch.maximum(sums[k], sums[k + 2]), 0.0) for k in (2, 3))
    return sums[0], sums[1], pattern, seen


def _thresholds(orders: Tensor, p: int) -> Tensor:
    """Return (m,) how many times its floor each harmonic must have.

    In noise, where the bins of a periodogram are exponential, _FALSE_PEAKS of all harmonics have it, and a part
    _FUNDAMENTALS of these are fundamentals.
    """
    first = math.log(4 / (_FALSE_PEAKS * _FUNDAMENTALS))
    others = math.log((p * p - 5) / (_FALSE_PEAKS * (1 - _FUNDAMENTALS)))
    return torch.where(orders.sum(-1) == 1, first, others)


def _chance(threshold: float) -> float:
    """Return the mean excess that a bin of noise adds by chance.

    Over its own mean and in units of it, where it passes `threshold` and its 8 neighbours. The integral of (x - 1)
    exp(-x) (1 - exp(-x))^8 from the threshold on, term by term.
    """
    terms = [
        math.comb(8, k) * (-1) ** k * math.exp(-(k + 1) * threshold) * ((threshold - 1) / (k + 1) + 1 / (k + 1) ** 2)
        for k in range(9)
    ]
    return math.fsum(terms)


def _mean_of_exponential(ring: Tensor) -> Tensor:
    """Return the mean of the exponential distribution with this median.

    `ring`: (..., k) sorted samples.
    """
    middle = ring.shape[-1] // 2
    return (ring[..., middle - 1] + ring[..., middle]) / (2 * math.log(2))


def _sub_excess(power: Tensor, p: int, width: int, multiple: int) -> Tensor:
    """Return (n,) excess power on the low harmonics of `multiple` * p alone."""
    places = sub_comb(power.shape[-2], width, p, multiple, power.device)
    around = power.flatten(1)[:, places]
    # Ridges and streaks of natural images run through the ring; a line of periodic content does not.
    above = (around[..., 0] > around[..., 1:].amax(-1)).any(0)
    peak, ring = around[:, above, 0], around[:, above, 1:].sort(-1).values
    threshold = math.log(len(places) / _FALSE_PEAKS)
    floor = torch.maximum(threshold * _mean_of_exponential(ring), ring[..., -1])
    # The half plane without its own mirror image: each place stands for two.
    return 2 * (peak - floor).clamp_min(0).sum(-1)


def _own_fraction(comb: Tensor, sub: Tensor) -> Tensor:
    """Return (n,) how far the generator accounts for the pattern.

    1 where the harmonics stand alone, towards 0 where content of a longer period accounts for them. Never quite 0: of
    two patterns on the same content the stronger one has the greater value.
    """
    return 1 / (1 + ((sub / comb).nan_to_num(0) / _VETO) ** _STEEPNESS)


def _gain(orders: Tensor, p: int) -> Tensor:
    """Return (m,) what the high-pass leaves of each harmonic's amplitude."""
    squared = orders.float().div(p).square().sum(-1)
    return 1 - torch.exp(-2 * math.pi**2 * (p / 4) ** 2 * squared)


def _sensitivity(orders: Tensor, p: int) -> Tensor:
    """Return (m,) relative contrast sensitivities, at most 1.

    Source: Mannos & Sakrison 1974.
    """
    frequency = orders.float().div(p).square().sum(-1).sqrt() * _PIXELS_A_DEGREE
    return 2.6 * (0.0192 + 0.114 * frequency) * torch.exp(-((0.114 * frequency) ** 1.1)) / 0.981


def _visibility(local: Tensor, amplitude: Tensor, p: int) -> Tensor:
    """Return (n,) visibilities of a regular pattern in the detail around it.

    1 on flat ground.
    The threshold rises with the masker as in the equivalent-noise model, T^2 = T0^2 + (m / p)^2 with m the local RMS
    without the pattern's own, pooled over 4 x 4 tiles at an efficiency of 1/16; places are pooled as Quick does.
    """
    masker = (local - amplitude.square()[:, None, None]).clamp_min_(0)
    raised = masker.div_((_JUST_VISIBLE * p) ** 2).add_(1)
    return raised.pow(-_POOLING / 2).mean((-2, -1)).pow(1 / _POOLING)
