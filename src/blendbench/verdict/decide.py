"""The decision on one metric: how much worse, how sure, and what it would take to be surer."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import ndtri

from blendbench.metrics.cards import changes_of
from blendbench.statistics import (
    DRAWS,
    Array,
    bootstrap_t,
    cluster_means,
    least_p,
    minimum_detectable,
    sign_flip_p,
)
from blendbench.verdict.pairing import Metric, Pairs

ALPHA = 0.05
GATED_KINDS = ("adherence", "artifact", "drift")
POWER = 0.8

Decision = Literal["pass", "regression", "inconclusive"]


@dataclass(frozen=True)
class Needed:
    """What would settle an inconclusive metric with power .8 if the observed mean and spread are the truth.

    `seeds` an item for the same items (None: no number of seeds is enough; `at_least` if there is only one seed now, so
    that items and seeds cannot be told apart), or `items` at the same seeds.
    """

    seeds: int | None
    items: int
    at_least: bool


@dataclass(frozen=True)
class Spread:
    """Where the variance of the differences lies: between items, and within them (NaN for one seed an item)."""

    seeds: int
    between: float
    within: float


@dataclass(frozen=True)
class Effect:
    """Candidate minus baseline of one metric, in its unit.

    `low`..`high`: each end a one-sided bound at `alpha`. `worse` is the mean change in the bad direction (NaN if the
    metric has none) and `worst_case` its upper bound, `floor` the change that a regression must exceed, `p` the
    one-sided p that it does, `p_margin` the one-sided p that the change is less than the margin. `detectable`: the true
    change that would be found with power .8, before any correction.
    """

    metric: Metric
    candidate_mean: float
    baseline_mean: float
    mean: float
    low: float
    high: float
    median: float
    worse: float
    worst_case: float
    floor: float
    p: float
    p_margin: float
    detectable: float
    items: int
    units: int
    unscorable: int
    spread: Spread
    alpha: float = ALPHA

    @property
    def gated(self) -> bool:
        """Whether the metric takes part in the verdict."""
        return is_gated(self.metric)


@dataclass(frozen=True)
class MetricVerdict:
    """An effect and what follows from it; without `decision` the metric is only reported."""

    effect: Effect
    decision: Decision | None
    p_adjusted: float | None
    needed: Needed | None = None


def is_gated(metric: Metric) -> bool:
    """Whether a metric takes part in the verdict: adherence, artifacts and drift.

    Without a direction only a drift does: away from the baseline is bad on either side.
    """
    return metric.kind in GATED_KINDS and (metric.direction != "none" or is_two_sided(metric))


def is_two_sided(metric: Metric) -> bool:
    """Whether a metric is a signed drift: 0 at the baseline, and bad on either side of it."""
    return metric.kind == "drift" and metric.direction == "none"


def badness(metric: Metric, change: Array) -> Array:
    """How much worse each change (...) of a metric is; NaN if nothing about it is bad."""
    if is_two_sided(metric):
        return np.abs(change)
    return {"lower": 1.0, "higher": -1.0, "none": math.nan}[metric.direction] * change


def floor_of(metric: Metric) -> float:
    """The change in the bad direction that a regression must exceed.

    0 for adherence, artifacts and signed drifts. Another drift is a distance to a baseline's image: it cannot get
    better than 0, and any change at all raises it, so only more than the margin counts against a candidate.
    """
    return metric.margin if metric.kind == "drift" and not is_two_sided(metric) else 0.0


def measure_effect(pairs: Pairs, seed: int = 0, draws: int = DRAWS, alpha: float = ALPHA) -> Effect:
    """Everything about one metric but the corrected p: seeds are averaged within items, items are the clusters.

    `alpha` is the risk of each decision that is taken from it.
    """
    metric = pairs.metric
    differences = pairs.candidate - pairs.baseline
    means = cluster_means(differences, pairs.items)
    interval = bootstrap_t(means, level=1 - 2 * alpha, draws=draws, seed=seed, bounds=changes_of(metric.name))
    p, p_margin = _p_values(metric, means, draws, seed) if is_gated(metric) else (math.nan, math.nan)
    return Effect(
        metric=metric,
        candidate_mean=_mean(pairs.candidate, pairs.items),
        baseline_mean=_mean(pairs.baseline, pairs.items),
        mean=interval.mean,
        low=interval.low,
        high=interval.high,
        median=float(np.median(means)),
        worse=float(badness(metric, np.array(interval.mean))),
        worst_case=float(badness(metric, np.array([interval.low, interval.high])).max()),
        floor=floor_of(metric),
        p=p,
        p_margin=p_margin,
        detectable=minimum_detectable(means),
        items=len(means),
        units=len(differences),
        unscorable=pairs.unscorable,
        spread=_spread(differences, pairs.items),
        alpha=alpha,
    )


def _p_values(metric: Metric, means: Array, draws: int, seed: int) -> tuple[float, float]:
    """p that the change exceeds the floor, and p that it stays within the margin (of two sides, the less sure one)."""
    if is_two_sided(metric):
        sides = [sign_flip_p(metric.margin + sign * means, draws, seed, "greater") for sign in (1.0, -1.0)]
        return sign_flip_p(means, draws, seed), max(sides)
    worse = badness(metric, means)
    exceeds = sign_flip_p(worse - floor_of(metric), draws, seed, "greater")
    return exceeds, sign_flip_p(metric.margin - worse, draws, seed, "greater")


def decide(effect: Effect, p_adjusted: float | None, tests: int = 1) -> MetricVerdict:
    """Pass, regression or inconclusive.

    Pass: the worst that the data allow (one-sided bound) stays within the margin, even if something is measurably
    worse; and as a bootstrap is too sure of itself where a few outliers on either side make the spread, the sign flips
    must agree (p <= alpha). Else a regression: worse than the floor with corrected p <= alpha. Else nothing is known:
    inconclusive, and what would settle it is estimated for `tests` corrected tests.
    """
    if p_adjusted is None:
        return MetricVerdict(effect, None, None)
    if effect.worst_case <= effect.metric.margin and effect.p_margin <= effect.alpha:
        return MetricVerdict(effect, "pass", p_adjusted)
    if p_adjusted <= effect.alpha:
        return MetricVerdict(effect, "regression", p_adjusted)
    return MetricVerdict(effect, "inconclusive", p_adjusted, _needed(effect, tests))


def items_for_a_regression(tests: int, alpha: float = ALPHA, sides: int = 1) -> int:
    """The fewest items with which the corrected p of one metric among `tests` can come down to `alpha`."""
    return next(items for items in range(1, 64) if tests * least_p(items) * sides / 2 <= alpha)


def _mean(values: Array, items: tuple[str, ...]) -> float:
    return float(cluster_means(values, items).mean())


def _spread(differences: Array, items: tuple[str, ...]) -> Spread:
    _, index, counts = np.unique(np.asarray(items), return_inverse=True, return_counts=True)
    seeds, n = int(counts.min()), len(counts)
    means = np.bincount(index, weights=differences) / counts
    observed = float(means.var(ddof=1)) if n > 1 else math.nan
    if seeds < 2:
        return Spread(seeds, observed, math.nan)
    within = float(((differences - means[index]) ** 2).sum() / (len(differences) - n))
    return Spread(seeds, max(0.0, observed - within / seeds), within)


def _needed(effect: Effect, tests: int) -> Needed | None:
    """Seeds, or items, for the nearer of the two ends: within the margin, or beyond the floor."""
    if effect.items < 2:
        return None
    sides = 2 if is_two_sided(effect.metric) else 1
    ends = (
        (effect.metric.margin - effect.worse, effect.alpha, items_for_a_regression(1, effect.alpha)),
        (
            effect.worse - effect.floor,
            effect.alpha / tests / sides,
            items_for_a_regression(tests, effect.alpha, sides),
        ),
    )
    ways = [_needed_for(effect, gap, risk, least) for gap, risk, least in ends if gap > 0]
    if not ways:
        return None
    seeds = [way.seeds for way in ways if way.seeds is not None]
    return Needed(min(seeds, default=None), min(way.items for way in ways), ways[0].at_least)


def _needed_for(effect: Effect, gap: float, risk: float, least: int) -> Needed:
    """What makes a mean `gap` away from an end sure at `risk`; with fewer than `least` items no p is small enough."""
    n, spread = effect.items, effect.spread
    # The variance of item means with which the end would be reached.
    wanted = n * (gap / (ndtri(1 - risk) + ndtri(POWER))) ** 2
    one_seed = math.isnan(spread.within)
    observed = spread.between if one_seed else spread.between + spread.within / spread.seeds
    items = max(n + 1, least, math.ceil(n * observed / wanted))
    if n < least or (spread.between >= wanted and not one_seed):
        return Needed(None, items, one_seed)
    share = spread.between / wanted if one_seed else spread.within / (wanted - spread.between)
    return Needed(max(spread.seeds + 1, math.ceil(share)), items, one_seed)
