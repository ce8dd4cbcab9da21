"""Cache pixels of recent images, so that scoring need not decode them."""

from collections import OrderedDict
from pathlib import Path

import numpy as np

from blendbench.core.images import load_image
from blendbench.results.images import ImageStore

_KEPT = 64


class PixelCache:
    """The last images by hash and references by path, all uint8 (h, w, 3)."""

    def __init__(self, store: ImageStore) -> None:
        self.store = store
        self._kept: OrderedDict[str | Path, np.ndarray] = OrderedDict()

    def keep(self, key: str | Path, pixels: np.ndarray) -> None:
        """Remember the pixels of an image."""
        self._kept[key] = pixels
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)

    def image(self, sha256: str) -> np.ndarray:
        """Return a stored image. Errors: DamagedImageError."""
        if sha256 not in self._kept:
            self.keep(sha256, self.store.load(sha256))
        self._kept.move_to_end(sha256)
        return self._kept[sha256]

    def reference(self, path: Path) -> np.ndarray:
        """Return a reference image as encoders see it. Errors: ImageError."""
        if path not in self._kept:
            self.keep(path, load_image(path).pixels)
        self._kept.move_to_end(path)
        return self._kept[path]
