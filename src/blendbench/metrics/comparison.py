"""Other detectors of grids and blocks, to compare with: higher is worse."""

import math
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec

import numpy as np
from scipy import ndimage

_P = 16


def _spectrum(luma: np.ndarray) -> np.ndarray:
    whole = luma[: luma.shape[0] // _P * _P, : luma.shape[1] // _P * _P]
    return np.abs(np.fft.fft2(whole - ndimage.gaussian_filter(whole, _P / 4))) ** 2


def fft_peak_ratio(luma: np.ndarray) -> float:
    """Return mean power on the harmonics of the patch grid over that of all."""
    power = _spectrum(luma)
    down, across = (size // _P for size in power.shape)
    peaks = power[::down, ::across]
    return float((peaks.sum() - peaks[0, 0]) / (peaks.size - 1) / (power.mean() + 1e-9))


def autocorrelation(luma: np.ndarray) -> float:
    """Return correlation at the patch grid's lag over the mean beside it."""
    table = np.fft.ifft2(_spectrum(luma)).real
    table = table / (table[0, 0] + 1e-9)
    beside = [k for k in range(_P - 4, _P + 5) if abs(k - _P) > 1]
    return float(table[0, _P] + table[_P, 0] - np.mean(table[0, beside]) - np.mean(table[beside, 0]))


def wang_sheikh(luma: np.ndarray, period: int = _P) -> float:
    """Return the no-reference JPEG quality score, negated, at the patch grid.

    Source: Wang, Sheikh & Bovik 2002, with its constants.
    """
    blockiness, activity, crossings = np.mean([_features(field, period) for field in (luma, luma.T)], axis=0)
    if min(blockiness, activity, crossings) <= 0:
        return 0.0
    return 245.9 - 261.9 * float(blockiness**-0.0240 * activity**0.0160 * crossings**0.0064)


def _features(field: np.ndarray, period: int) -> tuple[float, float, float]:
    step = np.diff(field, axis=1)
    blockiness = float(np.abs(step[:, period - 1 :: period]).mean())
    activity = (period * float(np.abs(step).mean()) - blockiness) / (period - 1)
    return blockiness, activity, float((step[:, 1:] * step[:, :-1] < 0).mean())


def piqe(luma: np.ndarray) -> float:
    """Return PIQE (Venkatanath et al. 2015) by the package pypiqe, NaN without it."""
    if find_spec("pypiqe") is None:
        return math.nan
    return float(import_module("pypiqe").piqe(np.rint(luma).astype(np.uint8))[0])


DETECTORS: dict[str, Callable[[np.ndarray], float]] = {
    "FFT peak ratio": fft_peak_ratio,
    "autocorrelation": autocorrelation,
    "Wang-Sheikh": wang_sheikh,
    "PIQE": piqe,
}
