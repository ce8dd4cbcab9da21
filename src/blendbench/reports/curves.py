"""Plot metrics over alpha: a panel per metric, a line per strategy."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from blendbench.core.hashing import canonical_json
from blendbench.core.metric_info import MetricInfo
from blendbench.reports.board import Board, Configuration, judged_headlines
from blendbench.reports.images import save_plot

# Okabe & Ito (2008): distinguishable with every common colour blindness; markers and line styles repeat the difference.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES = ("-", "--", "-.")
LEGEND_FONT = 8  # points


@dataclass(frozen=True)
class DoseResponse:
    """The configurations that differ in alpha alone, by alpha."""

    label: str
    points: tuple[tuple[float, Configuration], ...]


def dose_responses(board: Board) -> list[DoseResponse]:
    """Return families of complete configurations with two or more alphas."""
    families: dict[str, list[tuple[float, Configuration]]] = {}
    for configuration in board.configurations:
        alpha = configuration.params.get("alpha")
        if isinstance(alpha, int | float) and configuration.complete and not configuration.control:
            others = {name: value for name, value in configuration.params.items() if name != "alpha"}
            family = canonical_json([configuration.strategy, others])
            families.setdefault(family, []).append((float(alpha), configuration))
    found = [
        DoseResponse(_without_alpha(points[0][1].label), tuple(sorted(points, key=lambda point: point[0])))
        for points in families.values()
        if len(points) > 1
    ]
    return sorted(found, key=lambda family: family.label)


def plot_dose_responses(board: Board, path: Path) -> None:
    """Write the plot; no file if no strategy was run with two alphas.

    Same board, same bytes.
    """
    families = dose_responses(board)
    metrics = judged_headlines(board)
    if not families or not metrics:
        path.unlink(missing_ok=True)
        return
    # Narrow panels: the page shows the image at the width of its text, and the letters shrink with it.
    width = 2.8 * len(metrics) + 0.4
    columns, legend = legend_size([board.baseline, *(family.label for family in families)], width)
    height = 3.0 + legend
    figure = Figure(figsize=(width, height), dpi=140)
    panels = figure.subplots(1, len(metrics), squeeze=False)[0]
    for panel, metric in zip(panels, metrics, strict=True):
        _panel(panel, board, families, metric)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncol=columns, frameon=False, fontsize=LEGEND_FONT)
    figure.tight_layout(rect=(0, legend / height, 1, 1))
    save_plot(figure, path)


def legend_size(labels: Sequence[str], width: float) -> tuple[int, float]:
    """Return columns and height in inches of a legend that cuts no label.

    It stands below a figure of `width` inches.
    """
    widest = 0.6 + max(map(len, labels)) * 0.62 * LEGEND_FONT / 72
    columns = max(1, min(3, len(labels), int(width / widest)))
    return columns, 0.18 * -(-len(labels) // columns) + 0.15


def _panel(panel: Any, board: Board, families: list[DoseResponse], metric: MetricInfo) -> None:
    baseline = board.configuration(board.baseline)
    estimate = baseline.entries[metric.name].estimate if baseline is not None else None
    if estimate is not None:
        panel.axhline(estimate.mean, color="0.35", linestyle=":", linewidth=1.2, label=board.baseline)
        panel.axhspan(estimate.low, estimate.high, color="0.35", alpha=0.12, linewidth=0)
    for index, family in enumerate(families):
        points = [(alpha, entry.entries[metric.name].estimate) for alpha, entry in family.points]
        measured = [(alpha, value) for alpha, value in points if value is not None]
        means = [value.mean for _, value in measured]
        errors = [[v.mean - v.low for _, v in measured], [v.high - v.mean for _, v in measured]]
        panel.errorbar(
            [alpha for alpha, _ in measured],
            means,
            # A skewed bootstrap interval can leave out its own mean by a rounding error.
            yerr=[[max(0.0, error) for error in side] for side in errors],
            color=COLOURS[index % len(COLOURS)],
            marker=MARKERS[index % len(MARKERS)],
            linestyle=LINES[index // len(COLOURS) % len(LINES)],
            markersize=4.5,
            linewidth=1.4,
            elinewidth=0.9,
            capsize=2,
            label=family.label,
        )
    better = {"lower": "lower is better", "higher": "higher is better"}.get(metric.direction, "")
    panel.set_title(f"{metric.title}\n({better})" if better else metric.title, fontsize=10)
    panel.set_xlabel("alpha", fontsize=9)
    panel.set_xlim(left=0)
    panel.tick_params(labelsize=8)
    panel.spines[["top", "right"]].set_visible(False)
    panel.grid(axis="y", color="0.9", linewidth=0.8)
    panel.set_axisbelow(True)


def _without_alpha(label: str) -> str:
    strategy, _, parameters = label.partition(":")
    kept = [part for part in parameters.split(",") if part and not part.startswith("alpha=")]
    return f"{strategy}:{','.join(kept)}" if kept else strategy
