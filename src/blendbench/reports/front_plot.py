"""Plots of gain against the prompt that it costs: of every configuration, and over the dose."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from blendbench.reports.images import save_plot
from blendbench.reports.plots import COLOURS, DPI, FAINT, WIDTH, Label, place_labels, style_panel
from blendbench.reports.standings import Standings
from blendbench.stats.intervals import Estimate
from blendbench.verdict.headline import BUDGETS, families, measure_points
from blendbench.verdict.known import BASELINE, Point
from blendbench.verdict.sentence import gain_noun

FRONT, CONTROL, USED = COLOURS[0], COLOURS[1], COLOURS[2]
# Where points crowd: losses up to here get a panel of their own, if so many points of the front are within.
NEAR, CROWD = 0.15, 3
_STEPS = 8  # places on a line of the front that no label covers
_LONGEST = 30  # letters of a family that stand on a line
PANELS = 6


def plot_front(standings: Standings, path: Path, candidate: str | None = None) -> None:
    """Write the plot; no file if no configuration but the baseline has a gain and a loss.

    `candidate`: the label of what is judged, marked in place of what is recommended. Same standings, same bytes.
    """
    shown = [row for row, loss in enumerate(standings.losses) if np.isfinite([loss, standings.gains[row]]).all()]
    shown = [row for row in shown if standings.known.points[row].label != BASELINE]
    path.unlink(missing_ok=True)
    if not shown:
        return
    near = [row for row in shown if standings.losses[row] <= NEAR]
    zoomed = len(set(near) & set(standings.front)) >= CROWD and max(standings.losses[row] for row in shown) > 2 * NEAR
    figure = Figure(figsize=(WIDTH, 7.4 if zoomed else 4.2), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)  # measures texts
    panels = figure.subplots(2 if zoomed else 1, 1, squeeze=False)[:, 0]
    marked = _used(standings) if candidate is None else standings.known.index[candidate]
    text = "use {}" if candidate is None else "{}"
    _panel(panels[0], standings, shown, marked)
    if zoomed:
        _panel(panels[1], standings, near, marked, NEAR)
        panels[1].set_title(f"the same, losses up to {100 * NEAR:.0f} % only", fontsize=9, loc="left")
    panels[-1].set_xlabel("prompt lost, in % of what the text alone reaches", fontsize=9)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    on_front = [row for row in standings.front if not zoomed or standings.losses[row] > NEAR]
    _label(panels[0], standings, on_front, shown, marked, text)
    if zoomed:
        near_front = [row for row in standings.front if standings.losses[row] <= NEAR]
        _label(panels[1], standings, near_front, near, marked, text)
    save_plot(figure, path)


def front_label(point: Point) -> str:
    """Return a short name: the family, and its dose as a number."""
    dose = "" if point.dose is None else f" {point.dose:g}"
    family = point.family.replace(":", ":\n", 1) if len(point.family) > _LONGEST else point.family
    return family + dose


def _panel(panel: Any, standings: Standings, rows: list[int], marked: int | None, limit: float | None = None) -> None:
    known, losses, gains = standings.known, np.array(standings.losses) * 100, np.array(standings.gains)
    inside, front = set(rows), set(standings.front)
    panel.axhline(0, color="0.6", linewidth=0.8)
    panel.axvline(0, color="0.6", linewidth=0.8)
    for budget in BUDGETS:
        if limit is None or budget <= limit:
            panel.axvline(100 * budget, color="0.6", linewidth=0.8, linestyle=(0, (4, 4)))
    for family in families(known).values():
        doses = [row for row in family if row in inside]
        if len(doses) > 1 and not known.points[doses[0]].control:
            panel.plot(losses[doses], gains[doses], color=FAINT, linewidth=0.7, alpha=0.7, zorder=1)
    for chosen, options in (
        ([r for r in rows if r not in front and not _apart(known.points[r])], {"color": "0.55", "marker": "o"}),
        ([r for r in rows if _apart(known.points[r])], {"color": CONTROL, "marker": "^"}),
    ):
        panel.plot(losses[chosen], gains[chosen], linestyle="", markersize=3.5, zorder=3, **options)
    panel.plot(0, 0, marker="*", color="black", markersize=9, linestyle="", zorder=5)
    on_front = [row for row in standings.front if row in inside and row in standings.measured]
    if on_front:
        measured = [standings.measured[row] for row in on_front]
        bars = [
            [[scale * max(0.0, m.mean - m.low) for m in every], [scale * max(0.0, m.high - m.mean) for m in every]]
            for scale, every in ((100, [m.loss for m in measured]), (1, [m.gain for m in measured]))
        ]
        style = {"color": FRONT, "marker": "o", "markersize": 5, "elinewidth": 0.8, "linewidth": 1.6, "zorder": 4}
        panel.errorbar(losses[on_front], gains[on_front], xerr=bars[0], yerr=bars[1], **style)
    if marked in inside:
        panel.plot(
            losses[marked], gains[marked], "o", markersize=10, fillstyle="none", color=USED, markeredgewidth=2, zorder=6
        )
    panel.set_ylabel(f"{gain_noun(known.metrics['gain'].name)} gained", fontsize=9)
    low = min(0.0, float(losses[rows].min()))
    high = 100 * limit if limit is not None else max(100 * BUDGETS[0], float(losses[rows].max()))
    panel.set_xlim(max(low, -10.0) - 0.03 * (high - low), high + 0.05 * (high - low))
    style_panel(panel)


def _label(panel: Any, standings: Standings, rows: list[int], shown: list[int], marked: int | None, text: str) -> None:
    known = standings.known
    labels = [
        Label(front_label(known.points[row]), 100 * standings.losses[row], standings.gains[row], FRONT, 8, bold=True)
        for row in reversed(rows)
    ]
    if marked is not None and marked in shown:
        name = front_label(known.points[marked])
        own = Label(text.format(name), 100 * standings.losses[marked], standings.gains[marked], USED)
        labels = [replace(own, bold=True), *(label for label in labels if label.text != name)]
    labels.append(Label("text alone", 0, 0, "black", 7.5))
    broken = [row for row in shown if known.points[row].control]
    labels += [
        Label(known.points[row].label, 100 * standings.losses[row], standings.gains[row], CONTROL, 7)
        for row in broken
        if known.points[row].strategy == "canary"
    ]
    points = [(100 * standings.losses[row], standings.gains[row]) for row in shown]
    front = np.array([(100 * standings.losses[row], standings.gains[row]) for row in standings.front])
    lines = [a + (b - a) * k / _STEPS for a, b in pairwise(front) for k in range(1, _STEPS)]
    for row in set(standings.measured) & set(shown):
        ends = standings.measured[row].loss
        lines += [np.array([100 * x, standings.gains[row]]) for x in np.linspace(ends.low, ends.high, _STEPS)]
    place_labels(panel, labels, [*points, (0.0, 0.0), *((float(x), float(y)) for x, y in lines)])


def _used(standings: Standings) -> int | None:
    chosen = standings.best.tight.chosen if standings.best is not None else None
    return None if chosen is None else standings.known.index[chosen.point.label]


def _apart(point: Point) -> bool:
    return point.control or point.upper_bound


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
