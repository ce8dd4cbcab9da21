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
from blendbench.metrics.sight import PIXELS_A_DEGREE, sensitivity

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
# Windows have this fraction of the shorter side, and eight tiles at least, and overlap by half.
_WINDOW, _STRIDE = 1 / 4, 1 / 2
# Ratio of power on sub-harmonics to power on harmonics at which generator and content count as equally likely, and the
# steepness of the transition. Photos with a mesh of four levels have at most 0.54; windows, bricks and stripes of other
# periods at least 0.83.
_VETO, _STEEPNESS = 0.55, 8
# RMS in grey levels at which a patch grid on flat ground is taken as just visible.
_JUST_VISIBLE = 1.0
# The same of Cb and Cr.
_JUST_VISIBLE_COLOUR = 0.75
# Exponent of pooling over places.
_POOLING = 4


@dataclass(frozen=True)
class PatchGridReading:
    """Hold what is locked to the patch grid, (n,) each.

    `odd`, `even`: fraction of normalised high-frequency power on harmonics with an odd order, and on those with two
    even orders. `sub`: the same on sub-harmonics. `amplitude`: RMS of the coherent pattern in grey levels. `severity`:
    its visible part in multiples of the threshold, less what the content explains. `local`: severity of the window that
    has most, for its part of the area. `tile`: (n, p, p) the mean tile in grey levels.
    """

    odd: Tensor
    even: Tensor
    sub: Tensor
    amplitude: Tensor
    severity: Tensor
    local: Tensor
    tile: Tensor


@dataclass(frozen=True)
class _Residual:
    """Hold what is read of n fields (n, h, w), h and w multiples of p.

    `normal`: the high-passed field over its local contrast; `scale`: (n,) sums of one over that contrast; `local`:
    local power, at all places or at some.
    """

    normal: Tensor
    scale: Tensor
    local: Tensor


@dataclass(frozen=True)
class _Peaks:
    """Hold the powers of (n, m) harmonics, of their greatest neighbour, and their floors.

    `places`: how many bins give a floor.
    """

    power: Tensor
    nearest: Tensor
    floor: Tensor
    places: int


def is_too_small(height: int, width: int, p: int) -> bool:
    """Say whether there is no room for the floor around each harmonic."""
    return min(height, width) // p < _MIN_TILES


def read_patch_grid(luma: Tensor, p: int) -> PatchGridReading:
    """Read (n, h, w) luma in 0..255 at period p.

    All NaN below eight tiles a side.
    """
    if is_too_small(luma.shape[-2], luma.shape[-1], p):
        nothing = torch.full((len(luma),), math.nan, device=luma.device)
        none = torch.zeros(len(luma), p, p, device=luma.device)
        return PatchGridReading(nothing, nothing, nothing, nothing, nothing, nothing, none)
    residual, silent = _residual(luma, p)
    whole = _read(residual, p, sensitivity(p, PIXELS_A_DEGREE, luma.device, chroma=False))
    values = (torch.where(silent, 0.0, value) for value in (*whole, _local(residual, p)))
    odd, even, sub, amplitude, severity, local = values
    return PatchGridReading(odd, even, sub, amplitude, severity, local, _mean_tile(residual, p))


def chroma_severity(chroma: Tensor, p: int) -> Tensor:
    """Return (n,) severities of patterns in (n, 2, h, w) chroma of half size.

    p: the period of the full size, a multiple of two. The greater of both; NaN below eight tiles a side.
    """
    n, _, height, width = chroma.shape
    if is_too_small(height, width, p // 2):
        return torch.full((n,), math.nan, device=chroma.device)
    residual, silent = _residual(chroma.flatten(0, 1), p // 2)
    seen_at = sensitivity(p // 2, PIXELS_A_DEGREE / 2, chroma.device, chroma=True)
    severity = torch.where(silent, 0.0, _read(residual, p // 2, seen_at)[-1]) / _JUST_VISIBLE_COLOUR
    return torch.maximum(*severity.unflatten(0, (n, 2)).unbind(-1))


def _residual(field: Tensor, p: int) -> tuple[_Residual, Tensor]:
    """Return the normalised residual of (n, h, w), and (n,) whether it is zero."""
    height, width = (size // p * p for size in field.shape[-2:])
    residual = high_pass(field[:, :height, :width], p / 4)
    local = blur(residual.square(), p / 2)
    # Flat areas count as much as busy ones, and edges do not dominate.
    weight = (local + _CONTRAST**2).rsqrt()
    silent = residual.square().mean((-2, -1)).sqrt() < _SILENCE
    return _Residual(residual * weight, weight.sum((-2, -1)), local), silent


def _read(part: _Residual, p: int, seen_at: Tensor) -> tuple[Tensor, ...]:
    """Return (n,) odd, even, sub, amplitude and severity.

    `seen_at`: (p * p,) sensitivities.
    """
    width = part.normal.shape[-1]
    power = power_spectrum(part.normal)
    odd, even, amplitude, visible = _pattern(part, power, p, seen_at, p // 2)
    sub = _strongest_sub(power, p, width)
    severity = visible * _own_fraction(odd + even, sub) * _visibility(part.local, amplitude, p) / _JUST_VISIBLE
    total = whole_plane_sum(power, width)
    return odd / total, even / total, sub / total, amplitude, severity


def _pattern(
    part: _Residual, power: Tensor, p: int, seen_at: Tensor, highest: int, *, windows: int = 0
) -> tuple[Tensor, ...]:
    """Return (n,) excess power, odd and even, amplitude and its visible part.

    `seen_at`: (p * p,) or (n, p * p) sensitivities; `highest`: the greatest order that is read; `windows`: how many
    parts of an image were looked at, if the fields are such parts.
    """
    odd, even, pattern, seen = _peaks(power, p, part.normal.shape[-1], seen_at, highest, windows=windows)
    return odd, even, (pattern / part.scale**2).sqrt(), (seen / part.scale**2).sqrt()


def _mean_tile(residual: _Residual, p: int) -> Tensor:
    """Return (n, p, p) the tile that is the same everywhere, without its mean."""
    tiles = _fold(residual.normal, p, 1).squeeze((1, 2))
    weight = residual.scale / math.prod(residual.normal.shape[-2:])
    orders = (torch.fft.fftfreq(p, device=tiles.device) * p)[:, None].expand(p, p)
    gain = _gain(torch.stack([orders, orders.T], -1), p)
    gain[0, 0] = math.inf
    tile: Tensor = torch.fft.ifft2(torch.fft.fft2(tiles / weight[:, None, None]) / gain).real
    return tile


def _fold(field: Tensor, p: int, parts: int) -> Tensor:
    """Average (n, h, w) over tiles, in parts x parts: (n, parts, parts, p, p)."""
    rows = field.unflatten(1, (parts, -1, p)).mean(2)
    tiles: Tensor = rows.unflatten(3, (parts, -1, p)).mean(4).transpose(2, 3)
    return tiles


def _local(residual: _Residual, p: int) -> Tensor:
    """Return (n,) severities of the worst window, pooled over the area.

    0 where no window is smaller than the image.
    """
    n, height, width = residual.normal.shape
    side = max(_MIN_TILES, 2 * round(min(height, width) * _WINDOW / (2 * p))) * p
    corners = [(y, x) for y in _starts(height, side, p) for x in _starts(width, side, p)]
    if len(corners) == 1:
        return torch.zeros(n, device=residual.normal.device)

    def cut(field: Tensor, step: int) -> Tensor:
        parts = [field[:, y // step : (y + side) // step, x // step : (x + side) // step] for y, x in corners]
        return torch.stack(parts, 1).flatten(0, 1)

    # Local power is smooth: one place a tile stands for it.
    local = cut(residual.local[:, p // 2 :: p, p // 2 :: p], p)
    # Decoders leave patterns of a quarter of the period and finer in places. For the others, half the size will do.
    highest, step = max(1, p // 4 - 1), 2 - p % 2
    normal = torch.nn.functional.avg_pool2d(residual.normal, step) if step > 1 else residual.normal
    scale = (local + _CONTRAST**2).rsqrt().mean((-2, -1)) * (side // step) ** 2
    windows, period = _Residual(cut(normal, step), scale, local), p // step
    eye = sensitivity(period, PIXELS_A_DEGREE / step, normal.device, chroma=False) / _kept(period, step, normal.device)
    seen_at = eye * _in_all_quarters(windows.normal, period).sqrt()
    power = power_spectrum(windows.normal)
    odd, even, amplitude, visible = _pattern(windows, power, period, seen_at, highest, windows=len(corners))
    seen = visible * _visibility(local, amplitude, p) / _JUST_VISIBLE
    most = seen.unflatten(0, (n, -1)).argmax(1)
    place = torch.arange(n, device=most.device) * len(corners) + most
    sub = _strongest_sub(power[place], period, side // step)
    area = side**2 / (height * width)
    severity: Tensor = seen[place] * _own_fraction((odd + even)[place], sub) * area ** (1 / _POOLING)
    return severity


def _kept(period: int, step: int, device: torch.device) -> Tensor:
    """Return (period * period,) what averaging `step` x `step` pixels leaves of each harmonic's amplitude."""
    along = torch.cos(math.pi * torch.fft.fftfreq(period, device=device) / step) if step > 1 else torch.ones(period)
    return (along[:, None] * along).flatten().to(device)


def _in_all_quarters(normal: Tensor, p: int) -> Tensor:
    """Return (n, p * p) fractions of power that the quarters of (n, h, w) share.

    By harmonic: power between different quarters over that of all, 1 for a pattern and 0 for an edge in one quarter.
    """
    quarters = torch.fft.fft2(_fold(normal, p, 2)).flatten(3).flatten(1, 2)
    together = torch.view_as_real(quarters.sum(1)).square().sum(-1)
    single = torch.view_as_real(quarters).square().sum((1, -1))
    return (4 / 3 * (together - single) / (together + 1e-12)).clamp(0, 1)


def _starts(size: int, side: int, p: int) -> list[int]:
    """Return where windows start, on the patch grid and evenly spread."""
    count = math.ceil((size - side) / (_STRIDE * side)) + 1
    return [round(k * (size - side) / max(1, count - 1) / p) * p for k in range(count)]


def _peaks(
    power: Tensor, p: int, width: int, seen_at: Tensor, highest: int, *, windows: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Sum (n,) over the harmonics above their floor and their neighbours.

    Excess power of the odd ones, of the even ones; squared amplitude of the pattern and of its visible part, both times
    the squared sum of the weights.
    """
    flat = power.flatten(1)
    sums = torch.zeros(6, len(flat), device=flat.device)
    combs = patch_grid_combs(power.shape[-2], width, p, highest, power.device)
    peaks = [_peak(flat[:, comb.places]) for comb in combs]
    thresholds = [_thresholds(comb.orders, p).expand(len(flat), -1) for comb in combs]
    if windows:
        # The more windows are looked at, the more have a false peak.
        thresholds = [
            _of_few(threshold + math.log(windows), peak.places)
            for threshold, peak in zip(thresholds, peaks, strict=True)
        ]
        thresholds[:2] = _of_both(thresholds[:2], peaks[:2], windows * highest)
    for comb, peak, threshold in zip(combs, peaks, thresholds, strict=True):
        excess = (peak.power - torch.maximum(threshold * peak.floor, peak.nearest)).clamp_min(0)
        odd = (comb.orders % 2).amax(-1).to(flat.dtype)
        gain = _gain(comb.orders, p) ** 2
        seen = seen_at[..., comb.tile] ** 2
        certain = torch.where(excess > 0, peak.power - peak.floor, 0.0) / gain
        faint = (peak.power > _FAINT * peak.floor) & (peak.power > peak.nearest)
        likely = (torch.where(faint, peak.power - peak.floor, 0.0) - _chance(_FAINT) * peak.floor) / gain
        rows = [excess * odd, excess * (1 - odd), certain, certain * seen, likely, likely * seen]
        sums += torch.stack([row.sum(-1) for row in rows])
    if windows:
        # What is faint cannot be separated from the content of a window.
        sums[4:] = 0
    found = sums[0] + sums[1] > 0
    pattern, visible = (torch.where(found, torch.maximum(sums[k], sums[k + 2]), 0.0) for k in (2, 3))
    return sums[0], sums[1], pattern, visible


def _peak(around: Tensor) -> _Peaks:
    """Read the powers at (n, m, 9 + k) bins, their neighbours and their rings."""
    ring = around[..., 9:].sort(-1).values
    return _Peaks(around[..., 0], around[..., 1:9].amax(-1), _mean_of_exponential(ring), ring.shape[-1])


def _of_both(thresholds: list[Tensor], peaks: list[_Peaks], pairs: int) -> list[Tensor]:
    """Lower the (n, m) thresholds of harmonics that stand out along both axes.

    Patches are square: a harmonic of the grid along one axis comes with the same one along the other. What counts is
    the product of both ratios to their floors. `pairs`: how many are looked at.
    """
    limit = _product_threshold(_FALSE_PEAKS * _FUNDAMENTALS / pairs, peaks[0].places)
    ratios = [peak.power / (peak.floor + 1e-12) for peak in peaks]
    alone = torch.stack([peak.power > torch.maximum(_FAINT * peak.floor, peak.nearest) for peak in peaks]).all(0)
    both = alone & (ratios[0] * ratios[1] > limit**2)
    return [torch.where(both, _FAINT, threshold) for threshold in thresholds]


def _product_threshold(chance: float, places: int) -> float:
    """Return the geometric mean that two ratios of a bin to its floor exceed by chance.

    Of two exponentials it is t with a chance of 2 t K_1(2 t), about sqrt(pi t) exp(-2 t). That the floors are medians
    of `places` bins raises it as `_of_few` does, with 4/3 of the places: within 2 % of four million simulated pairs.
    """
    t = -math.log(chance) / 2
    for _ in range(3):
        t = (math.log(math.sqrt(math.pi * t)) - math.log(chance)) / 2
    return _of_few(torch.tensor(t), 4 / 3 * places).item()


def _thresholds(orders: Tensor, p: int) -> Tensor:
    """Return (m,) how many times its floor each harmonic must have.

    In noise, where the bins of a periodogram are exponential, _FALSE_PEAKS of all harmonics have it, and a part
    _FUNDAMENTALS of these are fundamentals.
    """
    first = math.log(4 / (_FALSE_PEAKS * _FUNDAMENTALS))
    others = math.log((p * p - 5) / (_FALSE_PEAKS * (1 - _FUNDAMENTALS)))
    return torch.where(orders.sum(-1) == 1, first, others)


def _of_few(threshold: Tensor, places: float) -> Tensor:
    """Return the threshold with the same chance over a floor from few places.

    A median of k exponentials is as uncertain as the mean of k ln(2)^2, and a ratio to that has an F distribution.
    """
    effective = places * math.log(2) ** 2
    return effective * torch.expm1(threshold / effective)


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


def _strongest_sub(power: Tensor, p: int, width: int) -> Tensor:
    """Return (n,) excess power on the sub-harmonics of the multiple that has most."""
    return torch.stack([_sub_excess(power, p, width, multiple) for multiple in _SUB_MULTIPLES]).amax(0)


def _sub_excess(power: Tensor, p: int, width: int, multiple: int) -> Tensor:
    """Return (n,) excess power on the low harmonics of `multiple` * p alone."""
    places = sub_comb(power.shape[-2], width, p, multiple, power.device)
    around = power.flatten(1)[:, places]
    # Ridges and streaks of natural images run through the ring; a line of periodic content does not.
    if power.device.type == "cpu":
        # The others count nothing. A GPU sorts them sooner than it says which they are.
        around = around[:, (around[..., 0] > around[..., 1:].amax(-1)).any(0)]
    peak, ring = around[..., 0], around[..., 1:].sort(-1).values
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
    """Return (...) what the high-pass leaves of each harmonic's amplitude."""
    squared = orders.float().div(p).square().sum(-1)
    return 1 - torch.exp(-2 * math.pi**2 * (p / 4) ** 2 * squared)


def _visibility(local: Tensor, amplitude: Tensor, p: int) -> Tensor:
    """Return (n,) visibilities of a regular pattern in the detail around it.

    1 on flat ground.
    The threshold rises with the masker as in the equivalent-noise model, T^2 = T0^2 + (m / p)^2 with m the local RMS
    without the pattern's own, pooled over 4 x 4 tiles at an efficiency of 1/16; places are pooled as Quick does.
    """
    masker = (local - amplitude.square()[:, None, None]).clamp_min_(0)
    raised = masker.div_((_JUST_VISIBLE * p) ** 2).add_(1)
    return raised.pow(-_POOLING / 2).mean((-2, -1)).pow(1 / _POOLING)
