"""The first screen of a leaderboard in words, and its board: which blend to use, and at what cost."""

import numpy as np

from blendbench.core.metric_info import MetricInfo
from blendbench.core.numbers import counted, fixed
from blendbench.reports.board import Board
from blendbench.reports.formats import label_text, markdown_table
from blendbench.reports.standings import GROUPS, Group, Standing, Standings
from blendbench.stats.intervals import Estimate
from blendbench.verdict.headline import BUDGETS, Headline, Measured, measure_points
from blendbench.verdict.known import BASELINE
from blendbench.verdict.sentence import gain_noun, listed

TITLES: dict[Group, str] = {
    "front": "On the front",
    "dominated": "Dominated",
    "no gain": "No gain shown",
    "over budget": "Over budget",
    "no dose fits": "No dose fits the budget",
    "no effect": "No effect",
    "control": "Controls and upper bounds",
}
MEANINGS = (
    "**On the front**: gains for sure within a budget, and nothing here is shown to gain as much for less."
    " **Dominated**: something is, and it is named. **No gain shown**: a dose fits, and what it gains is within the"
    " margin or not sure. **Over budget**: the dose that fitted on development items costs more on test items."
    " **No dose fits**: every dose loses more, or gains nothing on development items. **No effect**: nothing measured"
    " moves by more than its margin at any dose."
)
# Groups with figures; the others are lists of names.
ROWS: tuple[Group, ...] = ("front", "dominated", "over budget")
LISTED: tuple[Group, ...] = tuple(group for group in GROUPS if group not in ROWS)
_NAMED = 3  # ties
_STRATA = 4  # families
_TIGHT, _LOOSE = (f"{100 * budget:.0f} %" for budget in BUDGETS)
_SPACE = "\u00a0"  # a space at which a browser does not break the line


def _what_to_do(board: Board) -> str:
    if board.imported:
        return "`blendbench import` with `--models` judges the prompt, and `--dose` makes families."
    return f"Run the whole suite: `blendbench run {board.experiment}`."


def answer(board: Board, standings: Standings | None) -> str:
    """Return which blend to use and at what cost, in one or two sentences of markdown."""
    if standings is None:
        roles = [role for role in ("gain", "prompt") if role not in board.primaries]
        lacks = f"`{BASELINE}` is not the baseline, or has no prompt value above 0 that could be lost"
        if roles:
            lacks = f"no metric of {' or '.join(roles)} was measured"
        return f"No blend can be recommended here: {lacks}. {_what_to_do(board)}"
    if standings.missing:
        return (
            f"No blend can be recommended here: {standings.missing}, so no dose can be chosen fairly."
            f" {_what_to_do(board)}"
        )
    noun, best = _noun(standings), standings.best
    loose = _loose_sentence(standings)
    if best is None or best.tight.chosen is None:
        return (
            f"**Use `{BASELINE}`**: no blend here is shown to gain {noun} for at most {_TIGHT} of the prompt, on"
            f" {counted(standings.known.splits.count('test'), 'test item')}.{loose}"
        )
    chosen = best.tight.chosen
    return (
        f"**Use `{chosen.point.label}`**: it gains {_gain(chosen.gain, noun)} for {_loss(chosen.loss)},"
        f" on {counted(chosen.gain.clusters, 'test item')}. {_ties(standings)}{loose}"
    )


def meanings(board: Board, standings: Standings | None) -> str:
    """Return in one line what the figures mean, and on which models they hold."""
    gain, prompt = (board.primaries.get(role) for role in ("gain", "prompt"))
    words = []
    if gain is not None and standings is not None:
        words.append(f"*{_noun(standings).capitalize()}* is the rise of {_metric(gain)} over `{BASELINE}`.")
    if prompt is not None:
        words.append(
            f"*Prompt* is {_metric(prompt)}: to lose {_TIGHT} is to fall {_TIGHT} below `{BASELINE}`, which sees no"
            " image."
        )
    models = str(board.run["model_set"])
    if models.startswith("miniature"):
        words.append(
            f"All of it holds for `{models}`, the small models that are shipped, trained on a procedural world; real"
            " weights may differ."
        )
    else:
        words.append(f"All of it holds for the models `{models}` and the suite `{board.run['suite']}`.")
    return " ".join(words)


def board_table(standings: Standings) -> list[str]:
    """Return one row a family that gains, in groups, and the others in a line a group."""
    rows: list[list[str]] = []
    for group in ROWS:
        members = standings.of_group(group)
        if members:
            rows.append([f"**{TITLES[group]}** ({len(members)})", "", ""])
            rows += [_row(row, standings) for row in members]
    lines = markdown_table(["blend", f"at {_TIGHT}", f"at {_LOOSE}"], rows) if rows else []
    for group in LISTED:
        members = standings.of_group(group)
        if members:
            names = ", ".join(label_text(row.family) for row in members)
            lines += ["", f"**{TITLES[group]}** ({len(members)}): {names}."]
    return lines


def strata_table(standings: Standings) -> list[str]:
    """Return gain and loss of the best families by stratum, on test items; empty with one stratum alone."""
    test = standings.known.on("test")
    strata = sorted(set(test.strata))
    shown = [row.shown.point.label for row in standings.of_group("front", "dominated") if row.shown is not None]
    if len(strata) < 2 or not shown:
        return []
    parts = {
        stratum: test.of_items([item for item, own in zip(test.items, test.strata, strict=True) if own == stratum])
        for stratum in strata
    }
    rows = []
    for label in shown[:_STRATA]:
        rows.append([label_text(label), "", ""])
        for stratum, part in parts.items():
            measured = measure_points(part, [part.index[label]]).get(part.index[label])
            figures = ["–", "–"] if measured is None else [_stacked(measured.gain), _stacked_loss(measured.loss)]
            rows.append([f"{stratum or 'other'} ({len(part.items)})", *figures])
    return markdown_table(["items", f"{_noun(standings)} gained", "prompt lost"], rows)


def gain_and_loss(measured: Measured) -> str:
    """Write a gain and, on a line below, what it costs, without markup."""
    gain, loss = measured.gain, measured.loss
    ends = f"[{_two(gain.low)}, {_two(gain.high)}]"
    return f"{_two(gain.mean)} {ends}\nfor {_percent(loss.mean)} %"


def _row(row: Standing, standings: Standings) -> list[str]:
    shown = row.shown
    name = label_text(shown.point.label if shown is not None else row.family)
    if row.dominated_by is not None:
        name += f"<br>by {label_text(row.dominated_by)}"
    tied = bool(standings.tied) and any(row is other for other in (standings.best, *standings.tied))
    label = shown.point.label if shown is not None else ""
    return [name, _cell(row.tight, label, tied), _cell(row.loose, label)]


def _cell(headline: Headline, label: str, tied: bool = False) -> str:
    """Write the gain and the loss at a budget; with the dose if it is not that of `label`."""
    if headline.chosen is None:
        return "–"
    chosen, dose = headline.chosen, headline.chosen.point.dose
    lines = [_stacked(chosen.gain), f"for {_stacked_loss(chosen.loss)}"]
    if tied:
        lines[0] = lines[0].replace("<br>", f"{_SPACE}=<br>", 1)
    if headline.status == "over budget":
        lines.insert(0, "over budget")
    if dose is not None and chosen.point.label != label:
        lines.append(f"(dose{_SPACE}{dose:g})")
    return "<br>".join(lines)


def _ties(standings: Standings) -> str:
    if not standings.tied:
        return "No other blend gains as much at this cost."
    names = [f"`{row.tight.chosen.point.label}`" for row in standings.tied if row.tight.chosen is not None]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"Its gain cannot be distinguished from that of {listed(names[:_NAMED])}{more}."


def _loose_sentence(standings: Standings) -> str:
    """Return what a larger budget buys, if it buys more."""
    margin = standings.known.metrics["gain"].margin
    found = [row for row in standings.of_group("front", "dominated") if row.loose.figure > 0]
    most = max(found, key=lambda row: row.loose.figure, default=None)
    least = standings.best.tight.figure if standings.best is not None else 0.0
    if most is None or most.loose.chosen is None or most.loose.figure <= least + margin:
        return ""
    chosen = most.loose.chosen
    return (
        f" If up to {_LOOSE} may be lost, `{chosen.point.label}` gains {_gain(chosen.gain, _noun(standings))} for"
        f" {_loss(chosen.loss)}."
    )


def _noun(standings: Standings) -> str:
    return gain_noun(standings.known.metrics["gain"].name)


def _metric(metric: MetricInfo) -> str:
    low, high = metric.range
    scale = f", {low:g} to {high:g}" if np.isfinite([low, high]).all() else ""
    return f"`{metric.name}` ({metric.title[0].lower()}{metric.title[1:]}{scale})"


def _gain(estimate: Estimate, noun: str) -> str:
    return f"{_two(estimate.mean)} {noun} [{_two(estimate.low)}, {_two(estimate.high)}]"


def _loss(estimate: Estimate) -> str:
    return f"{_percent(estimate.mean)} % of the prompt [{_percent(estimate.low)}, {_percent(estimate.high)}]"


def _stacked(estimate: Estimate) -> str:
    return f"{_two(estimate.mean)}<br>[{_two(estimate.low)},<wbr>{_two(estimate.high)}]"


def _stacked_loss(estimate: Estimate) -> str:
    low, high = _percent(estimate.low), _percent(estimate.high)
    return f"{_percent(estimate.mean)}{_SPACE}%<br>[{low},<wbr>{high}]"


def _two(value: float) -> str:
    return fixed(value, 2)


def _percent(value: float) -> str:
    # One digit below 10 %, where a point makes a difference.
    percent = 100 * value
    return fixed(percent, 1 if abs(percent) < 10 else 0) if np.isfinite(percent) else "–"
