"""Calibration images: photos, injected patterns and benign edits.

A pattern is a (h, w) float field of unit RMS; `inject` adds it at an amplitude in grey levels and rounds to 8 bits.
"""

from functools import cache
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from blendbench.core.errors import UsageError

SKIMAGE = (
    "astronaut.png",
    "brick.png",
    "camera.png",
    "cell.png",
    "chelsea.png",
    "clock_motion.png",
    "coffee.png",
    "coins.png",
    "grass.png",
    "gravel.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "moon.png",
    "motorcycle_left.png",
    "motorcycle_right.png",
    "retina.jpg",
    "rocket.jpg",
)
SKLEARN = ("china.jpg", "flower.jpg")
COLOURFUL = (
    "astronaut.png",
    "chelsea.png",
    "coffee.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "motorcycle_left.png",
    "retina.jpg",
    "rocket.jpg",
    "china.jpg",
    "flower.jpg",
)


def _package_folder(name: str, package: str) -> Path:
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise UsageError(f"the photos come with the package {package}; install it with: pip install 'blendbench[dev]'")
    return Path(spec.origin).parent


@cache
def photos() -> dict[str, np.ndarray]:
    """Return the uint8 (h, w, 3) photos of scikit-image and scikit-learn.

    Errors: UsageError without those packages.
    """
    folders = {
        _package_folder("skimage", "scikit-image") / "data": SKIMAGE,
        _package_folder("sklearn", "scikit-learn") / "datasets/images": SKLEARN,
    }
    return {
        name: np.asarray(Image.open(folder / name).convert("RGB"))
        for folder, names in folders.items()
        for name in names
    }


def crops(size: int, at_most: int = 2, offset: int = 0) -> np.ndarray:
    """Cut up to `at_most` crops of each photo that is large enough.

    uint8 (n, size, size, 3), spread over the photo.
    """
    cut = []
    for image in photos().values():
        height, width = image.shape[0] - size, image.shape[1] - size
        if min(height, width) < 0:
            continue
        for k in range(at_most):
            # Odd multiples of a fraction: the crop's origin has no relation to any patch grid in the photo.
            y, x = int(height * (2 * k + 1) / (2 * at_most)), int(width * (2 * k + 1) / (2 * at_most))
            y, x = min(y + offset, height), min(x + offset, width)
            cut.append(image[y : y + size, x : x + size])
    return np.stack(cut)


def colourful(size: int) -> np.ndarray:
    """Cut the middle of each colour photo, uint8 (n, size, size, 3)."""
    middles = [((p.shape[0] - size) // 2, (p.shape[1] - size) // 2, p) for p in (photos()[name] for name in COLOURFUL)]
    return np.stack([photo[y : y + size, x : x + size] for y, x, photo in middles])


def _unit(field: np.ndarray) -> np.ndarray:
    field = field - field.mean()
    return np.asarray(field / np.sqrt(np.mean(field**2)))


def tiled(height: int, width: int, period: int, tile: np.ndarray) -> np.ndarray:
    """Repeat a (period, period) tile over the image, unit RMS."""
    repeats = (-(-height // period), -(-width // period))
    return _unit(np.tile(tile, repeats)[:height, :width])


def mesh(height: int, width: int, period: int = 16, phase: int = 0) -> np.ndarray:
    """Make one-pixel lines along the patch grid."""
    tile = np.zeros((period, period))
    tile[phase % period, :] = tile[:, phase % period] = 1
    return tiled(height, width, period, tile)


def texture(height: int, width: int, period: int = 16, seed: int = 0) -> np.ndarray:
    """Make the same random tile everywhere."""
    return tiled(height, width, period, np.random.default_rng(seed).standard_normal((period, period)))


def sinus(height: int, width: int, period: int = 16, phase: float = 0.0) -> np.ndarray:
    """Make one harmonic along each axis."""
    y, x = np.mgrid[:height, :width] * (2 * np.pi / period) + phase
    return _unit(np.sin(y) + np.sin(x))


def offsets(height: int, width: int, period: int = 16, seed: int = 0) -> np.ndarray:
    """Make an independent brightness offset for each patch."""
    rows, columns = -(-height // period), -(-width // period)
    cells = np.random.default_rng(seed).standard_normal((rows, columns))
    return _unit(np.kron(cells, np.ones((period, period)))[:height, :width])


def checkerboard(height: int, width: int) -> np.ndarray:
    """Make alternating pixels."""
    return tiled(height, width, 2, np.array([[1.0, -1.0], [-1.0, 1.0]]))


def inject(images: np.ndarray, pattern: np.ndarray, amplitude: float) -> np.ndarray:
    """Add a unit-RMS pattern at `amplitude` grey levels to (n, h, w, 3)."""
    moved = images.astype(np.float64) + amplitude * pattern[None, :, :, None]
    return np.clip(np.rint(moved), 0, 255).astype(np.uint8)


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    """Code and decode one image as JPEG."""
    file = BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def benign(images: np.ndarray) -> dict[str, np.ndarray]:
    """Make edits that put nothing on the 16-pixel patch grid."""
    values = images.astype(np.float64)
    noise = np.random.default_rng(1).normal(0, 6, values.shape)
    blurred = ndimage.gaussian_filter(values, (0, 1, 1, 0))
    edited = {
        "noise": values + noise,
        "blur": blurred,
        "sharpened": values + (values - blurred),
        "gamma": 255 * (values / 255) ** 0.8,
        "contrast": (values - 128) * 1.3 + 128,
    }
    rounded = {name: np.clip(np.rint(x), 0, 255).astype(np.uint8) for name, x in edited.items()}
    return {**rounded, "jpeg90": np.stack([jpeg(image, 90) for image in images])}


def auroc(positive: np.ndarray, negative: np.ndarray) -> float:
    """Return P(positive above negative), with ties as one half."""
    above = (positive[:, None] > negative[None]).mean()
    return float(above + 0.5 * (positive[:, None] == negative[None]).mean())
