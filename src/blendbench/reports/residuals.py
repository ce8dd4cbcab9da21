"""What the images of a strategy have in common: their mean residual, folded into one tile and as a spectrum."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from blendbench.reports.board import BASELINE, Board
from blendbench.reports.contact_sheet import image_path
from blendbench.reports.metrics_plots import draw_patch_grids
from blendbench.results.store import Results

# VAE stride x patch in pixels, of Z-Image and of the miniature.
PATCH_GRID = 16
# Content averages out as the root of the count: more images than this show little more.
AT_MOST = 64
_AT_ONCE = 8

CAPTION = (
    "Of every strategy the configuration that comes first in the overview;"
    f" up to {AT_MOST} of its images, spread over items and seeds."
    f" Left: their mean residual (luma less its blur) folded into one tile of {PATCH_GRID} x {PATCH_GRID} pixels,"
    " red above and blue below, all on one scale; above it its RMS in grey levels."
    " Right: the spectrum of the mean residual, zero frequency in the middle."
    " Content averages out and the generator's own pattern stays:"
    f" compare a tile with that of `{BASELINE}`, which has some content left as well."
)


def draw_residuals(results: Results, board: Board, results_dir: Path, path: Path) -> None:
    """Draw the PNG; no file where the images are not there."""
    cells = results.query(
        "SELECT label, image_sha256 FROM current_cells WHERE experiment = ? AND status = 'ok' ORDER BY item, seed",
        [board.experiment],
    )
    found = {}
    for label in _labels(board):
        shas = cells.loc[cells["label"] == label, "image_sha256"].dropna()
        files = [file for sha in shas if (file := image_path(results_dir, str(sha))).is_file()]
        if files:
            found[label] = common_patch_grid(files, PATCH_GRID)
    path.unlink(missing_ok=True)
    if found:
        draw_patch_grids(found, path)


def _labels(board: Board) -> list[str]:
    """The baseline, then the first configuration of each strategy in the order of the board."""
    first: dict[str, str] = {}
    for configuration in board.configurations:
        if not configuration.no_op:
            first.setdefault(configuration.strategy, configuration.label)
    return list(dict.fromkeys([BASELINE, *first.values()]))


def common_patch_grid(files: Sequence[Path], patch_grid: int) -> tuple[np.ndarray, np.ndarray]:
    """Images of one size -> the mean residual folded into a (p, p) tile, in grey levels, and its spectrum (h, w).

    At most AT_MOST images, evenly spread, are read. Source: the mean residual of Marra et al. 2019 and Corvi et al.
    2023.
    """
    # Imported late: the other reports need no torch.
    import torch

    from blendbench.metrics.colourspace import luma
    from blendbench.metrics.filtering import high_pass

    chosen = [files[k * len(files) // AT_MOST] for k in range(AT_MOST)] if len(files) > AT_MOST else files
    total: np.ndarray | float = 0.0
    for start in range(0, len(chosen), _AT_ONCE):
        part = np.stack([pixels(file) for file in chosen[start : start + _AT_ONCE]])
        total = total + high_pass(luma(torch.from_numpy(part).permute(0, 3, 1, 2)), patch_grid / 4).sum(0).numpy()
    residual = np.asarray(total / len(chosen))
    rows, columns = (side // patch_grid for side in residual.shape)
    residual = residual[: rows * patch_grid, : columns * patch_grid]
    tile = residual.reshape(rows, patch_grid, columns, patch_grid).mean((0, 2))
    return tile, np.fft.fftshift(np.abs(np.fft.fft2(residual)))


def pixels(file: Path) -> np.ndarray:
    """uint8 (h, w, 3) of an image file."""
    with Image.open(file) as image:
        return np.array(image.convert("RGB"))
