"""Dose curves: what the families of the front gain and cost over their dose."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from blendbench.reports.images import save_plot
from blendbench.reports.plots import COLOURS, DPI, WIDTH, style_panel
from blendbench.reports.standings import Standings
from blendbench.stats.intervals import Estimate
from blendbench.verdict.headline import BUDGETS, families, measure_points
from blendbench.verdict.sentence import gain_noun

PANELS = 6


def dose_families(standings: Standings) -> dict[str, list[int]]:
    """Return the families of the front that have several doses, with their rows, best first."""
    grouped = families(standings.known)
    ranked = [row.family for row in standings.of_group("front", "dominated")]
    on_front = [standings.known.points[row].family for row in standings.front]
    found = {}
    for family in dict.fromkeys([*ranked, *on_front]):
        doses = [row for row in grouped[family] if standings.known.points[row].dose is not None]
        if len(doses) > 1:
            found[family] = doses
    return dict(list(found.items())[:PANELS])


def plot_doses(standings: Standings, path: Path) -> None:
    """Write the plot; no file if no family of the front has two doses."""
    chosen = dose_families(standings)
    path.unlink(missing_ok=True)
    if not chosen:
        return
    measured = measure_points(standings.known, [row for rows in chosen.values() for row in rows])
    lines = -(-len(chosen) // 2)
    figure = Figure(figsize=(WIDTH, 0.5 + 2.1 * lines), dpi=DPI, layout="constrained")
    panels = figure.subplots(lines, 2, sharey=True, squeeze=False).ravel()
    for panel in panels[len(chosen) :]:
        panel.set_axis_off()
    for panel, (family, rows) in zip(panels, chosen.items(), strict=False):
        found = [(standings.known.points[row].dose or 0.0, measured[row]) for row in rows if row in measured]
        doses = [dose for dose, _ in found]
        panel.axhline(0, color="0.6", linewidth=0.8)
        panel.axhline(BUDGETS[0], color="0.6", linewidth=0.8, linestyle=(0, (4, 4)))
        _curve(panel, doses, [one.gain for _, one in found], COLOURS[0], "o", "-")
        _curve(panel, doses, [one.loss for _, one in found], COLOURS[1], "s", "--")
        panel.set_title(family.replace(":", ":\n", 1), fontsize=8.5, loc="left")
        style_panel(panel)
    noun = gain_noun(standings.known.metrics["gain"].name)
    figure.supxlabel("dose", fontsize=9)
    # Named where they run, in their colours: no legend to look up.
    figure.suptitle(" ", fontsize=10)
    figure.text(0.02, 0.995, f"● {noun} gained", color=COLOURS[0], fontsize=9, va="top", fontweight="bold")
    figure.text(0.98, 0.995, "■ part of the prompt lost", color=COLOURS[1], fontsize=9, va="top", ha="right")
    save_plot(figure, path)


def _curve(panel: Any, doses: Sequence[float], values: Sequence[Estimate], colour: str, marker: str, line: str) -> None:
    low, high = [one.low for one in values], [one.high for one in values]
    panel.fill_between(doses, low, high, color=colour, alpha=0.18, linewidth=0)
    panel.plot(doses, [one.mean for one in values], color=colour, marker=marker, linestyle=line, markersize=4)
