"""Images of a results folder, kept by hash and checked on every read."""

import hashlib
import io
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from blendbench.core.errors import UsageError
from blendbench.core.files import file_times, read_file, write_atomically
from blendbench.core.images import ImageError, load_image_bytes

FOLDER = "images"
_VERIFIED = "verified.txt"  # in that folder; one line an image: sha256, size, times and inode when it was last hashed
LARGEST = 1 << 30  # bytes of one file


class DamagedImageError(UsageError):
    """An image that is missing, or whose file is not the one that was kept."""


def image_name(sha256: str) -> str:
    """Return an image's path in its results folder. Errors: DamagedImageError."""
    if not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise DamagedImageError(f"{sha256[:80]!r}: not the hash of an image")
    return f"{FOLDER}/{sha256[:2]}/{sha256}.png"


class ImageStore:
    """The images of one results folder; threads and processes may save at once."""

    def __init__(self, results_dir: Path | str) -> None:
        self._results = Path(results_dir)
        self._verified: dict[str, tuple[int, ...]] | None = None

    def path(self, sha256: str) -> Path:
        """Return where an image is kept."""
        return self._results / image_name(sha256)

    def save(self, pixels: NDArray[np.uint8]) -> str:
        """Keep uint8 (h, w, 3) pixels as PNG; return its sha256. Errors: UsageError."""
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
            raise ValueError(f"pixels are {pixels.dtype} of shape {pixels.shape}, not uint8 (h, w, 3)")
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, format="PNG", compress_level=4)
        return self.save_bytes(buffer.getvalue())

    def save_bytes(self, data: bytes) -> str:
        """Keep the bytes of an image file; return their sha256. Errors: UsageError."""
        sha256 = hashlib.sha256(data).hexdigest()
        if not self.present([sha256]):
            path = self.path(sha256)
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise UsageError(f"{path.parent}: cannot be made: {error.strerror}") from error
            write_atomically(path, data)
            self._remember({sha256: file_times(path)})
        return sha256

    def keep(self, sha256: str, data: bytes) -> bool:
        """Keep the bytes of an image file if they are those of a hash, and report whether they are."""
        return hashlib.sha256(data).hexdigest() == sha256 and self.save_bytes(data) == sha256

    def load(self, sha256: str) -> NDArray[np.uint8]:
        """Return pixels (h, w, 3). Errors: DamagedImageError if the hash is another."""
        path = self.path(sha256)
        try:
            data = read_file(path, LARGEST)
        except UsageError as error:
            raise DamagedImageError(f"{error}; `blendbench run` generates it again") from error
        if hashlib.sha256(data).hexdigest() != sha256:
            self.distrust([sha256])
            raise DamagedImageError(f"{path}: not the image that was kept; `blendbench run` generates it again")
        try:
            return load_image_bytes(data, str(path)).pixels
        except ImageError as error:
            raise DamagedImageError(str(error)) from error

    def present(self, sha256s: Iterable[str]) -> set[str]:
        """Return the images that are there and undamaged.

        A file that looks as it did when it was written or last hashed is not hashed again.
        """
        known, fresh, found = self._known(), {}, set()
        folder = f"{self._results}/"  # text: a Path for each of thousands of images would take most of the time
        for sha256 in sha256s:
            path = folder + image_name(sha256)
            try:
                times = file_times(path)
                if known.get(sha256) != times:
                    if hashlib.sha256(read_file(Path(path), LARGEST)).hexdigest() != sha256:
                        continue
                    fresh[sha256] = times
                found.add(sha256)
            except (OSError, UsageError):
                continue
        self._remember(fresh)
        return found

    def distrust(self, sha256s: Iterable[str]) -> None:
        """Let images be hashed again though their files look unchanged: disks forget, too."""
        self._remember(dict.fromkeys(sha256s, (0, 0, 0, 0)))

    def remove(self, sha256s: Iterable[str]) -> int:
        """Delete images; return how many were there."""
        removed = 0
        for sha256 in sha256s:
            path = self.path(sha256)
            if path.is_file():
                path.unlink()
                removed += 1
        return removed

    def _known(self) -> dict[str, tuple[int, ...]]:
        if self._verified is None:
            self._verified = {}
            try:
                lines = (self._results / FOLDER / _VERIFIED).read_text(encoding="ascii").splitlines()
            except (OSError, UnicodeDecodeError):
                lines = []  # everything is hashed again
            for line in lines:
                sha256, *times = line.split(" ")
                if len(times) == 4 and all(part.isdecimal() for part in times):
                    self._verified[sha256] = tuple(map(int, times))
        return self._verified

    def _remember(self, fresh: dict[str, tuple[int, ...]]) -> None:
        if not fresh:
            return
        self._known().update(fresh)
        lines = "".join(f"{sha256} {' '.join(map(str, times))}\n" for sha256, times in fresh.items())
        try:
            # One short write at the end of the file: lines of several processes do not mix.
            with (self._results / FOLDER / _VERIFIED).open("ab") as file:
                file.write(lines.encode())
        except OSError:
            return  # a read-only folder; its images are hashed every time
