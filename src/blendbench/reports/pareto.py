"""The trade-off between prompt and reference that is left to readers."""

import string
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from blendbench.core.metric_info import MetricInfo
from blendbench.reports.board import Board
from blendbench.reports.curves import LEGEND_FONT, legend_size
from blendbench.reports.images import save_plot
from blendbench.verdict.decide import Effect

ON, OFF, CONTROL = "#0072B2", "#8c8c8c", "#D55E00"  # Okabe & Ito (2008)
LABELLED = 8
WIDTH = 7.2  # inches


@dataclass(frozen=True)
class Trade:
    """Changes of the prompt and gain headline metrics, both better upwards."""

    label: str
    control: bool
    prompt: Effect
    gain: Effect
    on_front: bool


def trades(board: Board) -> list[Trade]:
    """Return complete configurations but baseline and no-ops, by label.

    Empty if one of the two metrics is not measured. On the front: no other one (the baseline at 0, 0 among them,
    controls not) is at least as good in both means and better in one.
    """
    metrics = _metrics(board)
    if metrics is None:
        return []
    found = []
    for configuration in board.configurations:
        effects = [configuration.entries[metric.name].effect for metric in metrics]
        if configuration.no_op or effects[0] is None or effects[1] is None:
            continue
        found.append((configuration.label, configuration.control, effects[0], effects[1]))
    points = [(0.0, 0.0), *((a.mean, b.mean) for _, control, a, b in found if not control)]
    return sorted(
        (
            Trade(label, control, a, b, not control and not any(_dominates(p, (a.mean, b.mean)) for p in points))
            for label, control, a, b in found
        ),
        key=lambda trade: trade.label,
    )


def plot_front(board: Board, path: Path) -> None:
    """Write the plot; no file if there is nothing to trade.

    Same board, same bytes.
    """
    found, metrics = trades(board), _metrics(board)
    if not found or metrics is None:
        path.unlink(missing_ok=True)
        return
    letters = dict(zip(string.ascii_lowercase, [t for t in found if t.on_front][:LABELLED], strict=False))
    names = [f"{letter}: {trade.label}" for letter, trade in letters.items()]
    columns, legend_height = legend_size([board.baseline, "on the front", "dominated", "controls", *names], WIDTH)
    height = 4.0 + legend_height
    figure = Figure(figsize=(WIDTH, height), dpi=120)
    panel = figure.subplots()
    panel.axhline(0, color="0.7", linewidth=0.8)
    panel.axvline(0, color="0.7", linewidth=0.8)
    panel.plot(0, 0, marker="*", color="black", markersize=11, linestyle="", label=board.baseline)
    for name, colour, marker, chosen in (
        ("on the front", ON, "o", [t for t in found if t.on_front]),
        ("dominated", OFF, "s", [t for t in found if not t.on_front and not t.control]),
        ("controls", CONTROL, "^", [t for t in found if t.control]),
    ):
        if chosen:
            x, y = [t.prompt.mean for t in chosen], [t.gain.mean for t in chosen]
            bars = [_reach([t.prompt for t in chosen]), _reach([t.gain for t in chosen])]
            panel.errorbar(
                x,
                y,
                xerr=bars[0],
                yerr=bars[1],
                color=colour,
                marker=marker,
                markersize=5,
                linestyle="",
                elinewidth=0.7,
                alpha=0.9,
                label=name,
            )
    # Points near the baseline lie close together: letters beside them, names in the legend.
    for index, (letter, trade) in enumerate(letters.items()):
        place, shift = (trade.prompt.mean, trade.gain.mean), (5 + 9 * (index % 3), 6 + 9 * (index % 2))
        panel.annotate(letter, place, shift, textcoords="offset points", fontsize=9, fontweight="bold", color=ON)
        # Not as a marker, which would be scaled to fill the same box, an "a" as tall as a "d".
        panel.plot([], [], linestyle="", label=names[index])
    panel.set_xlabel(f"{metrics[0].title}: difference to {board.baseline} (right is better)", fontsize=9)
    panel.set_ylabel(f"{metrics[1].title}: difference (up is better)", fontsize=9)
    panel.tick_params(labelsize=8)
    panel.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="lower center", ncol=columns, frameon=False, fontsize=LEGEND_FONT)
    figure.tight_layout(rect=(0, legend_height / height, 1, 1))
    save_plot(figure, path)


def _metrics(board: Board) -> tuple[MetricInfo, MetricInfo] | None:
    names = [board.headlines.get(role) for role in ("prompt", "gain")]
    if names[0] is None or names[1] is None:
        return None
    first, second = (board.metrics[name] for name in names if name)
    return (first, second) if first.direction == second.direction == "higher" else None


def _dominates(other: tuple[float, float], point: tuple[float, float]) -> bool:
    return other[0] >= point[0] and other[1] >= point[1] and other != point


def _reach(effects: list[Effect]) -> list[list[float]]:
    return [[max(0.0, e.mean - e.low) for e in effects], [max(0.0, e.high - e.mean) for e in effects]]
