"""The mean residual of a strategy's images, as a tile and a spectrum."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from blendbench.reports.board import Board
from blendbench.reports.images import PageImages, save_plot
from blendbench.results.store import Results

# VAE stride x patch in pixels, of Z-Image and of the miniature.
PATCH_GRID = 16
# Content averages out as the root of the count: more images than this show little more.
AT_MOST = 64
_AT_ONCE = 8
_COLUMNS = 6
_QUALITY = {"format": "WEBP", "quality": 80, "method": 6}

CAPTION = (
    "Of every strategy the configuration that comes first in the overview;"
    f" up to {AT_MOST} of its images, spread over items and seeds."
    f" Left: their mean residual (luma less its blur) folded into one tile of {PATCH_GRID} x {PATCH_GRID} pixels,"
    " red above and blue below, all on one scale; above it its RMS in grey levels."
    " Right: the spectrum of the mean residual, zero frequency in the middle."
    " Content averages out and the generator's own pattern stays:"
    " compare a tile with that of `{}`, which has some content left as well."
)


def write_residuals(results: Results, board: Board, images: PageImages, path: Path) -> None:
    """Write the plot; no file when not one image can be read."""
    rows = results.rows(
        "SELECT label, image_sha256 FROM current_cells WHERE experiment = ? AND status = 'ok' ORDER BY item, seed",
        [board.experiment],
    )
    found = {}
    for label in _labels(board):
        hashes = [sha256 for other, sha256 in rows if other == label]
        chosen = [hashes[k * len(hashes) // AT_MOST] for k in range(AT_MOST)] if len(hashes) > AT_MOST else hashes
        pixels = [np.asarray(image) for sha256 in chosen if (image := images.load(sha256)) is not None]
        if pixels:
            found[label] = common_residual(pixels, PATCH_GRID)
    path.unlink(missing_ok=True)
    if found:
        _plot(found, path)


def _labels(board: Board) -> list[str]:
    """Return the baseline and each strategy's first configuration."""
    first: dict[str, str] = {}
    for configuration in board.configurations:
        if not configuration.no_op:
            first.setdefault(configuration.strategy, configuration.label)
    return list(dict.fromkeys([board.baseline, *first.values()]))


def common_residual(
    images: Sequence[NDArray[np.uint8]], patch_grid: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fold the mean residual of images (h, w, 3) of one size.

    Returns the (p, p) tile in grey levels and the spectrum (h, w). Source: the mean residual of Marra et al. 2019 and
    Corvi et al. 2023.
    """
    import torch

    from blendbench.metrics.colourspace import luma
    from blendbench.metrics.filtering import high_pass

    total: NDArray[np.float64] | float = 0.0
    for start in range(0, len(images), _AT_ONCE):
        part = torch.from_numpy(np.stack(images[start : start + _AT_ONCE])).permute(0, 3, 1, 2)
        total = total + high_pass(luma(part), patch_grid / 4).sum(0).numpy()
    residual = np.asarray(total / len(images))
    rows, columns = (side // patch_grid for side in residual.shape)
    residual = residual[: rows * patch_grid, : columns * patch_grid]
    tile = residual.reshape(rows, patch_grid, columns, patch_grid).mean((0, 2))
    return tile, np.fft.fftshift(np.abs(np.fft.fft2(residual)))


def _plot(found: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]], path: Path) -> None:
    rows = -(-len(found) // (_COLUMNS // 2))
    figure = Figure(figsize=(2.1 * _COLUMNS, 2.5 * rows), dpi=67, layout="constrained")
    panels = figure.subplots(rows, _COLUMNS, squeeze=False).ravel()
    for panel in panels:
        panel.set_axis_off()
    reach = max(float(np.abs(tile).max()) for tile, _ in found.values())
    for k, (label, (tile, spectrum)) in enumerate(found.items()):
        panels[2 * k].imshow(tile, cmap="RdBu_r", vmin=-reach, vmax=reach, interpolation="nearest")
        title = f"{label}\n{np.sqrt((tile**2).mean()):.2f} grey levels RMS"
        panels[2 * k].set_title(title, loc="left", fontsize=11)
        panels[2 * k + 1].imshow(np.log(spectrum + 1e-9), cmap="gray", interpolation="nearest")
    save_plot(figure, path, _QUALITY)
