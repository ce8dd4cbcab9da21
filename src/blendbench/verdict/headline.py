"""The headline of a family of configurations: its gain at a budget for the prompt.

A family is a strategy with all settings but the dose. Its dose is chosen on development items and reported on test
items, so that the choice cannot flatter the figure.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from blendbench.core.errors import UsageError
from blendbench.core.metric_info import Role
from blendbench.stats.clusters import ROUNDING, Array
from blendbench.stats.intervals import Estimate, intervals, relative_losses
from blendbench.verdict.known import BASELINE, Known, Point

BUDGETS = (0.10, 0.25)
Status = Literal["within budget", "over budget", "no dose fits"]


@dataclass(frozen=True)
class Measured:
    """A configuration at one dose: gain and loss with intervals.

    `gain` is the difference to the baseline in the primary metric's unit, above 0 where that is better; `loss` the part
    of the prompt that is lost, 1 minus the ratio of the means.
    """

    point: Point
    gain: Estimate
    loss: Estimate


@dataclass(frozen=True)
class Headline:
    """The gain of a family at a budget.

    `chosen` is the dose chosen on development items, measured on test items; None if doing nothing is best.
    """

    family: str
    strategy: str
    control: bool
    upper_bound: bool
    budget: float
    status: Status
    chosen: Measured | None

    @property
    def figure(self) -> float:
        """Return the gain that counts.

        0 if no dose fits, or if the chosen one is shown to be over the budget on test items.
        """
        return self.chosen.gain.mean if self.chosen is not None and self.status == "within budget" else 0.0


def families(known: Known) -> dict[str, list[int]]:
    """Return each family's rows by dose, without the baseline."""
    found: dict[str, list[int]] = {}
    for row, point in sorted(enumerate(known.points), key=lambda entry: (entry[1].dose or 0.0, entry[1].label)):
        if point.label != BASELINE:
            found.setdefault(point.family, []).append(row)
    return dict(sorted(found.items()))


def measure_points(known: Known, rows: Sequence[int]) -> dict[int, Measured]:
    """Measure configurations against the baseline on common items, if any."""
    if BASELINE not in known.index or not {"gain", "prompt"} <= known.metrics.keys():
        return {}
    gains: dict[int, Estimate] = {}
    sign = 1 if known.metrics["gain"].direction == "higher" else -1
    for members, values, baseline, strata in _by_items(known, "gain", rows):
        estimates = intervals(sign * (values - baseline), bounds=known.metrics["gain"].changes, strata=strata)
        gains |= dict(zip(members, estimates, strict=True))
    losses: dict[int, Estimate] = {}
    span = known.metrics["prompt"].range
    for members, values, baseline, strata in _by_items(known, "prompt", rows):
        if float(baseline.mean()) <= 0:
            continue  # of these items nothing can be lost in part
        losses |= dict(zip(members, relative_losses(values, baseline, bounds=span, strata=strata), strict=True))
    return {row: Measured(known.points[row], gains[row], losses[row]) for row in rows if row in gains.keys() & losses}


def can_lose(known: Known) -> bool:
    """Return whether the baseline has a prompt value of which a part can be lost.

    A cosine may average 0 or less, as with random weights: then no loss is a fraction of it.
    """
    if BASELINE not in known.index or not {"gain", "prompt"} <= known.metrics.keys():
        return False
    values = known.values["prompt"][known.index[BASELINE]]
    return bool(np.isfinite(values).any()) and float(np.nanmean(values)) > 0


def headlines(known: Known, budget: float) -> list[Headline]:
    """Return all headlines, best first. Errors: UsageError without dev and test."""
    if not can_lose(known):
        raise UsageError(f"{BASELINE} has no prompt value above 0, so no loss can be stated")
    if not {"dev", "test"} <= set(known.splits):
        raise UsageError("the items have no development and test part, so no dose can be chosen fairly")
    dev, test = known.on("dev"), known.on("test")
    grouped = families(known)
    chosen = {family: _choose(dev, rows, budget) for family, rows in grouped.items()}
    measured = measure_points(test, [row for row in chosen.values() if row is not None])
    found = []
    for family, rows in grouped.items():
        point, row = known.points[rows[0]], chosen[family]
        result = None if row is None else measured.get(row)
        status: Status = "no dose fits"
        if result is not None:
            status = "over budget" if result.loss.low > budget else "within budget"
        found.append(Headline(family, point.strategy, point.control, point.upper_bound, budget, status, result))
    return sorted(found, key=lambda headline: (-headline.figure, headline.family))


def _choose(dev: Known, rows: Sequence[int], budget: float) -> int | None:
    """Return the row of the dose that gains most within the budget.

    Doses are tried in ascending order, up to the first that loses more. None if none gains more than doing nothing.
    """
    best, most = None, 0.0
    for row in rows:
        gain, loss = mean_gain(dev, row), mean_loss(dev, row)
        if np.isnan(gain) or np.isnan(loss) or loss > budget:
            break
        # The smaller dose if tied: differences below rounding are none.
        if gain > most + ROUNDING:
            best, most = row, gain
    return best


def mean_gain(known: Known, row: int) -> float:
    """Return the mean gain of a configuration; NaN without items that the baseline has too."""
    return known.mean("gain", row, known.index[BASELINE])


def mean_loss(known: Known, row: int) -> float:
    """Return the part of the prompt that a configuration loses on average; NaN without common items."""
    baseline = known.index[BASELINE]
    _, both = known.differences("prompt", row, baseline)
    values = known.values["prompt"][:, both]
    return 1 - float(values[row].mean() / values[baseline].mean()) if both.any() else np.nan


def _by_items(known: Known, role: Role, rows: Sequence[int]) -> Iterator[tuple[list[int], Array, Array, list[str]]]:
    """Yield rows over the same items together, since they share resamples.

    Each with its values (rows, items), those of the baseline (items,), and the stratum of each item.
    """
    values, baseline = known.values[role], known.index[BASELINE]
    groups: dict[bytes, list[int]] = {}
    for row in rows:
        both = np.isfinite(values[row]) & np.isfinite(values[baseline])
        if both.any():
            groups.setdefault(both.tobytes(), []).append(row)
    for mask, members in groups.items():
        both = np.frombuffer(mask, dtype=np.bool_)
        yield members, values[members][:, both], values[baseline][both], [known.strata[i] for i in np.flatnonzero(both)]
