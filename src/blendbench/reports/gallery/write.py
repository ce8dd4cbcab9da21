"""Write the gallery: the shipped page, an experiment's data and images."""

import base64
import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import uniform_filter

from blendbench.core.errors import UsageError
from blendbench.core.files import write_atomically
from blendbench.reports.board import Board, read_board
from blendbench.reports.folders import make_folder
from blendbench.reports.gallery.data import gallery_data, image_hashes
from blendbench.reports.gallery.links import DATA, FOLDER, PAGE, data_text
from blendbench.reports.images import save_image
from blendbench.results.images import ImageStore
from blendbench.results.store import Results

_MARK = "gallery.js"  # by which a gallery is known
PERIOD = 16  # the patch of the transformer in pixels
THUMBNAIL = 192  # longest side; images up to this size are their own thumbnail
STEP = 1 / 8  # of a grey level: what one unit of the stored pattern means
_PATTERNS = "patch_grid.js"
_HEAD, _TAIL = "gallery.setPatchGrid(", ");\n"


def write_gallery(
    results: Results, results_dir: Path, out: Path | None = None, experiment: str | None = None
) -> tuple[Path, int, int]:
    """Write the gallery of `experiment` (default: that of the latest run).

    `out`: default: gallery/EXPERIMENT in the results folder. Returns the page's path, the number of images, and the
    number of those left out because they are damaged or missing. Written again, it keeps what has not changed. Errors:
    UsageError for an unknown experiment, one without images, and a folder that holds something else.
    """
    board = read_board(results, experiment)
    return gallery_of(board, results, results_dir, out or results_dir / FOLDER / board.experiment)


def gallery_of(board: Board, results: Results, results_dir: Path, out: Path) -> tuple[Path, int, int]:
    """Write the gallery of a board that has been read; as `write_gallery`."""
    if out.exists() and (not out.is_dir() or (_holds_something(out) and not (out / _MARK).is_file())):
        raise UsageError(f"{out}: exists and is no gallery; name a new folder with --out")
    store, hashes = ImageStore(results_dir), image_hashes(results, board.experiment)
    if not store.present(hashes):
        raise UsageError(f"{results_dir / 'images'}: has none of the images of {board.experiment}")
    make_folder(out)
    # First what the folder is known by, so that an interrupted one is written again.
    for shipped in sorted(
        files("blendbench.reports.gallery").joinpath("page").iterdir(), key=lambda file: file.name != _MARK
    ):
        write_atomically(out / shipped.name, shipped.read_bytes())
    placed = place_images(hashes, store, out)
    data = gallery_data(results, board, placed.names)
    data["thumbnails"] = [thumbnail_name(sha256) if sha256 in placed.small else "" for sha256 in placed.names]
    # Last: other pages look in here before they link.
    write_atomically(out / DATA, data_text(data).encode())
    return out / PAGE, len(placed.names), len(hashes) - len(placed.names)


def _holds_something(folder: Path) -> bool:
    return any(entry.suffix != ".partial" for entry in folder.iterdir())


@dataclass(frozen=True)
class Placed:
    """File names in the gallery by sha256, and those with a thumbnail."""

    names: dict[str, str]
    small: frozenset[str]


def place_images(hashes: list[str], store: ImageStore, out: Path) -> Placed:
    """Put the undamaged images into `out`, with thumbnails and patch_grid.js.

    What exists is not made again. Files of `out` that no image needs any more are removed.
    """
    present = store.present(hashes)
    names = {sha256: f"images/{sha256[:2]}/{sha256}.png" for sha256 in hashes if sha256 in present}
    known = _read_patterns(out / _PATTERNS)

    def place(sha256: str) -> tuple[bool, str]:
        source, target, thumbnail = store.path(sha256), out / names[sha256], out / thumbnail_name(sha256)
        # A copy that was cut short must be made again; the source itself was checked by its hash.
        if target.is_file() and target.stat().st_size == source.stat().st_size:
            if sha256 in known and thumbnail.is_file():
                return True, known[sha256]
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            try:
                os.link(source.resolve(), target)
            except OSError:
                shutil.copyfile(source, target)
        image = Image.fromarray(store.load(sha256))
        pattern = known.get(sha256) or base64.b64encode(patch_grid_pattern(np.asarray(image)).tobytes()).decode()
        if max(image.size) <= THUMBNAIL:
            return False, pattern
        thumbnail.parent.mkdir(parents=True, exist_ok=True)
        image.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX)
        save_image(image, thumbnail, {"format": "WEBP", "quality": 85})
        return True, pattern

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        made = dict(zip(names, pool.map(place, names), strict=True))
    small = frozenset(sha256 for sha256, (is_small, _) in made.items() if is_small)
    text = json.dumps({name: made[sha256][1] for sha256, name in names.items()}, separators=(",", ":"))
    write_atomically(out / _PATTERNS, f"{_HEAD}{text}{_TAIL}".encode())
    needed = {*names.values(), *map(thumbnail_name, small)}
    for folder in ("images", "thumbnails"):
        for path in (out / folder).glob("*/*"):
            if path.relative_to(out).as_posix() not in needed:
                path.unlink()
    return Placed(names, small)


def thumbnail_name(sha256: str) -> str:
    """Return a thumbnail's path relative to the gallery."""
    return f"thumbnails/{sha256[:2]}/{sha256}.webp"


def patch_grid_pattern(pixels: NDArray[np.uint8]) -> NDArray[np.int8]:
    """Return the part of an image (h, w, 3) that repeats every 16 pixels.

    It is (16, 16), in eighths of a grey level. The luma (Rec. 601) less its mean over one period, as the median over
    all whole tiles: edges of the content lie in few tiles. A box of one period has zeros at every harmonic of the patch
    grid, so taking it away leaves the pattern.
    """
    luma = pixels.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    height, width = (side // PERIOD * PERIOD for side in luma.shape)
    if not height or not width:
        return np.zeros((PERIOD, PERIOD), np.int8)
    residual = (luma - uniform_filter(luma, PERIOD, mode="reflect"))[:height, :width]
    tile = np.median(residual.reshape(height // PERIOD, PERIOD, width // PERIOD, PERIOD), axis=(0, 2))
    pattern: NDArray[np.int8] = np.clip(np.rint((tile - tile.mean()) / STEP), -127, 127).astype(np.int8)
    return pattern


def _read_patterns(path: Path) -> dict[str, str]:
    """Return the patterns by hash; none if the file is missing or unfinished."""
    try:
        text = path.read_text(encoding="utf-8").removeprefix(_HEAD).removesuffix(_TAIL)
        return {Path(name).stem: str(pattern) for name, pattern in json.loads(text).items()}
    except (OSError, ValueError, AttributeError):
        return {}
