"""What the drawn images are made with: a register, a canvas twice as large as the image, and a few shapes.

Places and widths are given in units of 1/1024 of an image's side, whatever its size in pixels.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFilter
from scipy import ndimage, spatial

SIDE, UNITS, SCALE = 1024, 1024, 2
DRAWN = UNITS * SCALE  # pixels of the canvas, which is averaged down to SIDE
Colour = tuple[int, int, int]
Points = list[tuple[float, float]]
IMAGES: dict[str, Callable[[], Image.Image]] = {}


def image(draw: Callable[[], Image.Image]) -> Callable[[], Image.Image]:
    IMAGES[draw.__name__.replace("_", "-")] = draw
    return draw


class Pen:
    """The shapes of ImageDraw, in units instead of pixels."""

    def __init__(self, image: Image.Image) -> None:
        self._draw = ImageDraw.Draw(image)

    def __getattr__(self, shape: str) -> Callable[..., None]:
        draw = getattr(self._draw, shape)

        def scaled(places: Any, *rest: Any, width: float = 1, radius: float | None = None, **style: Any) -> None:
            pixels = (np.asarray(places, float) * SCALE).ravel().tolist()
            rounded = {} if radius is None else {"radius": radius * SCALE}
            # A polygon without an outline has no width.
            thick = {} if shape == "polygon" and "outline" not in style else {"width": round(width * SCALE)}
            draw(pixels, *rest, **rounded, **thick, **style)

        return scaled


def canvas(colour: Colour) -> tuple[Image.Image, Pen]:
    image = Image.new("RGB", (DRAWN, DRAWN), colour)
    return image, Pen(image)


def blurred(image: Image.Image, radius: float) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(radius * SCALE))


def gradient(stops: list[tuple[float, Colour]]) -> Image.Image:
    """Vertical gradient through (height from 0 to 1, colour)."""
    heights, rows = [h for h, _ in stops], np.linspace(0, 1, DRAWN)
    channels = [np.interp(rows, heights, [colour[i] for _, colour in stops]) for i in range(3)]
    column = np.stack(channels, -1)[:, None].repeat(DRAWN, 1)
    return Image.fromarray(column.round().astype(np.uint8))


def grained(image: Image.Image, strength: float, blur: float, seed: int) -> Image.Image:
    """Paper: smooth noise of a given size added to all channels alike."""
    soft = ndimage.gaussian_filter(np.random.default_rng(seed).normal(0, 1, (DRAWN, DRAWN)), blur * SCALE, truncate=3)
    pixels = np.asarray(image, np.float32) + (soft / soft.std() * strength)[..., None]
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def disc(draw: Pen, x: float, y: float, r: float, fill: Colour | None, line: int = 0) -> None:
    draw.ellipse((x - r, y - r, x + r, y + r), fill=fill, outline=(20, 20, 20) if line else None, width=line)


def ridge(height: float, rough: float, seed: int) -> Points:
    """The outline of hills, closed at the bottom of the image."""
    random = np.random.default_rng(seed)
    waves = [(random.uniform(0.5, 2) * 2**k, random.uniform(0, 7), rough / 1.8**k) for k in range(5)]
    line = [(x, height + sum(a * math.sin(f * x / 160 + p) for f, p, a in waves)) for x in range(0, UNITS + 8, 8)]
    return [*line, (UNITS, UNITS), (0, UNITS)]


def turned(points: Iterable[tuple[float, float]], angle: float, x: float, y: float) -> Points:
    c, s = math.cos(angle), math.sin(angle)
    return [(x + c * u - s * v, y + s * u + c * v) for u, v in points]


def layered(image: Image.Image, points: Points, colour: Colour) -> Image.Image:
    """A sheet of cut paper with its shadow on what lies below."""
    mask = Image.new("L", image.size)
    Pen(mask).polygon(points, fill=255)
    moved = mask.transform(mask.size, Image.Transform.AFFINE, (1, 0, -10 * SCALE, 0, 1, -14 * SCALE))
    shadow = blurred(moved, 10)
    below = Image.composite(Image.new("RGB", image.size, (5, 30, 35)), image, shadow.point(lambda v: v * 0.5))
    return Image.composite(Image.new("RGB", image.size, colour), below, mask)


def cells(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The nearest of `points` for each pixel, and how many units farther the second nearest is."""
    y, x = np.mgrid[0:DRAWN, 0:DRAWN] / SCALE
    distance, index = spatial.cKDTree(points).query(np.stack([x, y], -1), k=2)
    return index[..., 0], distance[..., 1] - distance[..., 0]
