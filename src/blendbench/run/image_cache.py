"""The content-addressed image store: images/<first two digits>/<sha256 of the PNG>.png."""

import functools
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from blendbench.results.images import ImageStore

_RECENT = 64  # images whose pixels are kept


@functools.cache
def _store(results: Path) -> ImageStore:
    return ImageStore(results)


def image_path(results: Path, sha256: str) -> Path:
    """Where an image is kept."""
    return _store(results).path(sha256)


def save_bytes(results: Path, data: bytes) -> str:
    """Keep the bytes of an image file; returns their sha256."""
    return _store(results).save_bytes(data)


def save_image(results: Path, pixels: np.ndarray) -> str:
    """Keep uint8 (h, w, 3) pixels as a lossless PNG."""
    return _store(results).save(pixels)


def load_pixels(path: Path) -> np.ndarray:
    """Pixels (h, w, 3) uint8 of an image file."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def load_resized(path: Path, width: int, height: int) -> np.ndarray:
    """Pixels (height, width, 3) uint8 of an image file, cut to the shape's middle and resized by area averages."""
    with Image.open(path) as image:
        return np.asarray(ImageOps.fit(image.convert("RGB"), (width, height), Image.Resampling.BOX))


class Recent:
    """Pixels of the images that were drawn or read last: what is scored soon after need not be decoded again."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Path, np.ndarray] = OrderedDict()

    def keep(self, path: Path, pixels: np.ndarray) -> None:
        """Remember an image's pixels."""
        self._kept[path] = pixels
        while len(self._kept) > _RECENT:
            self._kept.popitem(last=False)

    def load(self, path: Path) -> np.ndarray:
        """Pixels (h, w, 3) uint8 of an image file."""
        if path not in self._kept:
            self.keep(path, load_pixels(path))
        self._kept.move_to_end(path)
        return self._kept[path]


class Fetched:
    """Images on their way from the device to the host: uint8 (n, h, w, 3), and (n,) whether finite.

    Nothing waits until `arrays` is called, from whichever thread.
    """

    def __init__(self, pixels: Tensor, finite: Tensor) -> None:
        # torch copies into pinned memory here, without which the thread would wait for the device.
        self._host = [part.to("cpu", non_blocking=True) for part in (pixels, finite)]
        # Who waits for it sleeps: a thread that polls takes a core from the others.
        self._there = torch.cuda.Event(blocking=True) if pixels.is_cuda else None
        if self._there is not None:
            self._there.record()

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Both, once they are there."""
        if self._there is not None:
            self._there.synchronize()
        pixels, finite = (part.numpy() for part in self._host)
        return pixels, finite
