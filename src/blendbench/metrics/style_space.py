"""What differs between two images of one content in two styles, as directions of an embedding."""

from __future__ import annotations

import functools
from collections.abc import MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from blendbench.core.files import file_times
from blendbench.core.images import load_image
from blendbench.core.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

    from blendbench.metrics.protocols import Encoder

AXES = 6
# Fewer pairs than this are no sample of styles.
LEAST_PAIRS = 12


@dataclass(frozen=True, eq=False)
class StylePairs:
    """The pairs of a suite, embedded once by each encoder.

    `files`: for each pair the styled image and the plain one.
    """

    files: tuple[tuple[Path, Path], ...]
    _embedded: MutableMapping[Any, tuple[Tensor, Tensor]] = field(default_factory=WeakKeyDictionary, repr=False)

    def embedded(self, encoder: Encoder) -> tuple[Tensor, Tensor]:
        """Return float64 (pairs, d) rows of the styled images and the plain ones.

        Errors: ImageError.
        """
        if encoder not in self._embedded:
            styled, plain = (
                torch.cat([encoder.encode_images(_pixels(path)) for path in paths]).double().cpu()
                for paths in zip(*self.files, strict=True)
            )
            self._embedded[encoder] = (styled, plain)
        return self._embedded[encoder]

    def __deepcopy__(self, _memo: Any) -> StylePairs:
        """Return itself: nothing of it changes."""
        return self


def style_pairs(files: tuple[tuple[Path, Path], ...]) -> StylePairs:
    """Return the pairs of some files: the same object, with its embeddings, as long as no file changes."""
    try:
        times = tuple(file_times(path) for pair in files for path in pair)
    except OSError:  # reported by who reads the file
        return StylePairs(files)
    return _unchanged_pairs(files, times)


@functools.lru_cache(maxsize=4)
def _unchanged_pairs(files: tuple[tuple[Path, Path], ...], _times: tuple[tuple[int, ...], ...]) -> StylePairs:
    return StylePairs(files)


@dataclass(frozen=True, eq=False)
class StyleSpace:
    """A linear map (d, axes) from embeddings to coordinates of style.

    `alike`: a distance that is small beside those within pairs.
    """

    axes: Tensor
    alike: float

    def distance(self, rows: Tensor, others: Tensor) -> Tensor:
        """Return (n,) distances in style between (n, d) embeddings."""
        found: Tensor = ((rows - others).double().cpu() @ self.axes).norm(dim=1)
        return found


def style_space(styled: Tensor, plain: Tensor) -> StyleSpace:
    """Find the axes along which pairs differ most, in units of how contents differ.

    Linear discriminants: embeddings are whitened by the covariance of the plain images, shrunk towards its mean
    variance, and the axes are the first principal ones of styled less plain. `styled` and `plain` are (pairs, d).
    """
    centred = plain - plain.mean(0)
    variance = centred.square().mean()
    _, sizes, own = torch.linalg.svd(centred, full_matrices=False)
    excess = 1 - (variance / (sizes.square() / len(plain) + variance)).sqrt()

    def whitened(rows: Tensor) -> Tensor:
        found: Tensor = (rows - (rows @ own.T * excess) @ own) / variance.sqrt()
        return found

    changes = whitened(styled - plain)
    _, lengths, directions = torch.linalg.svd(changes, full_matrices=False)
    principal = directions[:AXES][lengths[:AXES] > 1e-6 * lengths[0]]
    axes = whitened(principal).T
    return StyleSpace(axes, 0.1 * float((changes @ principal.T).norm(dim=1).median()))


def _pixels(path: Path) -> Tensor:
    pixels: Tensor = torch.from_numpy(load_image(path).pixels.copy()).permute(2, 0, 1)[None]
    return pixels
