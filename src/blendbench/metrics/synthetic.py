"""Render images with repeating content but no generator's patch grid.

Walls, facades, pages, stripes and pixel art.
"""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_WORDS = (
    "the",
    "quick",
    "brown",
    "fox",
    "jumps",
    "over",
    "a",
    "lazy",
    "dog",
    "while",
    "wizards",
    "box",
    "with",
    "jugs",
)
_NOISE = 1.5


def periodic_images(size: int) -> dict[str, np.ndarray]:
    """Return uint8 (n, size, size, 3) by kind of content.

    Periods other than 16 pixels and its divisors.
    """
    return {
        "windows": np.stack([windows(size, p, s) for p in (20, 24, 30, 32, 40, 48, 60) for s in range(3)]),
        "bricks": np.stack([bricks(size, w, w // 2, s) for w in (40, 44, 48, 56, 60, 64) for s in range(3)]),
        "stripes": np.stack([stripes(size, p, s) for p in (10, 12, 20, 24, 30, 48) for s in range(3)]),
        "text pages": np.stack([text_page(size, line, s) for line in (15, 18, 20, 24) for s in range(5)]),
        "pixel art": np.stack([pixel_art(size, cell, s) for cell in (4, 8, 16, 32) for s in range(5)]),
    }


def windows(size: int, period: int, seed: int) -> np.ndarray:
    """Make a facade of bright windows, half a period wide."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] + rng.integers(0, period, 2)[:, None, None]
    lit = (x % period < period // 2) & (y % period < period // 2)
    return _grey(rng.uniform(80, 120) + rng.uniform(30, 80) * lit, rng)


def bricks(size: int, width: int, height: int, seed: int) -> np.ndarray:
    """Make a wall of bricks.

    Courses shifted by half a brick, every brick in its own shade, light mortar.
    """
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] + rng.integers(0, width, 2)[:, None, None]
    course = y // height
    x = x + course % 2 * (width // 2)
    shades = rng.normal(120, 12, (size // height + width, size // width + width))
    mortar = (y % height < 2) | (x % width < 2)
    return _grey(np.where(mortar, 185, shades[course, x // width]) + rng.normal(0, 3, (size, size)), rng)


def stripes(size: int, period: int, seed: int) -> np.ndarray:
    """Make upright or level stripes of equal width."""
    rng = np.random.default_rng(seed)
    along = np.mgrid[:size, :size][seed % 2] + rng.integers(0, period)
    return _grey(rng.uniform(90, 130) + rng.uniform(30, 80) * (along % period < period // 2), rng)


def text_page(size: int, line: int, seed: int) -> np.ndarray:
    """Write dark words on a light page, one line every `line` pixels."""
    rng = np.random.default_rng(seed)
    page = Image.new("RGB", (size, size), (244, 241, 234))
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(line * 0.7)
    for y in range(int(rng.integers(4, 12)), size, line):
        pen.text((7, y), " ".join(rng.choice(_WORDS, size // 16)), (35, 33, 40), font)
    return np.asarray(page)


def pixel_art(size: int, cell: int, seed: int) -> np.ndarray:
    """Fill square cells that start in the corner with a few colours."""
    rng = np.random.default_rng(seed)
    colours = rng.integers(20, 236, (6, 3))
    cells = colours[rng.integers(0, 6, (-(-size // cell),) * 2)]
    return cells.repeat(cell, 0).repeat(cell, 1)[:size, :size].astype(np.uint8)


def _grey(light: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    noisy = light + rng.normal(0, _NOISE, light.shape)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)[..., None].repeat(3, -1)
