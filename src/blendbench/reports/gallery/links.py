"""Addresses within a gallery that stay valid when it is written again."""

import functools
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, urlencode

from blendbench.core.errors import UsageError
from blendbench.results.packed import same_image

PAGE, DATA = "index.html", "data.js"
FOLDER = "gallery"  # of a results folder, or beside published pages: a gallery an experiment
View = Literal["side", "slider", "flicker", "difference", "patch_grid"]
_HEAD, _TAIL = "gallery.setData(", ");\n"


def comparison_link(item: str, seed: int, a: str, b: str, view: View = "slider") -> str:
    """Return the address of two configurations (labels) at an item and seed.

    It is relative to the gallery's folder. `a` is the baseline: the page shows B minus A.
    """
    return f"{PAGE}#{urlencode({'item': item, 'seed': seed, 'a': a, 'b': b, 'view': view})}"


def grid_link(**filters: str | int | float) -> str:
    """Return the address of the grid under filters.

    They are metric, min, max, show, verdict, find, columns, seed and sort.
    """
    return f"{PAGE}#{urlencode(filters)}" if filters else PAGE


@dataclass(frozen=True)
class Gallery:
    """A gallery to link to: its address, and its image by (label, item, seed).

    Images are named as in a results folder. `images` is None for one on the web, which cannot be read.
    """

    address: str
    images: Mapping[tuple[str, str, int], str] | None

    def grid(self, **filters: str | int | float) -> str:
        """Return the address of the grid under filters."""
        return f"{self.address}/{grid_link(**filters)}"

    def column(self, label: str, metric: str) -> str | None:
        """Return the address of a configuration beside the baseline, or None.

        The worst pairs come first; it is None if the gallery lacks the configuration.
        """
        if self.images is not None and all(label != shown for shown, *_ in self.images):
            return None
        return self.grid(columns=label, metric=metric, sort=label)

    def comparison(self, item: str, seed: int, a: tuple[str, str], b: tuple[str, str]) -> str | None:
        """Return the address of two cells (label, image), `a` the baseline.

        None if the gallery shows other images.
        """
        if self.images is not None:
            shown = [self.images.get((label, item, seed)) for label, _ in (a, b)]
            if not all(name and same_image(name, own) for name, (_, own) in zip(shown, (a, b), strict=True)):
                return None
        return f"{self.address}/{comparison_link(item, seed, a[0], b[0])}"


def data_text(data: Mapping[str, Any]) -> str:
    """Return what a gallery shows, as the script that its page reads."""
    dumps = functools.partial(json.dumps, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    # Row by row: of all at once, the encoder holds every value as a string before it joins them.
    parts = [
        f"{dumps(key)}:[{','.join(map(dumps, value))}]" if isinstance(value, list) else f"{dumps(key)}:{dumps(value)}"
        for key, value in data.items()
    ]
    return f"{_HEAD}{{{','.join(parts)}}}{_TAIL}"


def find_gallery(folder: Path, seen_from: Path | None = None) -> Gallery | None:
    """Return the finished gallery in `folder`, or None.

    Its address is relative to the folder `seen_from`, or a file's.
    """
    if not (folder / PAGE).is_file():
        return None
    try:
        text = (folder / DATA).read_text(encoding="utf-8").removeprefix(_HEAD).removesuffix(_TAIL)
        images = _shown(json.loads(text))
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        return None
    if seen_from is None:
        return Gallery(folder.resolve().as_uri(), images)
    # The two may be linked to, so the way between them is that of their real places.
    return Gallery(quote(Path(os.path.relpath(folder.resolve(), seen_from.resolve())).as_posix()), images)


def _shown(data: dict[str, Any]) -> dict[tuple[str, str, int], str]:
    labels = [entry["label"] for entry in data["configurations"]]
    items = [entry["id"] for entry in data["items"]]
    return {
        (labels[label], items[item], data["seeds"][seed]): data["images"][image]
        for label, item, seed, _, image, *_ in data["cells"]
        if image >= 0
    }


def named_gallery(place: str) -> Gallery:
    """Return the gallery of a folder or web address. Errors: UsageError."""
    if place.startswith(("http://", "https://")):
        return Gallery(place.removesuffix(PAGE).rstrip("/"), None)
    found = find_gallery(Path(place))
    if found is None:
        raise UsageError(f"--gallery {place}: no gallery there; write it with: blendbench gallery --out {place}")
    return found
