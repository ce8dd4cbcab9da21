"""Controlled corruptions of real images: what pipelines with patches do wrong.

Each takes a uint8 (h, w, 3) image whose sides are multiples of 16, and a random generator, and returns the change as
float, (h, w) or (h, w, 3). `corrupt` scales it to an RMS in grey levels.
"""

from collections.abc import Callable

import numpy as np
from scipy import ndimage

from blendbench.metrics import patterns

P = 16
_LUMA = np.array([0.299, 0.587, 0.114])
_REACH = 4


def corrupt(image: np.ndarray, kind: str, rms: float, seed: int) -> np.ndarray:
    """Return the image with one corruption of `rms` grey levels."""
    image = image[: image.shape[0] // P * P, : image.shape[1] // P * P]
    change = CORRUPTIONS[kind](image, np.random.default_rng(seed))
    change = change if change.ndim == 3 else change[..., None].repeat(3, -1)
    # A part of the image has the strength of a pattern of the whole.
    counted = change[np.any(change != 0, -1)] if kind.startswith("part") else change
    strength = np.sqrt(np.mean(counted**2))
    return np.asarray(np.clip(np.rint(image + change * (rms / (strength + 1e-9))), 0, 255).astype(np.uint8))


def _cells(image: np.ndarray, rng: np.random.Generator, p: int = P) -> np.ndarray:
    return rng.standard_normal((image.shape[0] // p, image.shape[1] // p))


def _spread(cells: np.ndarray, p: int = P) -> np.ndarray:
    spread: np.ndarray = cells.repeat(p, 0).repeat(p, 1)
    return spread


def _means(field: np.ndarray, p: int) -> np.ndarray:
    height, width = field.shape
    return np.asarray(field.reshape(height // p, p, width // p, p).mean((1, 3)))


def _mesh(image: np.ndarray, _rng: np.random.Generator) -> np.ndarray:
    return patterns.mesh(*image.shape[:2])


def _sinusoid(image: np.ndarray, _rng: np.random.Generator) -> np.ndarray:
    return patterns.sinus(*image.shape[:2])


def _offsets(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return _spread(_cells(image, rng))


def _gain(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.asarray(image * _spread(_cells(image, rng))[..., None])


def _contrast(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    light = image @ _LUMA
    variance = _means(light**2, P) - _means(light, P) ** 2
    return _spread(_cells(image, rng) * (np.sqrt(variance.clip(0)) + 0.5))


def _shifted(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    padded = np.pad(image, ((_REACH, _REACH), (_REACH, _REACH), (0, 0)), mode="reflect").astype(float)
    moved = np.empty(image.shape)
    for y in range(0, image.shape[0], P):
        for x in range(0, image.shape[1], P):
            dy, dx = rng.integers(0, 2 * _REACH + 1, 2)
            moved[y : y + P, x : x + P] = padded[y + dy : y + dy + P, x + dx : x + dx + P]
    return np.asarray(moved - image)


def _repeated(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    patches = image.reshape(image.shape[0] // P, P, image.shape[1] // P, P, 3).astype(float)
    again = (rng.random((patches.shape[0], 1, patches.shape[2], 1, 1)) < 0.25) & np.ones(patches.shape, bool)
    repeated = np.where(again, np.roll(patches, 1, 2), patches)
    return np.asarray((repeated - patches).reshape(image.shape))


def _mosaic(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.asarray(ndimage.gaussian_filter(_offsets(image, rng), 3))


def _swapped(image: np.ndarray, _rng: np.random.Generator) -> np.ndarray:
    height, width = image.shape[:2]
    halves = image.reshape(height // P, 2, P // 2, width // P, 2, P // 2, 3)
    return np.asarray(halves.transpose(0, 4, 2, 3, 1, 5, 6).reshape(image.shape).astype(float) - image)


def _latent_noise(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.asarray(ndimage.gaussian_filter(_spread(_cells(image, rng, P // 2), P // 2), 1))


def _latent_steps(image: np.ndarray, _rng: np.random.Generator) -> np.ndarray:
    means = _means(image @ _LUMA, P // 2)
    return _spread(np.rint(means / 14) * 14 - means, P // 2)


def _tiles(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    down, across = (np.arange(size) * 2 // size for size in image.shape[:2])
    return np.asarray(rng.standard_normal((2, 2))[down][:, across])


def _part(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    height, width = image.shape[:2]
    field, shown = patterns.sinus(height, width), np.zeros((height, width))
    y, x = rng.integers(0, 2) * height // 2, rng.integers(0, 4) * width // 4
    shown[y : y + height // 2, x : x + width // 4] = 1
    return np.asarray(field * shown)


def _colour(image: np.ndarray, _rng: np.random.Generator) -> np.ndarray:
    return np.asarray(patterns.mesh(*image.shape[:2])[..., None] * np.array([1, -_LUMA[0] / _LUMA[1], 0]))


CORRUPTIONS: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "mesh": _mesh,
    "sinusoid": _sinusoid,
    "patch offsets": _offsets,
    "patch gain": _gain,
    "offsets by contrast": _contrast,
    "shifted patches": _shifted,
    "repeated patches": _repeated,
    "mosaic with soft borders": _mosaic,
    "swapped axes": _swapped,
    "latent noise": _latent_noise,
    "coarse latents": _latent_steps,
    "seams of 2 x 2 tiles": _tiles,
    "part: a sinusoid in an eighth": _part,
    "mesh at equal luma": _colour,
}
