"""Styles of the pairs: each makes a styled version of a plain drawing, (side, side, 3) uint8, with seeded noise."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter
from scipy import ndimage, spatial

Pixels = NDArray[np.uint8]
Style = Callable[[Pixels, np.random.Generator], Pixels]
STYLES: list[tuple[str, bool, Style]] = []  # words of captions, whether colours of the scene are kept


def style(words: str, in_colour: bool = True) -> Callable[[Style], Style]:
    def register(apply: Style) -> Style:
        STYLES.append((words, in_colour, apply))
        return apply

    return register


def smooth_noise(shape: tuple[int, ...], blur: float, random: np.random.Generator) -> NDArray[np.float64]:
    """Noise of mean 0 and variance 1 without detail smaller than `blur` pixels."""
    noise = ndimage.gaussian_filter(random.normal(0, 1, shape), blur)
    return (noise - noise.mean()) / noise.std()


def displaced(pixels: Pixels, amount: float, blur: float, random: np.random.Generator) -> NDArray[np.float64]:
    """Unsteady outlines: each pixel taken from `amount` pixels away, in directions that change slowly."""
    side = pixels.shape[:2]
    places = np.indices(side) + amount * np.stack([smooth_noise(side, blur, random) for _ in range(2)])
    channels = [
        ndimage.map_coordinates(pixels[..., c].astype(float), places, order=1, mode="nearest") for c in range(3)
    ]
    return np.stack(channels, -1)


def lightness(pixels: NDArray[np.generic]) -> NDArray[np.float64]:
    """From 0 to 1."""
    return np.asarray(pixels, float) @ (0.299, 0.587, 0.114) / 255


def outlines(light: NDArray[np.float64], blur: float) -> NDArray[np.float64]:
    """How steep the lightness is, from 0 to 1."""
    steep = ndimage.gaussian_gradient_magnitude(light, blur)
    return np.clip(steep / np.quantile(steep, 0.985), 0, 1)


def bytes_of(values: NDArray[np.float64]) -> Pixels:
    return values.round().clip(0, 255).astype(np.uint8)


@style("watercolour")
def watercolour(pixels: Pixels, random: np.random.Generator) -> Pixels:
    side = pixels.shape[:2]
    paint = displaced(pixels, 4, 9, random)
    washed = ndimage.gaussian_filter(ndimage.median_filter(paint, (9, 9, 1)), (2.5, 2.5, 0))
    # Pigment dries darker along edges, pools in clouds, and leaves the paper's grain and a bare margin.
    density = 0.8 + 0.14 * smooth_noise(side, 22, random) + 0.05 * smooth_noise(side, 1.5, random)
    density += 0.35 * outlines(lightness(washed), 1.5)
    y, x = np.indices(side) / side[0]
    margin = np.minimum(np.minimum(x, 1 - x), np.minimum(y, 1 - y)) + 0.012 * smooth_noise(side, 7, random)
    density *= np.clip((margin - 0.035) / 0.02, 0, 1)
    paper = np.array((250, 246, 236))
    return bytes_of(paper * (np.maximum(washed, 8) / 255) ** np.clip(density, 0, 1.4)[..., None])


@style("halftone print")
def halftone(pixels: Pixels, _: np.random.Generator) -> Pixels:
    soft = ndimage.gaussian_filter(pixels.astype(float), (3, 3, 0)) / 255
    y, x = np.indices(pixels.shape[:2])
    ink, step = np.ones(pixels.shape), 13.0
    for channel, degrees in enumerate((15, 75, 45)):
        c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        u, v = (c * x + s * y) / step % 1 - 0.5, (c * y - s * x) / step % 1 - 0.5
        radius = 0.72 * np.sqrt(1 - soft[..., channel])
        ink[..., channel] = 1 - np.clip((radius - np.hypot(u, v)) * step + 0.5, 0, 1)
    return bytes_of(20 + ink * (235, 228, 215))


@style("pencil drawing", in_colour=False)
def pencil(pixels: Pixels, random: np.random.Generator) -> Pixels:
    side = pixels.shape[:2]
    light = lightness(displaced(pixels, 2, 12, random))
    y, x = np.indices(side) + 1.5 * smooth_noise(side, 14, random)
    grain = 0.75 + 0.25 * smooth_noise(side, 0.8, random)
    dark = 1.1 * outlines(light, 1.2)
    for slope, limit in ((1, 0.85), (-1, 0.55), (0.15, 0.3)):
        strokes = np.clip(np.sin((x + slope * y) * 2 * np.pi / 8) * 1.6, 0, 1)
        dark += 0.5 * strokes * np.clip((limit - light) * 5, 0, 1)
    return bytes_of((245 - 190 * np.clip(dark * grain, 0, 1))[..., None] * np.array((1, 0.99, 0.96)))


@style("pixel art")
def pixel_art(pixels: Pixels, _: np.random.Generator) -> Pixels:
    small = Image.fromarray(pixels).resize((44, 44), Image.Resampling.BOX)
    few = small.quantize(14, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).convert("RGB")
    return np.asarray(few.resize(pixels.shape[1::-1], Image.Resampling.NEAREST))


@style("linocut, black on ochre", in_colour=False)
def linocut(pixels: Pixels, random: np.random.Generator) -> Pixels:
    side = pixels.shape[:2]
    light = lightness(displaced(pixels, 2, 6, random))
    light += 2 * (light - ndimage.gaussian_filter(light, 45))  # what is darker than its surroundings is inked
    low, high = np.quantile(light, (0.2, 0.85))
    tone = np.clip((light - low) / (high - low + 1e-6), 0, 1)
    y, x = np.indices(side) + 3 * smooth_noise(side, 30, random)
    # Gouge marks are wider where the scene is lighter; edges are left standing.
    marks = np.sin((0.35 * x + y) * 2 * np.pi / 14) + 0.3 * smooth_noise(side, 3, random)
    inked = (marks > 2.6 * tone - 1.3) | (outlines(light, 1.5) > 0.45)
    soft = ndimage.gaussian_filter(inked.astype(float), 0.8)[..., None]
    return bytes_of(np.array((226, 172, 84)) * (1 - soft) + np.array((24, 20, 20)) * soft)


@style("screen print in four flat colours", in_colour=False)
def screen_print(pixels: Pixels, random: np.random.Generator) -> Pixels:
    light = ndimage.gaussian_filter(lightness(pixels), 2)
    steps = np.searchsorted(np.quantile(light, (0.25, 0.5, 0.75)), light)
    inks = np.array(((60, 24, 92), (226, 60, 110), (255, 176, 46), (252, 240, 214)))
    lines = np.roll(outlines(light, 1.5) > 0.5, (4, 6), (0, 1))  # a plate that is not quite in register
    worn = smooth_noise(pixels.shape[:2], 1.2, random) < 1.7
    return bytes_of(np.where((lines & worn)[..., None], (20, 30, 70), inks[steps]).astype(float))


@style("oil painting with thick brush strokes")
def oil(pixels: Pixels, random: np.random.Generator) -> Pixels:
    high, wide = pixels.shape[:2]
    soft = ndimage.gaussian_filter(pixels.astype(float), (3, 3, 0))
    light = ndimage.gaussian_filter(lightness(pixels), 6)
    gy, gx = np.gradient(light)
    swirl = smooth_noise((high, wide), 40, random)
    angles = np.where(np.hypot(gx, gy) > 2e-3, np.arctan2(gx, -gy), swirl)  # along edges, else in slow curves
    painted = Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(12))
    draw = ImageDraw.Draw(painted)
    for length, width, count in ((26, 15, 1500), (15, 9, 2600), (9, 5, 3000)):
        for x, y, shade in random.uniform((0, 0, -24), (wide, high, 24), (count, 3)):
            angle = angles[int(y), int(x)] + random.normal(0, 0.15)
            u, v = np.cos(angle), np.sin(angle)
            colour = soft[int(y), int(x)]
            for across, lift in ((0, shade), (-width / 3, shade + 14), (width / 3, shade - 14)):
                a, b = x - v * across, y + u * across
                fill = tuple(int(c) for c in np.clip(colour + lift, 0, 255))
                thick = width if across == 0 else max(width // 4, 1)
                draw.line([(a - u * length, b - v * length), (a + u * length, b + v * length)], fill=fill, width=thick)
    return np.asarray(painted)


@style("mosaic of small stones")
def mosaic(pixels: Pixels, random: np.random.Generator) -> Pixels:
    high, wide = pixels.shape[:2]
    step = 15
    y, x = np.mgrid[0 : high + step : step, 0 : wide + step : step]
    points = np.stack([x + y // step % 2 * step / 2, y], -1).reshape(-1, 2) + random.uniform(-3.5, 3.5, (x.size, 2))
    rows, columns = np.indices((high, wide))
    distance, index = spatial.cKDTree(points).query(np.stack([columns, rows], -1), k=2)
    nearest = index[..., 0].ravel()
    counts = np.maximum(np.bincount(nearest, minlength=len(points)), 1)
    stones = np.stack([np.bincount(nearest, pixels[..., c].ravel(), len(points)) / counts for c in range(3)], -1)
    stones *= random.uniform(0.82, 1.15, (len(points), 1))
    grout = np.clip(2.2 - (distance[..., 1] - distance[..., 0]), 0, 1)[..., None]
    return bytes_of(stones[index[..., 0]] * (1 - grout) + np.array((206, 198, 184)) * grout)
