"""The procedural world of the miniature: scenes, facts and renderer.

An image is 128x128 RGB: one or two objects (shape, colour, size, position) on a background, in one of seven
styles. Everything is a pure function of a `Scenes` batch, so a caption, an image and its ground truth can never
disagree. The renderer is one batched signed-distance computation that gives the same image on a CPU and on a GPU.

Texture periods (stripes 15 px along each axis, halftone 11 px, pixel blocks 7 px) share no divisor with the 16-px
patch grid of the transformer, so that no style can be mistaken for a patch grid artifact.
"""

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor

SIZE = 128
SHAPES = ("circle", "square", "triangle", "star", "cross", "ring")
COLOURS = {
    "red": (222, 40, 45),
    "orange": (245, 135, 20),
    "yellow": (250, 220, 50),
    "green": (50, 170, 70),
    "cyan": (60, 205, 225),
    "blue": (45, 95, 225),
    "purple": (140, 60, 190),
    "pink": (250, 130, 185),
}
BACKGROUNDS = {
    "white": (242, 242, 242),
    "gray": (128, 128, 128),
    "black": (22, 22, 22),
    "beige": (226, 205, 165),
    "navy": (24, 32, 84),
    "olive": (98, 98, 38),
    "maroon": (92, 22, 34),
}
STYLES = ("flat", "outline", "striped", "glossy", "watercolor", "pixel", "halftone")
SIZES = {"small": 21.0, "big": 29.0}  # radius in pixels
POSITIONS = {
    "center": (64.0, 64.0),
    "left": (33.0, 64.0),
    "right": (95.0, 64.0),
    "top": (64.0, 33.0),
    "bottom": (64.0, 95.0),
}
PAIRED_POSITIONS = (("left", "right"), ("top", "bottom"))
JITTER = 2.0  # pixels, uniform, on each coordinate of an object's centre

_POSITION_NAMES = tuple(POSITIONS)


@dataclass(frozen=True)
class Scenes:
    """A batch of n scenes as integer tensors.

    An object slot that is empty has shape -1. `shape, colour, size, position` are (n, 2) int64; `background, style`
    (n,) int64; `offset` is (n, 2, 2) float32: the x, y shift of each object's centre in pixels.
    """

    shape: Tensor
    colour: Tensor
    size: Tensor
    position: Tensor
    background: Tensor
    style: Tensor
    offset: Tensor

    def __len__(self) -> int:
        return len(self.background)

    def __getitem__(self, index: slice | Tensor) -> "Scenes":
        return Scenes(**{f.name: getattr(self, f.name)[index] for f in fields(self)})

    def to(self, device: torch.device | str) -> "Scenes":
        """Move all tensors to a device."""
        return Scenes(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})


def is_held_out(shape: Tensor, colour: Tensor, style: Tensor) -> Tensor:
    """Mark the 1 in 12 combinations that no training scene contains."""
    return (5 * shape + 7 * colour + 3 * style) % 12 == 0


def sample_scenes(n: int, seed: int, *, two_objects: float = 0.4, held_out: bool = False) -> Scenes:
    """Sample `n` scenes on the CPU.

    Training scenes contain no held-out combination; `held_out` ones at least one. Styles are equally likely here;
    `captions.describe` decides later whether a caption names them.
    """
    generator = torch.Generator().manual_seed(seed)
    found: list[Scenes] = []
    missing = n
    while missing > 0:
        batch = _sample(max(2 * missing, 1024), generator, two_objects)
        present = batch.shape >= 0
        unseen = (is_held_out(batch.shape, batch.colour, batch.style[:, None]) & present).any(1)
        found.append(batch[(unseen if held_out else ~unseen).nonzero()[:, 0][:missing]])
        missing -= len(found[-1])
    return Scenes(**{f.name: torch.cat([getattr(part, f.name) for part in found]) for f in fields(Scenes)})


def _sample(n: int, generator: torch.Generator, two_objects: float) -> Scenes:
    def integers(high: int, *shape: int) -> Tensor:
        return torch.randint(high, shape, generator=generator)

    two = torch.rand(n, generator=generator) < two_objects
    shape = integers(len(SHAPES), n, 2)
    shape[~two, 1] = -1
    colour = integers(len(COLOURS), n, 2)
    # Two objects of one colour would make "the red one" ambiguous; move the second to another colour.
    same = colour[:, 0] == colour[:, 1]
    colour[same, 1] = (colour[same, 0] + 1 + integers(len(COLOURS) - 1, int(same.sum()))) % len(COLOURS)
    pairs = torch.tensor([[_POSITION_NAMES.index(name) for name in pair] for pair in PAIRED_POSITIONS])
    position = torch.where(two[:, None], pairs[integers(len(pairs), n)], integers(len(POSITIONS), n, 2))
    return Scenes(
        shape=shape,
        colour=colour,
        size=integers(len(SIZES), n, 2),
        position=position,
        background=integers(len(BACKGROUNDS), n),
        style=integers(len(STYLES), n),
        offset=(torch.rand(n, 2, 2, generator=generator) * 2 - 1) * JITTER,
    )


def render(scenes: Scenes) -> Tensor:
    """Render scenes as (n, 3, 128, 128) float32 in 0..1, on their device."""
    device = scenes.background.device
    grid = torch.arange(SIZE, dtype=torch.float32, device=device) + 0.5
    y, x = torch.meshgrid(grid, grid, indexing="ij")
    style = scenes.style[:, None, None]
    pixel = style == STYLES.index("pixel")
    block = 7.0
    # Pixel art samples everything at block centres, so the blocks are exact and have no soft edges.
    x = torch.where(pixel, (x / block).floor() * block + block / 2, x)
    y = torch.where(pixel, (y / block).floor() * block + block / 2, y)

    image = _palette(BACKGROUNDS, device)[scenes.background][:, :, None, None].expand(-1, -1, SIZE, SIZE)
    image = torch.where(style[:, None] == STYLES.index("glossy"), image * (1.18 - 0.5 * y[:, None] / SIZE), image)
    centres = torch.tensor(list(POSITIONS.values()), device=device)
    radii = torch.tensor(list(SIZES.values()), device=device)
    light_background = image.mean((1, 2, 3), keepdim=True) > 0.4
    softness = torch.where(style == STYLES.index("watercolor"), 4.5, torch.where(pixel, 0.02, 0.7))
    for slot in range(2):
        centre = centres[scenes.position[:, slot]] + scenes.offset[:, slot]
        radius = radii[scenes.size[:, slot]][:, None, None]
        u, v = x - centre[:, 0, None, None], y - centre[:, 1, None, None]
        distance = _signed_distance(scenes.shape[:, slot], u, v, radius)
        cover = (0.5 - distance / (2 * softness)).clamp(0, 1)[:, None]
        colour = _palette(COLOURS, device)[scenes.colour[:, slot]][:, :, None, None]
        shade = (0.95 - 0.55 * (u + v) / (1.4 * radius)).clamp(0.35, 1.5)[:, None]
        shine = torch.exp(-((u + 0.35 * radius) ** 2 + (v + 0.35 * radius) ** 2) / (0.12 * radius**2))[:, None]
        glossy = colour * shade + 0.6 * shine
        fill = torch.where(style[:, None] == STYLES.index("glossy"), glossy.clamp(0, 1), colour)
        image = image + cover * (fill - image)
        ink = (1.0 - ((distance.abs() - 2.2) / 0.8).clamp(0, 1))[:, None]
        outline = (style == STYLES.index("outline")) & (scenes.shape[:, slot, None, None] >= 0)
        ink_colour = torch.where(light_background, 0.03, 0.97)
        image = torch.where(outline[:, None], image + ink * (ink_colour - image), image)
    return _texture(image, style, x, y).clamp(0, 1)


def _texture(image: Tensor, style: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Apply a style's whole-image part: stripes, halftone or watercolour."""
    stripes = 1 - 0.36 * torch.sigmoid(6 * torch.sin(2 * math.pi * (x + y) / 15))
    dots = torch.hypot((x % 11) - 5.5, (y % 11) - 5.5)
    halftone = 1 - 0.5 * (0.5 - (dots - 3.1)).clamp(0, 1)
    wash = 0.36 + 0.1 * torch.sin(x / 17 + 1.3 * torch.sin(y / 23)) * torch.cos(y / 19)
    image = torch.where((style == STYLES.index("striped"))[:, None], image * stripes[:, None], image)
    image = torch.where((style == STYLES.index("halftone"))[:, None], image * halftone[:, None], image)
    washed = image + wash[:, None] * (0.97 - image)
    return torch.where((style == STYLES.index("watercolor"))[:, None], washed, image)


def _palette(colours: dict[str, tuple[int, int, int]], device: torch.device) -> Tensor:
    return torch.tensor(list(colours.values()), dtype=torch.float32, device=device) / 255


def _signed_distance(shape: Tensor, u: Tensor, v: Tensor, r: Tensor) -> Tensor:
    """Compute signed distances (n, h, w) in pixels to each scene's shape.

    They are negative inside; an empty slot is far away. Exact distances for the round and straight shapes, an
    edge-exact one for the star; formulas after I. Quilez, "2D distance functions"
    (https://iquilezles.org/articles/distfunctions2d/).
    """
    disc = torch.hypot(u, v)
    bar, rest = torch.minimum(u.abs(), v.abs()), torch.maximum(u.abs(), v.abs())
    forms = {
        "circle": disc - r,
        "square": rest - 0.86 * r,
        "triangle": torch.maximum(u.abs() * 0.866 - v * 0.5, v) - 0.62 * r,
        "star": _star(u, v, 1.18 * r),
        "cross": torch.maximum(rest - r, bar - 0.36 * r),
        "ring": (disc - 0.76 * r).abs() - 0.26 * r,
    }
    distance = torch.full_like(disc, 1e3)
    for index, name in enumerate(SHAPES):
        distance = torch.where((shape == index)[:, None, None], forms[name], distance)
    return distance


def _star(u: Tensor, v: Tensor, r: Tensor, inner: float = 0.45) -> Tensor:
    """Compute signed distances to a star of radii `r` and `inner * r`, point up."""
    sector = 2 * math.pi / 5
    angle = torch.atan2(u, -v)
    folded = (angle - sector * torch.round(angle / sector)).abs()
    radius = torch.hypot(u, v)
    px, py = radius * torch.sin(folded), radius * torch.cos(folded)
    # The edge runs from the tip (0, r) to the notch at angle sector / 2.
    nx, ny = inner * r * math.sin(sector / 2), inner * r * math.cos(sector / 2)
    ex, ey = nx, ny - r
    return (px * -ey + (py - r) * ex) / torch.hypot(ex, ey)
