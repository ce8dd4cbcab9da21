"""The plot of the calibration of the metrics."""

from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from blendbench.reports.images import save_plot
from blendbench.reports.plots import COLOURS, LINES, MARKERS

if TYPE_CHECKING:
    from blendbench.metrics.calibration import Response

_PANELS = (("grid_energy", "grid energy (fraction)"), ("grid_severity", "grid severity"), ("blockiness", "blockiness"))


def plot_responses(responses: "list[Response]", path: Path, size: int = 256) -> None:
    """Plot the median value over amplitude: a panel a metric, a line a pattern."""
    figure = Figure(figsize=(12, 4), dpi=110, layout="constrained")
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
    save_plot(figure, path)
