"""One kind of token at one layer: statistics with intervals, and outliers."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t

from blendbench.stats.hidden_states.compare import (
    compare,
    effective_rank,
    frechet_distance,
    ordered_outliers,
    paired_cosine,
    root,
    std_ratio,
)
from blendbench.stats.hidden_states.spread import Array, Spread, Values, describe, pool, spread_of

# A minimum or a count is no smooth function of the items, and the jackknife says nothing about it.
_WITHOUT_INTERVAL = ("std_max", "ratio_min", "ratio_max", "lacking_", "exceeding_")


@dataclass(frozen=True)
class Estimate:
    """A value or None, and its 95 % interval over items where it has one."""

    value: float | None
    low: float | None = None
    high: float | None = None


Estimates = dict[str, Estimate]
Intervals = dict[str, tuple[float, float]]


@dataclass(frozen=True)
class Summary:
    """Rows of a kind over items: moments by item and pooled, and covariance."""

    items: tuple[Spread, ...]
    pooled: Spread
    covariance: Array

    @functools.cached_property
    def root(self) -> Array:
        """Return the covariance's square root."""
        return root(self.covariance)


@dataclass(frozen=True)
class Dimension:
    """One dimension that stands out.

    Against a reference, with the reference's values and the ratio of deviations.
    """

    dimension: int
    mean: float
    std: float
    share: float
    reference_mean: float | None = None
    reference_std: float | None = None
    reference_share: float | None = None
    ratio: float | None = None


def summarise(items: Sequence[Array]) -> Summary:
    """Summarise arrays of rows (tokens, dim), one an item. Errors: ValueError."""
    spreads = tuple(spread_of(rows) for rows in items)
    pooled = pool(spreads)
    scatter = np.zeros((len(pooled.mean), len(pooled.mean)))
    for rows in items:
        centred = rows.astype(np.float64) - pooled.mean
        scatter += centred.T @ centred
    return Summary(spreads, pooled, scatter / pooled.count)


def own_statistics(summary: Summary) -> Estimates:
    """Return `describe`, the effective rank, and counts of rows and items."""
    return {
        "tokens": Estimate(summary.pooled.count),
        "items": Estimate(float(len(summary.items))),
        **_estimates(describe, summary.items),
        "effective_rank": Estimate(effective_rank(summary.covariance)),
    }


def reference_statistics(summary: Summary, reference: Summary) -> Estimates:
    """Compare rows with a reference's by `compare` and Fréchet distance.

    frechet_relative is the distance over the reference's total variance. Intervals need the same items on both sides.
    """
    found = _estimates(compare, summary.items, reference.items)
    distance = frechet_distance(summary.pooled.mean, summary.covariance, reference.pooled.mean, reference.root)
    total = float(np.trace(reference.covariance))
    found["frechet"] = Estimate(distance)
    found["frechet_relative"] = Estimate(distance / total if total > 0 else None)
    return found


def word_cosine(rows: Sequence[Array], others: Sequence[Array]) -> Estimate:
    """Return the mean cosine of equal words; no value if counts differ."""
    values = [paired_cosine(a, b) for a, b in zip(rows, others, strict=True)]
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return Estimate(None)
    return _bounded("word_cosine", float(np.mean(known)), mean_interval(known))


def largest_dimensions(spread: Spread, count: int) -> list[Dimension]:
    """Return the dimensions with the largest second moments, in order."""
    order = np.argsort(-spread.second_moment, kind="stable")[:count]
    shares = _shares(spread)
    return [Dimension(int(d), float(spread.mean[d]), float(spread.std[d]), float(shares[d])) for d in order]


def outlier_dimensions(spread: Spread, reference: Spread, count: int) -> list[Dimension]:
    """Return the dimensions whose deviations differ most, either way."""
    ratio, shares, others = std_ratio(spread, reference), _shares(spread), _shares(reference)
    return [
        Dimension(
            int(d),
            float(spread.mean[d]),
            float(spread.std[d]),
            float(shares[d]),
            float(reference.mean[d]),
            float(reference.std[d]),
            float(others[d]),
            float(ratio[d]),
        )
        for d in ordered_outliers(ratio)[:count]
    ]


def _shares(spread: Spread) -> Array:
    second = spread.second_moment
    total = second.sum()
    return second / total if total > 0 else second


def _estimates(statistic: Callable[..., Values], *groups: Sequence[Spread]) -> Estimates:
    values = statistic(*(pool(group) for group in groups))
    found = intervals(statistic, *groups)
    return {
        name: _bounded(name, value, None if name.startswith(_WITHOUT_INTERVAL) else found.get(name))
        for name, value in values.items()
    }


def _bounded(name: str, value: float | None, interval: tuple[float, float] | None) -> Estimate:
    """Clip an interval to the statistic's range, unknown to the jackknife."""
    if interval is None:
        return Estimate(value)
    least, most = -np.inf, np.inf
    if any(part in name for part in ("cosine", "pearson", "spearman")):
        least, most = -1.0, 1.0
    elif "share" in name:
        least, most = 0.0, 1.0
    elif name.startswith(("std", "ratio")):
        least = 0.0
    return Estimate(value, max(least, interval[0]), min(most, interval[1]))


def intervals(statistic: Callable[..., Values], *groups: Sequence[Spread]) -> Intervals:
    """Compute 95 % intervals of a smooth statistic of pooled groups.

    The interval is the value +- t(n - 1) times the jackknife's standard error (Efron & Tibshirani 1993, chapter 11),
    which is for smooth statistics, so not for a minimum or a count. The bootstrap would count an item twice and so
    raise cosines between tokens, and add noise that lowers correlations. All groups hold the same items in the same
    order. Fewer than three items, or a value that some part does not have, give no interval.
    """
    n = len(groups[0])
    if n < 3:
        return {}
    whole = statistic(*(pool(group) for group in groups))
    parts = [statistic(*(pool(group, weights) for group in groups)) for weights in 1 - np.eye(n)]
    found: Intervals = {}
    for name, value in whole.items():
        values = [part[name] for part in parts]
        if value is None or any(v is None for v in values):
            continue
        numbers = np.array(values, dtype=np.float64)
        error = float(np.sqrt((n - 1) / n * ((numbers - numbers.mean()) ** 2).sum()))
        half = float(t.ppf(0.975, n - 1)) * error
        found[name] = (value - half, value + half)
    return found


def mean_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Return the mean's 95 % t interval over items; None for fewer than 3."""
    n = len(values)
    if n < 3:
        return None
    half = float(t.ppf(0.975, n - 1) * np.std(values, ddof=1) / np.sqrt(n))
    return float(np.mean(values)) - half, float(np.mean(values)) + half
