"""What the drawn images are made with: a register, a canvas twice as large as the image, and a few shapes."""

import math
from collections.abc import Callable, Iterable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter
from scipy import ndimage

SIDE, DRAWN = 512, 1024
Colour = tuple[int, int, int]
Points = list[tuple[float, float]]
IMAGES: dict[str, Callable[[], Image.Image]] = {}


def image(draw: Callable[[], Image.Image]) -> Callable[[], Image.Image]:
    IMAGES[draw.__name__.replace("_", "-")] = draw
    return draw


def canvas(colour: Colour) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("RGB", (DRAWN, DRAWN), colour)
    return image, ImageDraw.Draw(image)


def gradient(stops: list[tuple[float, Colour]]) -> Image.Image:
    """Vertical gradient through (height from 0 to 1, colour)."""
    heights, rows = [h for h, _ in stops], np.linspace(0, 1, DRAWN)
    channels = [np.interp(rows, heights, [colour[i] for _, colour in stops]) for i in range(3)]
    column = np.stack(channels, -1)[:, None].repeat(DRAWN, 1)
    return Image.fromarray(column.round().astype(np.uint8))


def grained(image: Image.Image, strength: float, blur: float, seed: int) -> Image.Image:
    """Paper: smooth noise of a given size added to all channels alike."""
    soft = ndimage.gaussian_filter(np.random.default_rng(seed).normal(0, 1, (DRAWN, DRAWN)), blur, truncate=3)
    pixels = np.asarray(image, np.float32) + (soft / soft.std() * strength)[..., None]
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def disc(draw: ImageDraw.ImageDraw, x: float, y: float, r: float, fill: Colour | None, line: int = 0) -> None:
    draw.ellipse((x - r, y - r, x + r, y + r), fill=fill, outline=(20, 20, 20) if line else None, width=line)


def ridge(height: float, rough: float, seed: int) -> Points:
    """The outline of hills, closed at the bottom of the image."""
    random = np.random.default_rng(seed)
    waves = [(random.uniform(0.5, 2) * 2**k, random.uniform(0, 7), rough / 1.8**k) for k in range(5)]
    line = [(x, height + sum(a * math.sin(f * x / 160 + p) for f, p, a in waves)) for x in range(0, DRAWN + 8, 8)]
    return [*line, (DRAWN, DRAWN), (0, DRAWN)]


def turned(points: Iterable[tuple[float, float]], angle: float, x: float, y: float) -> Points:
    c, s = math.cos(angle), math.sin(angle)
    return [(x + c * u - s * v, y + s * u + c * v) for u, v in points]


def layered(image: Image.Image, points: Points, colour: Colour) -> Image.Image:
    """A sheet of cut paper with its shadow on what lies below."""
    mask = Image.new("L", image.size)
    ImageDraw.Draw(mask).polygon(points, fill=255)
    shadow = mask.transform(mask.size, Image.Transform.AFFINE, (1, 0, -10, 0, 1, -14)).filter(
        ImageFilter.GaussianBlur(10)
    )
    below = Image.composite(Image.new("RGB", image.size, (5, 30, 35)), image, shadow.point(lambda v: v * 0.5))
    return Image.composite(Image.new("RGB", image.size, colour), below, mask)


def cells(points: np.ndarray, stretch: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """The nearest of `points` for each pixel, and how much farther the second nearest is."""
    y, x = np.mgrid[0:DRAWN, 0:DRAWN]
    distance = np.stack([np.hypot((x - a) * stretch, y - b) for a, b in points])
    two = np.partition(distance, 1, axis=0)[:2]
    return distance.argmin(0), two[1] - two[0]
