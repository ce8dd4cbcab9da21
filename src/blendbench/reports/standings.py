"""Which blend to use: each family's headline, its group, and the front of gain against cost.

Nothing here chooses words; `summary` does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from blendbench.reports.board import Board
from blendbench.results.store import Results
from blendbench.stats.ranks import simultaneous_ranks
from blendbench.verdict.headline import (
    BUDGETS,
    Headline,
    Measured,
    can_lose,
    families,
    headlines,
    mean_gain,
    mean_loss,
    measure_points,
)
from blendbench.verdict.known import BASELINE, Known, read_known

Group = Literal["front", "dominated", "no gain", "no effect", "over budget", "no dose fits", "control"]
# In the order of the page.
GROUPS: tuple[Group, ...] = ("front", "dominated", "no gain", "over budget", "no dose fits", "no effect", "control")
_SILENT = ("no-op", "no effect")


@dataclass(frozen=True)
class Standing:
    """A family on the board: its headline at either budget, and where that puts it.

    `dominated_by` is a configuration that is shown to gain no less at lower cost.
    """

    family: str
    tight: Headline
    loose: Headline
    group: Group
    dominated_by: str | None = None

    @property
    def shown(self) -> Measured | None:
        """Return the dose that stands for the family: that of the tight budget, else of the loose one."""
        return next((h.chosen for h in (self.tight, self.loose) if h.chosen is not None and h.figure > 0), None)


@dataclass(frozen=True, eq=False)
class Standings:
    """All families of an experiment, in groups, best first.

    `gains` and `losses` are of every configuration on all of its items, in the order of `known.points`. `missing` says
    why there are no headlines; there are no `rows` then.
    """

    known: Known
    rows: tuple[Standing, ...]
    gains: tuple[float, ...]
    losses: tuple[float, ...]
    missing: str = ""

    @cached_property
    def best(self) -> Standing | None:
        """Return the family that gains most within the tight budget, if one does for sure."""
        found = [
            row
            for row in self.rows
            if row.group in ("front", "dominated") and _gains(row.tight, self.known.metrics["gain"].margin)
        ]
        return max(found, key=lambda row: row.tight.figure, default=None)

    @cached_property
    def tied(self) -> list[Standing]:
        """Return the families whose gain at the tight budget is not distinguished from the best one's."""
        rivals = [row for row in self.rows if row.group not in ("control",) and row.tight.figure > 0]
        if self.best is None or len(rivals) < 2:
            return []
        test = self.known.on("test")
        values = test.values["gain"][[test.index[_label(row.tight)] for row in rivals]]
        common = np.isfinite(values).all(axis=0)
        values = values[:, common]
        if values.shape[1] < 2:
            return []
        strata = [test.strata[item] for item in np.flatnonzero(common)]
        ranks = simultaneous_ranks(values, test.metrics["gain"].direction == "higher", strata)
        return [row for row, own in zip(rivals, ranks, strict=True) if own.tied_with_best and row is not self.best]

    @cached_property
    def front(self) -> list[int]:
        """Return the configurations that no other mean beats in both gain and loss, by loss.

        Controls, upper bounds and what gains no more than the margin are not among them.
        """
        points = self.known.points
        found, most = [], self.known.metrics["gain"].margin
        for row in sorted(range(len(points)), key=lambda row: (self.losses[row], -self.gains[row])):
            own = points[row].control or points[row].upper_bound or points[row].label == BASELINE
            if not own and np.isfinite(self.losses[row]) and self.gains[row] > most:
                found.append(row)
                most = self.gains[row]
        return found

    @cached_property
    def measured(self) -> dict[int, Measured]:
        """Return gain and loss of the front with intervals, on all items."""
        return measure_points(self.known, self.front)

    def of_group(self, *groups: Group) -> list[Standing]:
        """Return the rows of some groups."""
        return [row for row in self.rows if row.group in groups]


def read_standings(results: Results, board: Board) -> Standings | None:
    """Return the standings of an experiment.

    None if gain or prompt were not measured, the baseline is another, or its prompt value is not above 0.
    """
    if board.baseline != BASELINE or not {"gain", "prompt"} <= board.primaries.keys():
        return None
    known = read_known(results, board.experiment, everywhere=False)
    if not can_lose(known):
        return None
    gains, losses = _means(known)
    splits = set(known.splits)
    if not {"dev", "test"} <= splits:
        return Standings(known, (), gains, losses, missing="its items have no development and test part")
    tight, loose = ({headline.family: headline for headline in headlines(known, budget)} for budget in BUDGETS)
    grouped = families(known)
    rows = [_standing(known, board, grouped[name], tight[name], loose[name]) for name in tight]
    rows.sort(key=lambda row: (GROUPS.index(row.group), -row.tight.figure, -row.loose.figure, row.family))
    return Standings(known, tuple(rows), gains, losses)


def read_points(results: Results, experiment: str) -> Standings | None:
    """Return gain and loss of every configuration, without headlines, if known."""
    known = read_known(results, experiment, everywhere=False)
    return Standings(known, (), *_means(known)) if can_lose(known) else None


def standings_of(results: Results, experiment: str, label: str) -> Standings | None:
    """Return one configuration among all that is known, on its own items."""
    known = read_known(results, experiment)
    if label not in known.index or not can_lose(known):
        return None
    own = np.isfinite(known.values["prompt"][known.index[label]])
    known = known.of_items([item for item, there in zip(known.items, own, strict=True) if there])
    return Standings(known, (), *_means(known))


def _standing(known: Known, board: Board, doses: Sequence[int], tight: Headline, loose: Headline) -> Standing:
    family = tight.family
    if tight.control or tight.upper_bound:
        return Standing(family, tight, loose, "control")
    sure = next((headline for headline in (tight, loose) if _gains(headline, known.metrics["gain"].margin)), None)
    if sure is not None and sure.chosen is not None:
        by = known.dominating(sure.chosen.point.label)
        return Standing(family, tight, loose, "front" if by is None else "dominated", by)
    outcomes = [row.outcome for dose in doses if (row := board.configuration(known.points[dose].label)) is not None]
    if outcomes and all(outcome in _SILENT for outcome in outcomes):
        return Standing(family, tight, loose, "no effect")
    if tight.status == "over budget":
        return Standing(family, tight, loose, "over budget")
    return Standing(family, tight, loose, "no gain" if tight.chosen is not None else "no dose fits")


def _gains(headline: Headline, margin: float) -> bool:
    """Return whether a family gains for sure within the budget, and more than the margin."""
    return headline.chosen is not None and headline.figure > margin and headline.chosen.gain.low > 0


def _label(headline: Headline) -> str:
    return headline.chosen.point.label if headline.chosen is not None else ""


def _means(known: Known) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean gain and loss of every configuration, NaN without common items."""
    rows = range(len(known.points))
    return tuple(mean_gain(known, row) for row in rows), tuple(mean_loss(known, row) for row in rows)


def shown_labels(board: Board, standings: Standings | None, count: int) -> list[str]:
    """Choose configurations to look at: families that gain for sure at their chosen dose, the best first.

    Without any, strategies spread over the board, each by its first configuration.
    """
    rows = standings.of_group("front", "dominated") if standings is not None else []
    labels = [row.shown.point.label for row in rows if row.shown is not None]
    if labels:
        return labels[:count]
    chosen: dict[str, str] = {}
    for row in board.configurations:
        if row.complete and not row.no_op and not row.control and row.label != board.baseline:
            chosen.setdefault(row.strategy, row.label)
    return spread(list(chosen.values()), count)


def spread(names: list[str], count: int) -> list[str]:
    """Return `count` of the names at equal distances, with first and last."""
    return names if len(names) <= count else [names[round(i * (len(names) - 1) / (count - 1))] for i in range(count)]
