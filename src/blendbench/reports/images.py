"""Images as a page shows them; damaged or missing ones are named."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from blendbench.core.files import write_atomically
from blendbench.core.numbers import listed
from blendbench.results.images import DamagedImageError, ImageStore

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAMED = 5
# The hash of an item's reference image, of a row `i` of `items`.
REFERENCE = "regexp_extract(i.reference_image, '[0-9a-f]{64}')"
# How images of a page are written: what shows photos, and what has flat colours and thin lines.
PHOTOS: dict[str, Any] = {"format": "WEBP", "quality": 85, "method": 6}
PLOTS: dict[str, Any] = {"format": "WEBP", "lossless": True, "quality": 100, "method": 4}
_COLOURS = 128  # of a plot: a file two fifths smaller, with no pixel off by 20 grey levels


class PageImages:
    """Read images by their hash.

    `damaged` collects the hashes of those that could not be read. `stored`: the hashes in the results folder, by those
    of published data.
    """

    def __init__(self, results_dir: Path, stored: Mapping[str, str] | None = None) -> None:
        self.store = ImageStore(results_dir)
        self.stored = stored or {}
        self.damaged: dict[str, None] = {}

    def load(self, sha256: str | None) -> Image.Image | None:
        """Return an image, or None if its file is missing or damaged."""
        if sha256 is None:
            return None
        try:
            return Image.fromarray(self.store.load(self.stored.get(sha256, sha256)))
        except DamagedImageError:
            self.damaged[sha256] = None
            return None

    def note(self) -> str:
        """Return the paragraph of a page that names what was left out, if anything."""
        if not self.damaged:
            return ""
        names = [f"`{sha256[:16]}`" for sha256 in self.damaged]
        return (
            f"**{len(names)} image{'s are' if len(names) > 1 else ' is'} damaged or missing and left out**:"
            f" {listed(names, NAMED)}; `blendbench run` generates them again."
        )


def save_plot(figure: "Figure", path: Path, options: dict[str, Any] | None = None) -> None:
    """Write a figure to the same bytes, without matplotlib's version."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="rgba")
    image = Image.frombytes("RGBA", figure.canvas.get_width_height(), buffer.getvalue()).convert("RGB")
    path.parent.mkdir(parents=True, exist_ok=True)
    save_image(image if options else _with_few_colours(image), path, options or PLOTS)


def _with_few_colours(image: Image.Image) -> Image.Image:
    return image.quantize(_COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).convert("RGB")


def save_image(image: Image.Image, path: Path, options: Mapping[str, Any]) -> None:
    """Write an image of a page atomically."""
    buffer = io.BytesIO()
    image.save(buffer, **options)
    write_atomically(path, buffer.getvalue())
