"""Captions of the procedural world, and the facts that they state.

`canonical` names everything in one fixed order; `describe` samples a phrasing that may leave things out, as people do.
What a caption leaves out is what a reference image can fill in: that is the room that blending has.
"""

import random
from dataclasses import dataclass

from blendbench.core.suites import Attributes, Fact
from blendbench.models.miniature.world import BACKGROUNDS, COLOURS, POSITIONS, SHAPES, SIZES, STYLES, Scenes

SHAPE_WORDS = {
    "circle": ("circle", "disc"),
    "square": ("square", "box"),
    "triangle": ("triangle",),
    "star": ("star",),
    "cross": ("cross", "plus"),
    "ring": ("ring", "hoop"),
}
STYLE_WORDS = {
    "flat": ("flat",),
    "outline": ("outline", "inked"),
    "striped": ("striped",),
    "glossy": ("glossy", "shiny"),
    "watercolor": ("watercolor",),
    "pixel": ("pixel", "pixelated"),
    "halftone": ("halftone", "dotted"),
}
SIZE_WORDS = {"small": ("small", "little"), "big": ("big", "large")}
POSITION_WORDS = {
    "center": ("in the center", "in the middle"),
    "left": ("on the left",),
    "right": ("on the right",),
    "top": ("at the top",),
    "bottom": ("at the bottom",),
}
BACKGROUND_TEMPLATES = (" on {} {} background", " with {} {} background", ", {1} background")
STYLE_TEMPLATES = ("{0} {1} style picture of {2}", "{2}, {1} style", "{1} style, {2}", "{2} drawn in {1} style")
PLAIN_TEMPLATES = ("a picture of {}", "{}", "an image of {}", "there is {}")
# The fraction of captions that name each fact. An unnamed style is mostly flat: a default to move away from.
STATED = {"style": 0.65, "background": 0.8, "size": 0.6, "position": 0.8}
FLAT_IF_UNSTATED = 0.85


@dataclass(frozen=True)
class Described:
    """Hold a caption, its stated facts, and the required style index."""

    caption: str
    states: Attributes
    style: int


def canonical(scenes: Scenes) -> list[str]:
    """Write every attribute of a scene in fixed order, at most 21 words."""
    captions = []
    for shapes, colours, sizes, positions, background, style in _rows(scenes):
        objects = [
            f"a {list(SIZES)[size]} {list(COLOURS)[colour]} {SHAPES[shape]} "
            f"{POSITION_WORDS[list(POSITIONS)[position]][0]}"
            for shape, colour, size, position in zip(shapes, colours, sizes, positions, strict=True)
            if shape >= 0
        ]
        captions.append(f"{' and '.join(objects)}, {list(BACKGROUNDS)[background]} background, {STYLES[style]} style")
    return captions


def describe(scenes: Scenes, seed: int) -> list[Described]:
    """Sample one phrasing per scene.

    Where the style is left out, it is replaced by flat with `FLAT_IF_UNSTATED`.
    """
    rng = random.Random(seed)
    return [_describe(rng, *row) for row in _rows(scenes)]


def _describe(
    rng: random.Random,
    shapes: list[int],
    colours: list[int],
    sizes: list[int],
    positions: list[int],
    background: int,
    style: int,
) -> Described:
    background_name, style_name = list(BACKGROUNDS)[background], STYLES[style]
    says_position = rng.random() < STATED["position"]
    objects, states = [], []
    for shape, colour, size, position in zip(shapes, colours, sizes, positions, strict=True):
        if shape < 0:
            continue
        words: list[str] = []
        if rng.random() < STATED["size"]:
            words.append(rng.choice(SIZE_WORDS[list(SIZES)[size]]))
        words += [list(COLOURS)[colour], rng.choice(SHAPE_WORDS[SHAPES[shape]])]
        words.insert(0, _article(words[0]))
        if says_position:
            words.append(rng.choice(POSITION_WORDS[list(POSITIONS)[position]]))
        objects.append(" ".join(words))
        states.append((list(COLOURS)[colour], SHAPES[shape]))
    if len(objects) == 2 and rng.random() < 0.5:
        objects.reverse()
    content = " and ".join(objects)
    says_background = rng.random() < STATED["background"]
    if says_background:
        content += rng.choice(BACKGROUND_TEMPLATES).format(_article(background_name), background_name)
    says_style = rng.random() < STATED["style"]
    if says_style:
        word = rng.choice(STYLE_WORDS[style_name])
        caption = rng.choice(STYLE_TEMPLATES).format(_article(word), word, content)
    else:
        caption = rng.choice(PLAIN_TEMPLATES).format(content)
        style = STYLES.index("flat") if rng.random() < FLAT_IF_UNSTATED else style
    facts = Attributes(tuple(states), background_name if says_background else None, style_name if says_style else None)
    return Described(caption, facts, style)


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def object_phrase(colour: str, shape: str) -> str:
    """Name an object with its article."""
    return f"{_article(colour)} {colour} {shape}"


def attributes(scenes: Scenes) -> list[Attributes]:
    """Return the full ground truth of each scene."""
    return [
        Attributes(
            tuple((list(COLOURS)[c], SHAPES[s]) for s, c in zip(shapes, colours, strict=True) if s >= 0),
            list(BACKGROUNDS)[background],
            STYLES[style],
        )
        for shapes, colours, _, _, background, style in _rows(scenes)
    ]


def facts(stated: Attributes) -> tuple[Fact, ...]:
    """Write what a prompt states as facts, each with foils.

    The foils are all that the world has in place of one attribute: every other colour and every other shape of an
    object, every other background, every other style. With a few of them, an image of an attribute that is not among
    them would leave a judge nothing better than the fact itself.
    """
    made = [Fact(object_phrase(*pair), _object_foils(stated, *pair)) for pair in stated.objects]
    for name, known, axis in ((stated.background, BACKGROUNDS, "background"), (stated.style, STYLES, "style")):
        if name is not None:
            made.append(Fact(f"{name} {axis}", tuple(f"{other} {axis}" for other in known if other != name)))
    return tuple(made)


def _object_foils(stated: Attributes, colour: str, shape: str) -> tuple[str, ...]:
    others = [*((other, shape) for other in COLOURS), *((colour, other) for other in SHAPES)]
    return tuple(object_phrase(*pair) for pair in others if pair not in stated.objects)


def _rows(scenes: Scenes) -> list[tuple[list[int], list[int], list[int], list[int], int, int]]:
    columns = (scenes.shape, scenes.colour, scenes.size, scenes.position, scenes.background, scenes.style)
    return list(zip(*(column.tolist() for column in columns), strict=True))
