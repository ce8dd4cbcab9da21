"""The definitions of the cards once more, one image at a time, in numpy, scipy and OpenCV and in double precision."""

import math
from collections.abc import Callable
from itertools import pairwise

import cv2
import numpy as np
from scipy import ndimage, stats

XYZ_TO_LMS = (
    (0.8189330101, 0.3618667424, -0.1288597137),
    (0.0329845436, 0.9293118715, 0.0361456387),
    (0.0482003018, 0.2643662691, 0.6338517070),
)
LMS_TO_LAB = (
    (0.2104542553, 0.7936177850, -0.0040720468),
    (1.9779984951, -2.4285922050, 0.4505937099),
    (0.0259040371, 0.7827717662, -0.8086757660),
)


def luma(image: np.ndarray) -> np.ndarray:
    """uint8 (h, w, 3) -> (h, w)."""
    return np.asarray(image.astype(np.float64) @ np.array([0.299, 0.587, 0.114]))


def grid_energy(image: np.ndarray, p: int = 16) -> float:
    """metrics/grid_energy.md, bin by bin over the whole plane."""
    y = luma(image)
    height, width = (side - side % p for side in y.shape)
    y = y[:height, :width]
    residual = y - ndimage.gaussian_filter(y, p / 4, mode="mirror", truncate=4)
    local = ndimage.gaussian_filter(residual**2, p / 2, mode="mirror", truncate=4)
    power = np.abs(np.fft.fft2(residual / np.sqrt(local + 4))) ** 2

    def at(v: int, u: int) -> float:
        return float(power[v % height, u % width])

    excess = 0.0
    for i in range(p):
        for j in range(p):
            if i == j == 0:
                continue
            v, u = i * height // p, j * width // p
            if j == 0:
                reach = min(7, height // p - 2)
                ring = [at(v + d, u) for d in range(-reach, reach + 1) if abs(d) > 1]
            elif i == 0:
                reach = min(7, width // p - 2)
                ring = [at(v, u + d) for d in range(-reach, reach + 1) if abs(d) > 1]
            else:
                ring = [at(v + a, u + b) for a in range(-3, 4) for b in range(-3, 4) if max(abs(a), abs(b)) > 1]
            nearest = max(at(v + a, u + b) for a in (-1, 0, 1) for b in (-1, 0, 1) if (a, b) != (0, 0))
            # In noise 0.02 of the four fundamentals and 0.08 of the others stand above it.
            fundamental = min(i, p - i) + min(j, p - j) == 1
            threshold = math.log(4 / 0.02) if fundamental else math.log((p * p - 5) / 0.08)
            excess += max(at(v, u) - max(threshold * float(np.median(ring)) / math.log(2), nearest), 0)
    return excess / float(power.sum())


def blockiness(image: np.ndarray, p: int = 16) -> float:
    """metrics/blockiness.md, boundary by boundary."""
    y = luma(image)
    return max((_border_excess(y, p) + _border_excess(y.T, p)) / 2, 0)


def _border_excess(y: np.ndarray, p: int) -> float:
    reach = min(4, p // 4)
    mean = dict.fromkeys(range(p), 0.0)
    for length in (1, p // 4, p):
        whole = y[: len(y) // length * length].reshape(-1, length, y.shape[1]).mean(1)
        step = np.diff(whole, axis=1)
        beside = [d for d in range(-reach, reach + 1) if d]
        rest = {
            k: np.abs(step[:, k] - sum(step[:, k + d] for d in beside) / len(beside))
            for k in range(reach, step.shape[1] - reach)
        }
        by_phase: dict[int, list[float]] = {k: [] for k in range(p)}
        for k in range(2 * reach, step.shape[1] - 2 * reach):
            around = sum(rest[k + d] for d in beside) / len(beside)
            ratio = np.log((rest[k] + length**-0.5) / (around + length**-0.5))
            by_phase[k % p].append(float(np.clip(ratio, -math.log(8), math.log(8)).mean()))
        mean = {k: mean[k] + float(np.mean(values)) / 3 for k, values in by_phase.items()}
    others = [mean[k] for k in range(p) if k not in (p - 1, p // 2 - 1)]
    return mean[p - 1] - max(mean[p // 2 - 1], float(np.median(others)))


def oklab(image: np.ndarray) -> np.ndarray:
    """uint8 (h, w, 3) -> (h, w, 3), by way of CIE XYZ as Ottosson first published it."""
    encoded = image.astype(np.float64) / 255
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    xyz = cv2.cvtColor(linear.astype(np.float32), cv2.COLOR_RGB2XYZ).astype(np.float64)
    return np.asarray(np.cbrt(xyz @ np.array(XYZ_TO_LMS).T) @ np.array(LMS_TO_LAB).T)


def color_drift(image: np.ndarray, baseline: np.ndarray) -> float:
    """Mean over 16 directions of the exact Wasserstein-1 distance."""
    a, b = (oklab(x)[..., 1:].reshape(-1, 2) for x in (image, baseline))
    angles = [math.pi * k / 16 for k in range(16)]
    axes = [np.array([math.cos(angle), math.sin(angle)]) for angle in angles]
    return float(np.mean([stats.wasserstein_distance(a @ axis, b @ axis) for axis in axes]))


def tone_drift(image: np.ndarray, baseline: np.ndarray) -> float:
    """Exact Wasserstein-1 distance of OKLab L."""
    return float(stats.wasserstein_distance(*(oklab(x)[..., 0].ravel() for x in (image, baseline))))


def saturation_shift(image: np.ndarray, baseline: np.ndarray) -> float:
    """Difference of the mean OKLab chroma."""
    first, second = (oklab(x)[..., 1:] for x in (image, baseline))
    return float(np.hypot(*np.moveaxis(first, -1, 0)).mean() - np.hypot(*np.moveaxis(second, -1, 0)).mean())


def clip_shift(image: np.ndarray, baseline: np.ndarray) -> float:
    """Difference of the fraction of pixels with a channel at 0 or 255."""
    return float(np.isin(image, (0, 255)).any(-1).mean() - np.isin(baseline, (0, 255)).any(-1).mean())


def texture_change(image: np.ndarray, baseline: np.ndarray) -> float:
    """Difference of the slopes of log power in 18 bands."""
    return _slope(luma(image)) - _slope(luma(baseline))


def _slope(y: np.ndarray) -> float:
    height, width = y.shape
    window = np.outer(np.hanning(height), np.hanning(width))
    power = np.abs(np.fft.fft2((y - y.mean()) * window)) ** 2 / (window**2).sum()
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width))
    edges = np.geomspace(0.02, 0.5, 19)
    bands = [np.log(power[(frequency >= low) & (frequency < high)].mean() + 1 / 12) for low, high in pairwise(edges)]
    return float(stats.linregress(np.log(np.sqrt(edges[:-1] * edges[1:])), bands).slope)


def effect_size(image: np.ndarray, baseline: np.ndarray) -> float:
    """Mean absolute difference."""
    return float(cv2.norm(image, baseline, cv2.NORM_L1) / image.size)


ORACLES: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "grid_energy": lambda image, _: grid_energy(image),
    "blockiness": lambda image, _: blockiness(image),
    "color_drift": color_drift,
    "tone_drift": tone_drift,
    "saturation_shift": saturation_shift,
    "clip_shift": clip_shift,
    "texture_change": texture_change,
    "effect_size": effect_size,
}
