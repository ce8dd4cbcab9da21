"""Ranks of configurations, ties with the best, and rank correlation.

They are for display.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

from blendbench.stats.clusters import Array, resampled_means, rounding_of, standard_errors
from blendbench.stats.intervals import BOOTSTRAP_CLUSTERS, RESAMPLES, Estimate


@dataclass(frozen=True)
class Ranking:
    """The rank of one configuration among those compared; 1 is best."""

    rank: int
    low: int
    high: int
    p_best: float
    tied_with_best: bool


def rank(
    means: ArrayLike, higher_is_better: bool, level: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> list[Ranking]:
    """Rank configurations by their cluster means (configurations, clusters).

    Clusters are resampled jointly over all configurations. `low`..`high` is the interval of the rank over resamples;
    one cluster alone leaves every rank open. `tied_with_best`: a simultaneous interval of the difference to the best
    (max-T; Bonferroni's t below 10 clusters) contains 0. Equal means share the better rank.
    """
    data = np.asarray(means, dtype=np.float64) * (1.0 if higher_is_better else -1.0)
    resampled = _ranks(resampled_means(data, resamples, seed))
    tail = (1 - level) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail], axis=1, method="nearest")
    if data.shape[1] < 2:
        low, high = np.ones(len(data)), np.full(len(data), len(data))
    ranks = _ranks(data.mean(axis=1))
    tied = _tied_with(data, int(np.argmin(ranks)), level, resamples, seed)
    best = (resampled == 1).mean(axis=1)
    return [Ranking(int(ranks[i]), int(low[i]), int(high[i]), float(best[i]), bool(tied[i])) for i in range(len(data))]


def spearman(first: ArrayLike, second: ArrayLike) -> float:
    """Correlate the ranks of two lists (n,), ties by mean rank.

    NaN if one of them is constant or n < 3.
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(np.corrcoef(_mean_ranks(a), _mean_ranks(b))[0, 1])


def spearman_of_means(
    first: ArrayLike, second: ArrayLike, level: float = 0.95, resamples: int = 999, seed: int = 0
) -> Estimate:
    """Correlate the ranks of two metrics' means over configurations.

    Each metric is given as (configurations, clusters). The interval resamples the clusters (percentiles): how far the
    agreement depends on the items.
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    resampled = (resampled_means(means, resamples, seed).T for means in (a, b))
    values = [spearman(x, y) for x, y in zip(*resampled, strict=True)]
    tail = (1 - level) / 2
    low, high = np.nanquantile(values, [tail, 1 - tail]) if not np.isnan(values).all() else (np.nan, np.nan)
    return Estimate(spearman(a.mean(axis=1), b.mean(axis=1)), float(low), float(high), a.shape[1])


def _tied_with(data: Array, best: int, level: float, resamples: int, seed: int) -> NDArray[np.bool_]:
    if data.shape[1] < 2:
        return np.ones(len(data), dtype=np.bool_)
    differences = data[best] - data
    errors = standard_errors(differences)
    observed = differences.mean(axis=1)
    testable = errors > rounding_of(data)
    if not testable.any():
        return np.asarray(observed == 0)
    if data.shape[1] < BOOTSTRAP_CLUSTERS:
        limit = stdtrit(data.shape[1] - 1, 1 - (1 - level) / 2 / testable.sum())
    else:
        resampled = resampled_means(differences[testable], resamples, seed)
        resampled = np.abs(resampled - observed[testable, None]) / errors[testable, None]
        limit = np.quantile(resampled.max(axis=0), level)
    tied = np.asarray(observed <= rounding_of(data))
    tied[testable] = observed[testable] <= limit * errors[testable]
    return tied


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
