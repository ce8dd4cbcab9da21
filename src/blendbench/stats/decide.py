"""Decide on a paired difference: better, worse, equivalent or undecided.

A difference is candidate minus baseline of one metric, one value for each cluster (item). All p-values are sign-flip
p-values, which no random seed enters.

- *Equivalent*: both one-sided tests against the margin reject, each at alpha: the mean is above -margin and below
  +margin (TOST, Schuirmann 1987). Not corrected for the number of metrics: a pass needs all of them at once.
- *Better*, *worse*: the two-sided test against the floor rejects at alpha after Holm's correction within the family,
  and the mean lies on that side.
- *Undecided*: neither.

Within the margin wins: a difference that is both significant and equivalent is equivalent, because the margin is the
difference that matters.

A family is the metrics of one role for one pair of candidate and baseline. Its decisions depend on its own differences
alone, never on other rows of a page. What the floor is: `verdict.decide.floor_of`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr, ndtri, stdtrit

from blendbench.stats.clusters import ROUNDING, Array, standard_errors
from blendbench.stats.sign_flip import least_p, sign_flip_p

ALPHA = 0.05
POWER = 0.8
# Beyond this no number of items is called enough.
MOST_ITEMS = 1_000_000
# A p-value below this is not computed: its upper bound stands for it.
NEGLIGIBLE = 1e-12
Decision = Literal["better", "worse", "equivalent", "undecided"]
Direction = Literal["lower", "higher", "none"]


@dataclass(frozen=True)
class PairedTest:
    """The tests of one paired difference: all that a decision needs.

    `p_greater` and `p_less` are one-sided: of "the mean is not above `floor`" and "not below -`floor`".
    `p_within_margin` is the greater of the two one-sided p against +-`margin`. `n` counts clusters. `standard_error` is
    NaN for a single cluster.
    """

    mean: float
    standard_error: float
    p_greater: float
    p_less: float
    p_within_margin: float
    margin: float
    floor: float
    n: int

    @property
    def p(self) -> float:
        """Return the two-sided p of "the mean is within the floor", uncorrected."""
        return min(1.0, 2 * min(self.p_greater, self.p_less))


def paired_test(differences: ArrayLike, margin: float, floor: float = 0.0) -> PairedTest:
    """Test cluster differences (clusters,) against 0 and against the margin.

    `floor`: the size that a difference must exceed to be better or worse.
    Errors: ValueError unless 0 <= floor <= margin, and for differences that are missing.
    """
    data = np.asarray(differences, dtype=np.float64)
    if not 0 <= floor <= margin < math.inf:
        raise ValueError(f"margin {margin:g}, floor {floor:g}: 0 <= floor <= margin must hold")
    p_greater, p_less = _p_above(data - floor), _p_above(-data - floor)
    error = float(standard_errors(data)) if len(data) > 1 else math.nan
    return PairedTest(float(data.mean()), error, p_greater, p_less, _p_within(data, margin), margin, floor, len(data))


def _p_above(data: Array) -> float:
    """Return p of "the mean is not above 0", without effort where it decides nothing.

    1 for a mean that is not above 0, where it is at least one half. Where it is tiny, its bound (Hoeffding 1963).
    """
    if data.size and np.isfinite(data).all():
        if data.sum() <= 0:
            return 1.0
        bound = _bound(data)
        if bound < NEGLIGIBLE:
            return bound
    return sign_flip_p(data, "greater")


def _p_within(data: Array, margin: float) -> float:
    """Return the greater p of "the mean is not above -margin" and "not below margin"."""
    near, far = sorted((margin + data, margin - data), key=lambda row: float(row.sum()))
    p = _p_above(near)
    # The side that is farther away has next to always the smaller p; where its bound shows that, it is not computed.
    return p if p == 1.0 or _bound(far) <= p else max(p, _p_above(far))


def _bound(data: Array) -> float:
    """Return an upper bound of the one-sided p of a mean above 0."""
    squares = float((data**2).sum())
    return math.exp(-(float(data.sum()) ** 2) / (2 * squares)) if squares > 0 else 1.0


def holm(p_values: ArrayLike) -> Array:
    """Adjust p-values (n,) for n tests (Holm 1979), in the given order."""
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


def decide(test: PairedTest, direction: Direction, p_adjusted: float, alpha: float = ALPHA) -> Decision:
    """Decide on one metric.

    `p_adjusted`: the two-sided p after the correction for its family. `direction`: the better side. "none" is a
    signed drift, which is 0 for the baseline and bad on either side.
    """
    if test.p_within_margin <= alpha:
        return "equivalent"
    if p_adjusted > alpha:
        return "undecided"
    if direction == "none":
        return "worse"
    return "better" if (test.mean > 0) == (direction == "higher") else "worse"


def decide_family(
    tests: Sequence[PairedTest], directions: Sequence[Direction], alpha: float = ALPHA
) -> list[tuple[Decision, float]]:
    """Decide on a role's metrics by Holm's correction; return adjusted p too."""
    adjusted = map(float, holm([test.p for test in tests]))
    return [
        (decide(test, direction, p, alpha), p) for test, direction, p in zip(tests, directions, adjusted, strict=True)
    ]


def least_items(tests: int, alpha: float = ALPHA) -> int:
    """Return the fewest items that allow a family to be better or worse."""
    return next(items for items in range(1, 1000) if tests * least_p(items) <= alpha)


def detectable(test: PairedTest, tests: int, alpha: float = ALPHA) -> float:
    """Return the true difference that is found with power .8 in a family.

    Found means better or worse at the level of Holm's first step, alpha / `tests`, two-sided: what a metric has to
    pass if no other metric of the family differs. Infinite if so few items cannot pass it; takes the observed spread
    for the true one.
    """
    if test.n < least_items(tests, alpha):
        return math.inf
    critical, spread = _critical(test.n, alpha / tests / 2)
    return test.floor + (critical + float(ndtri(POWER)) * spread) * test.standard_error


def needed_items(test: PairedTest, tests: int, alpha: float = ALPHA) -> int | None:
    """Return the number of items that would settle an undecided metric.

    With so many it is found equivalent, or better or worse at the level of Holm's first step among `tests`, with
    power .8, if the observed mean and spread are the truth. More than there are now; None if a million would not do, or
    if a single item says nothing about the spread.
    """
    if test.n < 2:
        return None
    low, high = test.n, MOST_ITEMS
    if _settled(test, high, tests, alpha) < POWER:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _settled(test, middle, tests, alpha) >= POWER else (middle, high)
    return high


def _settled(test: PairedTest, items: int, tests: int, alpha: float) -> float:
    # Without any spread, rounding is left.
    error = max(test.standard_error * math.sqrt(test.n / items), ROUNDING)
    # Observed means up to `inner` are within the margin, those from `outer` on are beyond the floor.
    critical, inner_spread = _critical(items, alpha)
    inner = max(0.0, test.margin - critical * error) if least_p(items, "greater") <= alpha else 0.0
    critical, outer_spread = _critical(items, alpha / tests / 2)
    outer = test.floor + critical * error if items >= least_items(tests, alpha) else math.inf
    if inner > outer:
        return 1.0
    within = _below(inner - test.mean, error * inner_spread) - _below(-inner - test.mean, error * inner_spread)
    beyond = _below(test.mean - outer, error * outer_spread) + _below(-test.mean - outer, error * outer_spread)
    return within + beyond


def _below(distance: float, deviation: float) -> float:
    return float(ndtr(distance / deviation))


def _critical(items: int, level: float) -> tuple[float, float]:
    """Return the point of power one half of a one-sided t test, and its scale.

    In standard errors: the normal approximation of the noncentral t distribution (Abramowitz & Stegun 26.7.10). The
    sign-flip test has next to the same power.
    """
    t = float(stdtrit(items - 1, 1 - level))
    return t * (1 - 1 / (4 * (items - 1))), math.sqrt(1 + t**2 / (2 * (items - 1)))
