"""Plots of the calibration, and of patterns that the images of a strategy share."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from blendbench.reports.curves import COLOURS, LINES, MARKERS

if TYPE_CHECKING:
    from blendbench.metrics.calibration import Response

_PANELS = (("grid_energy", "grid energy (fraction)"), ("grid_severity", "grid severity"), ("blockiness", "blockiness"))
_COLUMNS = 6


def plot_responses(responses: "list[Response]", path: Path, size: int = 256) -> None:
    """Plot the median value over amplitude, for crops of one size.

    One panel a metric, one line a pattern.
    """
    figure = Figure(figsize=(12, 4), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(_PANELS))
    for panel, (metric, label) in zip(panels, _PANELS, strict=True):
        rows = [row for row in responses if row.metric == metric and row.size == size]
        for k, row in enumerate(rows):
            style = {"color": COLOURS[k], "marker": MARKERS[k], "linestyle": LINES[k % len(LINES)]}
            panel.plot(row.amplitudes, row.median, label=row.pattern, markersize=4, **style)
        panel.set_xscale("log", base=2)
        panel.set_xticks(rows[0].amplitudes, [f"{a:g}" for a in rows[0].amplitudes])
        panel.set_xlabel("grey levels RMS")
        panel.set_title(label)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_yscale("symlog", linthresh=1e-3)
    panels[0].set_ylim(bottom=-2e-4)
    panels[1].axhline(1, color="0.6", linewidth=0.8)
    panels[0].legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=110, metadata={"Software": None})


def draw_patch_grids(found: dict[str, tuple[np.ndarray, np.ndarray]], path: Path) -> None:
    """Plot tile and spectrum of the mean residual side by side, by label.

    Tiles: (p, p) in grey levels; spectra: (h, w).
    """
    rows = -(-len(found) // (_COLUMNS // 2))
    figure = Figure(figsize=(2.1 * _COLUMNS, 2.5 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, _COLUMNS, squeeze=False).ravel()
    for panel in panels:
        panel.set_axis_off()
    reach = max(float(np.abs(tile).max()) for tile, _ in found.values())
    for k, (label, (tile, spectrum)) in enumerate(found.items()):
        panels[2 * k].imshow(tile, cmap="RdBu_r", vmin=-reach, vmax=reach, interpolation="nearest")
        title = f"{label}\n{np.sqrt((tile**2).mean()):.2f} grey levels RMS"
        panels[2 * k].set_title(title, loc="left", fontsize=11)
        panels[2 * k + 1].imshow(np.log(spectrum + 1e-9), cmap="gray", interpolation="nearest")
    figure.savefig(path, dpi=100, metadata={"Software": None})
