"""Addresses within a gallery: what other pages may link to, and what stays valid when the gallery is written again."""

from typing import Literal
from urllib.parse import urlencode

PAGE = "index.html"
View = Literal["side", "slider", "flicker", "difference", "lattice"]


def comparison_link(item: str, seed: int, a: str, b: str, view: View = "slider") -> str:
    """Two configurations (labels) at one item and seed, relative to the gallery's folder."""
    return f"{PAGE}#{urlencode({'item': item, 'seed': seed, 'a': a, 'b': b, 'view': view})}"


def grid_link(**filters: str | int | float) -> str:
    """The grid under filters: metric, min, max, show, verdict, find, columns, seed, sort (docs/gallery.md)."""
    return f"{PAGE}#{urlencode(filters)}" if filters else PAGE
