"""Ranks of configurations, ties with the best, and correlations, for display."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from blendbench.stats.clusters import Array, resampled_means, rounding_of, strata_groups
from blendbench.stats.intervals import Estimate

SAMPLES = 2_000  # for the largest t
RESAMPLES = 999  # for the interval of a rank correlation


@dataclass(frozen=True)
class Ranking:
    """The rank of one configuration among those compared; 1 is best.

    `low`..`high`: the ranks that are left open by the pairs that differ. `tied_with_best`: none is shown to be better.
    """

    rank: int
    low: int
    high: int

    @property
    def tied_with_best(self) -> bool:
        """Return whether no configuration is shown to be better."""
        return self.low == 1


def simultaneous_ranks(
    means: ArrayLike, higher_is_better: bool, strata: Sequence[object] | None = None, level: float = 0.95
) -> list[Ranking]:
    """Rank configurations by their cluster means (configurations, clusters).

    Two configurations differ where the simultaneous interval of their difference leaves 0 out, among those of all
    pairs. From 1 + those that are better to all less those that are worse: these intervals hold every true rank at
    once at `level` (Mohamad, Goeman & van Zwet 2020). Equal means share the better rank; a single cluster leaves every
    rank open. `strata`: a label of each cluster, within which spread is measured.
    """
    data = np.asarray(means, dtype=np.float64) * (1.0 if higher_is_better else -1.0)
    k, n = data.shape
    ranks = _ranks(data.mean(axis=1))
    if n < 2:
        return [Ranking(int(one), 1, k) for one in ranks]
    groups = strata_groups(strata, n)
    centred = np.hstack([data[:, g] - data[:, g].mean(axis=1, keepdims=True) for g in groups])
    weights = np.concatenate([np.full(len(g), len(g) / (len(g) - 1)) for g in groups])
    root = centred * np.sqrt(weights) / n
    covariance = root @ root.T
    spread = np.diag(covariance)
    errors = np.sqrt(np.maximum(spread[:, None] + spread - 2 * covariance, 0.0))
    differences = data.mean(axis=1)[:, None] - data.mean(axis=1)
    rounding = float(rounding_of(data))
    testable = errors > rounding
    limit = _largest_t(k, n - len(groups), level) if testable.any() else 0.0
    # Without spread a difference is certain as far as these clusters go.
    better = differences > np.where(testable, limit * errors, rounding)
    return [Ranking(int(ranks[i]), 1 + int(better[:, i].sum()), k - int(better[i].sum())) for i in range(k)]


@cache
def _largest_t(configurations: int, freedom: int, level: float) -> float:
    """Return the quantile of the largest |t| of all pairs that are equal.

    Of normal values with any spread that all configurations share: it cancels in the differences, so that one table
    serves all data. Estimating it from as few clusters as there are would make the limit too small.
    """
    rng = np.random.default_rng(0)
    largest = np.empty(SAMPLES)
    for sample in range(SAMPLES):
        data = rng.standard_normal((configurations, freedom + 1))
        means = data.mean(axis=1)
        covariance = np.cov(data).reshape(configurations, configurations)
        spread = np.diag(covariance)
        variances = spread[:, None] + spread - 2 * covariance
        np.fill_diagonal(variances, np.inf)
        largest[sample] = ((means[:, None] - means) ** 2 / variances).max() * (freedom + 1)
    # Two standard errors up: so few samples must not make the limit too small.
    held = level + 2 * float(np.sqrt(level * (1 - level) / SAMPLES))
    return float(np.sqrt(np.quantile(largest, held)))


def spearman(first: ArrayLike, second: ArrayLike) -> float:
    """Correlate ranks of lists (n,), ties by mean; NaN if constant or n < 3."""
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(np.corrcoef(_mean_ranks(a), _mean_ranks(b))[0, 1])


def spearman_of_means(first: ArrayLike, second: ArrayLike) -> Estimate:
    """Correlate the ranks of two metrics' means over configurations.

    Each metric is given as (configurations, clusters). The interval resamples the clusters (percentiles): how far the
    agreement depends on the items.
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    resampled = (resampled_means(means, RESAMPLES, 0).T for means in (a, b))
    values = [spearman(x, y) for x, y in zip(*resampled, strict=True)]
    tail = (1 - 0.95) / 2
    low, high = np.nanquantile(values, [tail, 1 - tail]) if not np.isnan(values).all() else (np.nan, np.nan)
    return Estimate(spearman(a.mean(axis=1), b.mean(axis=1)), float(low), float(high), a.shape[1])


def _ranks(values: Array) -> NDArray[np.int64]:
    # Rank along the first axis. Differences below the rounding of a mean are ties: a no-op shares its baseline's rank.
    rounded = np.round(values, 12)
    order = np.argsort(-rounded, axis=0, kind="stable")
    ordered = np.take_along_axis(rounded, order, axis=0)
    places = np.arange(1, len(values) + 1).reshape(-1, *[1] * (values.ndim - 1))
    starts = np.ones(ordered.shape, dtype=np.bool_)
    starts[1:] = ordered[1:] != ordered[:-1]
    ranks = np.empty(ordered.shape, dtype=np.int64)
    np.put_along_axis(ranks, order, np.maximum.accumulate(np.where(starts, places, 0), axis=0), axis=0)
    return ranks


def _mean_ranks(values: Array) -> Array:
    rounded = np.round(values, 12)
    ordered = np.sort(rounded)
    left = np.searchsorted(ordered, rounded, side="left")
    return (left + np.searchsorted(ordered, rounded, side="right") + 1) / 2
