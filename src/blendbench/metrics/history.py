"""Traces of JPEG coding and resampling in the pixels of an image."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from blendbench.core.lazy import torch
from blendbench.metrics.filtering import power_spectrum

if TYPE_CHECKING:
    from torch import Tensor

_BLOCK = 8
# Of 64 grids, one has 0.016 of the votes by chance; natural images give one up to 0.06, patches with seams up
# to 0.25, JPEG at quality 95 at least 0.7 and at 98 most often 0.4.
_VOTES = 0.4
_MIN_VOTES = 50
# Fraction of equal neighbours, both ways, from which a block has flat areas or enlarged pixels.
_FLAT = 0.7
# The same of drawings: broken images with large dark areas have 0.45, and three of 215 good generated images, flat
# illustrations, have more than 0.6.
_DRAWING = 0.6
# Fraction of pixels on isolated values from which a channel is posterised.
_ALONE = 0.9
# Expected false alarms an image, in the search for resampling.
_FALSE_ALARMS = 1e-4
# A middle part of this side says enough, in a fraction of the time.
_SIDE = 512
_MIN_SIDE = 64
_FREQUENCIES = 4096
# Content that repeats with a frequency has magnitudes that repeat with its multiples.
_MULTIPLES = (1, 2, 3, 4)
_LOWEST_OF_CONTENT = 0.015
# Grey levels in the mean of all rows or columns: courses of bricks have 1 or more, interpolated dither at most 0.2.
_AMPLITUDE_OF_CONTENT = 0.3
# Below, in cycles a pixel, content dominates.
_LOWEST = 0.08
# Frequency bands, in cycles per pixel.
_MIDDLE, _HIGH = (0.15, 0.22), (0.42, 0.5)
# Power per pixel; rounding of three channels leaves 0.037.
_EMPTY = 0.13
# Ratio of the middle band's power to the high band's: at most 90 in photos, at least 1000 in most doubled images.
_FULL = 400.0


def were_jpeg(luma: Tensor, side: int = _SIDE) -> Tensor:
    """Say (n,) whether (n, h, w) luma in 0..255 was JPEG-coded.

    If so, one of 64 block grids holds more zero DCT coefficients than the others. Each cell of 8 x 8 places votes for
    the grid whose block has most, after ZERO (Nikoukhah et al., IPOL 2021). Flat blocks, and cells with a tie, do not
    vote. False below 64 pixels a side. `side`: of the middle part that is looked at.
    """
    height, width = luma.shape[-2:]
    if min(height, width) < _MIN_SIDE:
        return torch.zeros(len(luma), dtype=torch.bool, device=luma.device)
    top, left = (max(0, (size - side) // 2) // _BLOCK * _BLOCK for size in (height, width))
    zeros = _zero_coefficients(luma[:, top : top + side, left : left + side])
    rows, columns = (size // _BLOCK for size in zeros.shape[-2:])
    cells = zeros[:, : rows * _BLOCK, : columns * _BLOCK].unflatten(2, (-1, _BLOCK)).unflatten(1, (-1, _BLOCK))
    cells = cells.transpose(2, 3).reshape(len(luma), -1, _BLOCK**2)
    most, place = cells.max(-1)
    votes = ((cells == most[..., None]).sum(-1) == 1) & (most > 0)
    counts = torch.zeros(len(luma), _BLOCK**2, device=luma.device).scatter_add_(1, place, votes.float())
    total = counts.sum(1)
    return (total >= _MIN_VOTES) & (counts.amax(1) >= _VOTES * total)


def _zero_coefficients(luma: Tensor) -> Tensor:
    """Count the zero DCT coefficients of the block at each place of (n, h, w).

    Returns (n, h - 7, w - 7); -1 for flat blocks.
    """
    k, x = torch.meshgrid(torch.arange(_BLOCK), torch.arange(_BLOCK), indexing="ij")
    basis = torch.cos(math.pi * (2 * x + 1) * k / (2 * _BLOCK)) * math.sqrt(2 / _BLOCK)
    basis[0] /= math.sqrt(2)
    basis = basis.T.to(luma.device)
    across = luma.unfold(2, _BLOCK, 1) @ basis
    n, height, width = len(luma), luma.shape[1] - _BLOCK + 1, luma.shape[2] - _BLOCK + 1
    count = torch.zeros(n, height, width, dtype=torch.int32, device=luma.device)
    for column in range(_BLOCK):
        coefficients = across[..., column].unfold(1, _BLOCK, 1) @ basis
        count += (coefficients.abs() < 0.5).sum(-1, dtype=torch.int32)
    # All but the mean are zero: such a block is flat whatever the grid.
    return torch.where((count >= _BLOCK**2 - 1) | _are_flat(luma), -1, count)


def _are_flat(luma: Tensor) -> Tensor:
    """Say of the block at each place whether most neighbours are equal.

    (n, h, w) -> (n, h - 7, w - 7); along both axes.
    """
    across, down = (
        torch.nn.functional.avg_pool2d((luma.diff(dim=axis) == 0).float(), size, 1) >= _FLAT
        for axis, size in ((2, (_BLOCK, _BLOCK - 1)), (1, (_BLOCK - 1, _BLOCK)))
    )
    return across & down


def has_few_levels(image: Tensor) -> bool:
    """Say whether each channel of uint8 (3, h, w) has steps of three or more.

    Then nearly all pixels have values whose four neighbours nothing has. Doubled contrast leaves steps of two.
    """
    for channel in image.flatten(1):
        counts = torch.bincount(channel.long(), minlength=256)
        around = torch.nn.functional.pad(counts, (2, 2)).unfold(0, 5, 1)
        alone = counts[around.sum(1) == counts].sum()
        if alone < _ALONE * len(channel):
            return False
    return True


def is_drawing(luma: Tensor) -> bool:
    """Say whether most neighbours in (h, w) luma are equal along both axes.

    Then there are flat areas without the dither of a decoder, as in drawings.
    """
    return all(bool((luma.diff(dim=axis) == 0).float().mean() >= _DRAWING) for axis in (0, 1))


def was_resampled(luma: Tensor, patch_grid: int) -> bool:
    """Say whether (h, w) luma in 0..255 was enlarged.

    Interpolation makes the second difference periodic (Gallagher 2005). The same frequency must stand out along both
    axes. Multiples of 1 / patch grid are left out, because the stages of a VAE are periodic there as well; images that
    were doubled are found by `is_hollow` instead. So are multiples of what repeats in the luma itself, such as courses
    of bricks. Images that were made smaller leave no trace. False below 64 pixels a side.
    """
    if min(luma.shape) < _MIN_SIDE:
        return False
    if is_hollow(luma):
        return True
    ratio = torch.minimum(_periodicity(luma), _periodicity(luma.T))
    frequency = torch.arange(len(ratio)) / _FREQUENCIES
    beside = (frequency - (frequency * patch_grid).round() / patch_grid).abs() < 3 / min(luma.shape)
    threshold = math.log(_FREQUENCIES / 2 / _FALSE_ALARMS) / 2
    own = _repeats(luma, threshold)
    return bool((ratio[(frequency > _LOWEST) & ~beside & ~own] > threshold).any())


def is_hollow(luma: Tensor) -> bool:
    """Say whether (h, w) luma has detail of middle frequencies alone.

    Near the highest it then has nothing beyond 8-bit rounding.
    """
    height, width = luma.shape
    window = torch.hann_window(height)[:, None] * torch.hann_window(width)
    power = power_spectrum((luma.cpu() - luma.cpu().mean())[None] * window)[0] / window.square().sum()
    frequency = torch.maximum(torch.fft.fftfreq(height).abs()[:, None], torch.fft.rfftfreq(width))
    middle, high = (power[(frequency >= low) & (frequency < top)].median() for low, top in (_MIDDLE, _HIGH))
    return bool(high < _EMPTY and middle > _FULL * high)


def _periodicity(luma: Tensor) -> Tensor:
    """Return the spectrum of mean log second differences of the last axis.

    (_FREQUENCIES / 2 + 1,), over its local mean.
    """
    luma = luma.cpu()
    return _over_local_mean(_spectrum((2 * luma[:, 1:-1] - luma[:, :-2] - luma[:, 2:]).abs().log1p().mean(0)))


def _repeats(luma: Tensor, threshold: float) -> Tensor:
    """Mark multiples of frequencies that stand out in an axis's mean luma.

    Returns (_FREQUENCIES / 2 + 1,).
    """
    spectra = [_spectrum(luma.cpu().mean(axis)) for axis in (0, 1)]
    strong = torch.stack(
        [
            (_over_local_mean(power) > threshold) & (power > (_AMPLITUDE_OF_CONTENT * size / 4) ** 2)
            for power, size in zip(spectra, reversed(luma.shape), strict=True)
        ]
    ).any(0)
    place = torch.arange(len(strong))
    strong &= place > _LOWEST_OF_CONTENT * _FREQUENCIES
    # The larger an image, the finer its frequency resolution.
    reach = _FREQUENCIES // min(luma.shape) // 2
    found = torch.nn.functional.max_pool1d(strong.float()[None], 2 * reach + 1, 1, reach)[0] > 0
    return torch.stack([found[(place / multiple).round().long()] for multiple in _MULTIPLES]).any(0)


def _spectrum(profile: Tensor) -> Tensor:
    """Return the power spectrum of an (m,) profile less its trend.

    (_FREQUENCIES / 2 + 1,); a wave of amplitude a has (a m / 4)^2.
    """
    width = 2 * (len(profile) // 20) + 1
    padded = torch.nn.functional.pad(profile[None, None], (width // 2, width // 2), mode="reflect")
    trend = padded[0, 0].unfold(0, width, 1).median(-1).values
    flat = (profile - trend) * torch.hann_window(len(profile), periodic=False)
    power: Tensor = torch.fft.rfft(flat, _FREQUENCIES).abs().square()
    return power


def _over_local_mean(power: Tensor) -> Tensor:
    reach = _FREQUENCIES // 32
    around = torch.nn.functional.pad(power[None, None], (reach, reach), mode="reflect")[0, 0].unfold(
        0, 2 * reach + 1, 1
    )
    return power / (around.median(-1).values / math.log(2) + 1e-12)
