"""The image files of a gallery: linked, not copied; small ones beside the large; what repeats every 16 pixels."""

import base64
import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import uniform_filter

PERIOD = 16  # the patch of the transformer in pixels
THUMBNAIL = 192  # longest side; images up to this size are their own thumbnail
STEP = 1 / 8  # of a grey level: what one unit of the stored patch grid pattern means
_PATCH_GRID_HEAD, _PATCH_GRID_TAIL = "gallery.setPatchGrid(", ");\n"


@dataclass(frozen=True)
class Placed:
    """File names relative to the gallery by sha256, and which of them have a thumbnail of their own."""

    names: dict[str, str]
    small: frozenset[str]


def place_images(sources: dict[str, str], results_dir: Path, out: Path) -> Placed:
    """Put the images that exist into `out`, with thumbnails and patch_grid.js; what is there is not made again.

    `sources`: paths relative to `results_dir` by sha256. Files of `out` that no image needs any more are removed.
    """
    there = {sha256: results_dir / path for sha256, path in sources.items() if (results_dir / path).is_file()}
    names = {sha256: f"images/{sha256[:2]}/{sha256}{path.suffix}" for sha256, path in there.items()}
    known = _read_patch_grids(out / "patch_grid.js")

    def place(sha256: str) -> tuple[bool, str]:
        target, thumbnail = out / names[sha256], out / thumbnail_name(sha256)
        if not target.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            _link(there[sha256], target)
        elif sha256 in known and thumbnail.is_file():
            return True, known[sha256]
        with Image.open(target) as opened:
            image = opened.convert("RGB")
        pattern = known.get(sha256) or base64.b64encode(patch_grid_pattern(np.asarray(image)).tobytes()).decode()
        if max(image.size) <= THUMBNAIL:
            return False, pattern
        thumbnail.parent.mkdir(parents=True, exist_ok=True)
        image.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX)
        image.save(thumbnail, "WEBP", quality=85)
        return True, pattern

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        made = dict(zip(names, pool.map(place, names), strict=True))
    small = frozenset(sha256 for sha256, (is_small, _) in made.items() if is_small)
    patterns = {name: made[sha256][1] for sha256, name in names.items()}
    text = json.dumps(patterns, separators=(",", ":"))
    (out / "patch_grid.js").write_text(f"{_PATCH_GRID_HEAD}{text}{_PATCH_GRID_TAIL}", encoding="utf-8")
    _sweep(out, {*names.values(), *map(thumbnail_name, small)})
    return Placed(names, small)


def thumbnail_name(sha256: str) -> str:
    """A thumbnail's path relative to the gallery."""
    return f"thumbnails/{sha256[:2]}/{sha256}.webp"


def patch_grid_pattern(pixels: np.ndarray) -> np.ndarray:
    """What repeats every 16 pixels of an image (h, w, 3) uint8: int8 (16, 16) in eighths of a grey level.

    The luma (Rec. 601) less its mean over one period, as the median over all whole tiles: edges of the content lie in
    few tiles. A box of one period has zeros at every harmonic of the patch grid, so taking it away leaves the pattern.
    """
    luma = pixels.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    height, width = (side // PERIOD * PERIOD for side in luma.shape)
    if not height or not width:
        return np.zeros((PERIOD, PERIOD), np.int8)
    residual = (luma - uniform_filter(luma, PERIOD, mode="reflect"))[:height, :width]
    tile = np.median(residual.reshape(height // PERIOD, PERIOD, width // PERIOD, PERIOD), axis=(0, 2))
    return np.clip(np.rint((tile - tile.mean()) / STEP), -127, 127).astype(np.int8)


def _link(source: Path, target: Path) -> None:
    """A second name for the same file where the file system can: image files are never written to."""
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)


def _read_patch_grids(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    text = path.read_text(encoding="utf-8").removeprefix(_PATCH_GRID_HEAD).removesuffix(_PATCH_GRID_TAIL)
    return {Path(name).stem: pattern for name, pattern in json.loads(text).items()}


def _sweep(out: Path, needed: set[str]) -> None:
    for folder in ("images", "thumbnails"):
        for path in (out / folder).glob("*/*"):
            if path.relative_to(out).as_posix() not in needed:
                path.unlink()
