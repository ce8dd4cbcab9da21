"""`python prompts/standard/make_images.py [--out DIR]`: every image of the suite `standard`.

The drawn ones are our own (Apache-2.0): shapes, gradients and seeded noise, drawn at twice the size and averaged down.
The photographs are those that are installed with scikit-image and whose licence its documentation gives as CC0 or
public domain; `suite.toml` records licence and origin of each.
"""

import argparse
from pathlib import Path

import drawn_scenes  # noqa: F401  importing registers
import drawn_things  # noqa: F401
import skimage.data
from drawing import IMAGES, SIDE
from PIL import Image

PHOTOS = {
    "astronaut": "astronaut", "brick": "brick", "camera": "camera", "cat": "cat", "coffee": "coffee", "grass": "grass",
    "gravel": "gravel", "horse": "horse", "hubble": "hubble_deep_field", "rocket": "rocket", "text": "text",
}  # fmt: skip
NEUTRALS = {"gray": 128, "white": 255}


def photo(name: str) -> Image.Image:
    """A photograph of scikit-image, at most 512 pixels a side."""
    pixels = getattr(skimage.data, PHOTOS[name])()
    # The horse is a mask.
    image = Image.fromarray(pixels.astype("uint8") * 255 if pixels.dtype == bool else pixels).convert("RGB")
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    return image


def drawn(name: str) -> Image.Image:
    """A drawing, 512 pixels a side."""
    return IMAGES[name]().resize((SIDE, SIDE), Image.Resampling.BOX)


def write(folder: Path) -> None:
    """Write all of them: JPEG, and PNG for the neutral ones."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, grey in NEUTRALS.items():
        Image.new("RGB", (SIDE, SIDE), (grey,) * 3).save(folder / f"{name}.png", optimize=True)
    for name in PHOTOS:
        photo(name).save(folder / f"{name}.jpg", quality=88, optimize=True)
    for name in IMAGES:
        drawn(name).save(folder / f"{name}.jpg", quality=90, optimize=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "images")
    write(parser.parse_args().out)
