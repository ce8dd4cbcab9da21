"""`python prompts/standard/make_images.py [--out DIR]`: every image of the suite `standard`.

The drawn ones are our own (Apache-2.0): shapes, gradients and seeded noise, drawn at twice the size and averaged down.
The photographs are those that are installed with scikit-image and whose licence its documentation gives as CC0 or
public domain; `suite.toml` records licence and origin of each. They keep the size they have there, 400 to 1000 pixels
a side: enlarging them would add tokens and no detail. Pairs are drawn scenes, plain and in one of eight styles.
"""

import argparse
import re
from pathlib import Path

import drawn_scenes  # noqa: F401  importing registers
import drawn_things  # noqa: F401
import numpy as np
import skimage.data
from drawing import IMAGES, SIDE
from drawn_pairs import SCENES
from PIL import Image
from styles import STYLES

PHOTOS = {
    "astronaut": "astronaut", "brick": "brick", "camera": "camera", "cat": "cat", "coffee": "coffee", "grass": "grass",
    "gravel": "gravel", "horse": "horse", "hubble": "hubble_deep_field", "rocket": "rocket", "text": "text",
}  # fmt: skip
PAIR_SIDE = 448
NEUTRALS = {"gray": 128, "white": 255}


def photo(name: str) -> Image.Image:
    """A photograph of scikit-image, never enlarged."""
    pixels = getattr(skimage.data, PHOTOS[name])()
    # The horse is a mask.
    image = Image.fromarray(pixels.astype("uint8") * 255 if pixels.dtype == bool else pixels).convert("RGB")
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    return image


def drawn(name: str) -> Image.Image:
    """A drawing, 1024 pixels a side."""
    return IMAGES[name]().resize((SIDE, SIDE), Image.Resampling.BOX)


def pair(number: int) -> tuple[str, Image.Image, Image.Image]:
    """Caption, styled and plain version of a scene; each of its two variants has a style of its own."""
    scene, variant = divmod(number - 1, 2)
    draw, captions = SCENES[scene]
    words, in_colour, apply = STYLES[(scene + 3 * variant) % len(STYLES)]
    caption = re.sub(r"\{(.*?)\}", r"\1" if in_colour else "", captions[variant])
    plain = draw(variant).resize((PAIR_SIDE, PAIR_SIDE), Image.Resampling.BOX)
    styled = apply(np.asarray(plain), np.random.default_rng(number))
    return f"{caption}, {words}", Image.fromarray(styled), plain


def write(folder: Path) -> None:
    """Write all of them: JPEG, and PNG for the neutral ones."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, grey in NEUTRALS.items():
        Image.new("RGB", (SIDE, SIDE), (grey,) * 3).save(folder / f"{name}.png", optimize=True)
    for name in PHOTOS:
        photo(name).save(folder / f"{name}.jpg", quality=88, optimize=True)
    for name in IMAGES:
        drawn(name).save(folder / f"{name}.jpg", quality=85, optimize=True)
    for number in range(1, 2 * len(SCENES) + 1):
        _, styled, plain = pair(number)
        styled.save(folder / f"pair-{number:02d}.jpg", quality=85, optimize=True)
        plain.save(folder / f"pair-{number:02d}-plain.jpg", quality=85, optimize=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "images")
    write(parser.parse_args().out)
