"""Confidence intervals of means over clusters, for display only.

An interval is the hull of up to three, since each alone misses too often somewhere (`make statistics` measures it):

- Student's t, which covers the mean of normal data at any number of clusters. Below 8 clusters it stands alone, because
  too few different resamples exist.
- The studentised cluster bootstrap (Efron & Tibshirani 1993, ch. 12.5), which follows skewed data. Each end is held to
  1.5 times the reach of the expanded BCa end (DiCiccio & Efron 1996; Hesterberg 2015) and to the data: if few clusters
  carry the mean, many resamples miss them all and have next to no spread, and a studentised end runs away past the
  range of the metric. Resamples without spread count as t values without end.
- Where most clusters are 0 or at a bound, those of `rare`: no resample holds a change that was not seen.

On normal data the hull is wider than t by 12 % at 8 clusters, 8 % at 12, 4 % at 24 and 1 % at 288. What no interval can
know are rare changes that were not seen among clusters that all vary a little: the bound of `lost` is for these.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr, ndtri, stdtrit

from blendbench.stats.clusters import (
    CHUNK,
    Array,
    Groups,
    resampled_moments,
    rounding_of,
    standard_errors,
    strata_groups,
)
from blendbench.stats.rare import rare_ends

RESAMPLES = 9_999
BOOTSTRAP_CLUSTERS = 8
# The longest reach of a studentised end, in reaches of the expanded BCa end.
LONGEST_REACH = 1.5


@dataclass(frozen=True)
class Estimate:
    """A mean over clusters with its confidence interval.

    `low` and `high` are NaN where nothing is known: for fewer than two clusters, and where every value of a
    metric without a range is 0.
    """

    mean: float
    low: float
    high: float
    clusters: int


def bootstrap_t(
    means: ArrayLike,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
    bounds: tuple[float, float] = (-np.inf, np.inf),
    strata: Sequence[object] | None = None,
) -> Estimate:
    """Estimate the mean of cluster means (clusters,) with its interval.

    `bounds` are the least and greatest possible means; the ends are held to them. `strata`: a label of each cluster,
    within which to resample.
    """
    return intervals(np.asarray(means, dtype=np.float64)[None], level, resamples, seed, bounds, strata)[0]


def intervals(
    means: ArrayLike,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
    bounds: tuple[float, float] = (-np.inf, np.inf),
    strata: Sequence[object] | None = None,
) -> list[Estimate]:
    """Apply `bootstrap_t` to rows (rows, clusters) on the same resamples."""
    data = np.asarray(means, dtype=np.float64)
    block = max(1, CHUNK // resamples)
    groups = strata_groups(strata, data.shape[1])
    return [
        estimate
        for start in range(0, len(data), block)
        for estimate in _intervals(data[start : start + block], level, resamples, seed, bounds, groups)
    ]


def relative_losses(
    candidates: ArrayLike,
    baseline: ArrayLike,
    bounds: tuple[float, float] = (0.0, np.inf),
    strata: Sequence[object] | None = None,
    resamples: int = RESAMPLES,
) -> list[Estimate]:
    """Estimate the part of a baseline's mean that each candidate loses.

    It is 1 - mean(candidate) / mean(baseline) of `candidates` (rows, clusters) and `baseline` (clusters,). Intervals
    are those of the ratio made linear about its value (Cochran 1977, ch. 6), with the same resamples as `intervals`.
    `bounds`: the least and greatest possible value. Errors: ValueError if the baseline's mean is not positive.
    """
    data, base = np.asarray(candidates, dtype=np.float64), np.asarray(baseline, dtype=np.float64)
    mean = float(base.mean())
    if mean <= 0:
        raise ValueError(f"a baseline mean of {mean:g} cannot be lost in part")
    ratios = data.mean(axis=1, keepdims=True) / mean
    ends = (1 - bounds[1] / mean, 1 - bounds[0] / mean)
    return intervals(1 - ratios - (data - ratios * base) / mean, 0.95, resamples, bounds=ends, strata=strata)


def _intervals(
    data: Array, level: float, resamples: int, seed: int, bounds: tuple[float, float], groups: Groups
) -> Iterator[Estimate]:
    n = data.shape[1]
    centres = data.mean(axis=1)
    if n < 2:
        yield from (Estimate(float(centre), np.nan, np.nan, n) for centre in centres)
        return
    errors, tail = standard_errors(data, groups), (1 - level) / 2
    spread = errors > rounding_of(data, axis=1)
    reach = stdtrit(n - len(groups), 1 - tail) * np.where(spread, errors, 0.0)
    ends = np.stack([centres - reach, centres + reach], axis=1)
    if n >= BOOTSTRAP_CLUSTERS and spread.any():
        moments = resampled_moments(data[spread], resamples, seed, groups)
        held = np.array(
            [
                _held_ends(row, float(error), tail, *of_row)
                for row, error, *of_row in zip(data[spread], errors[spread], *moments, strict=True)
            ]
        )
        ends[spread, 0] = np.minimum(ends[spread, 0], held[:, 0])
        ends[spread, 1] = np.maximum(ends[spread, 1], held[:, 1])
    for index, row in enumerate(data):
        rare = rare_ends(row, tail, bounds)
        if rare is not None:
            # NaN, for nothing known, stays.
            ends[index] = np.minimum(ends[index, 0], rare[0]), np.maximum(ends[index, 1], rare[1])
    # A mean at a bound may lie beyond it by rounding.
    lows = np.minimum(np.clip(ends[:, 0], *bounds), centres)
    highs = np.maximum(np.clip(ends[:, 1], *bounds), centres)
    yield from (
        Estimate(float(c), float(low), float(high), n) for c, low, high in zip(centres, lows, highs, strict=True)
    )


def _held_ends(data: Array, error: float, tail: float, resampled: Array, errors: Array) -> tuple[float, float]:
    """Return the ends of the studentised interval, held near the mean.

    Neither end is farther from the mean than 1.5 times the expanded BCa end, or than the data. `resampled` and `errors`
    are the mean and the standard error of each resample (resamples,).
    """
    centre = float(data.mean())
    # A resample of equal values, as when it misses all that is damaged, is as far from the mean as can be: to leave it
    # out would end the interval at the mean.
    t = (resampled - centre) / np.maximum(errors, rounding_of(data))
    upper, lower = np.quantile(t, [1 - tail, tail])
    bca_low, bca_high = _expanded_bca(data, tail, resampled)
    down = min(float(upper) * error, LONGEST_REACH * max(centre - bca_low, 0.0), centre - float(data.min()))
    up = min(-float(lower) * error, LONGEST_REACH * max(bca_high - centre, 0.0), float(data.max()) - centre)
    return centre - down, centre + up


def _expanded_bca(data: Array, tail: float, resampled: Array) -> tuple[float, float]:
    # `tail` is widened by what the normal quantile and the spread of n values lack against Student's t.
    n = len(data)
    wider = -np.sqrt(n / (n - 1)) * stdtrit(n - 1, 1 - tail)
    # A resample whose mean is the data's counts half; which way rounding would tip it differs between machines.
    centred, rounding = data - data.mean(), rounding_of(data)
    below = ((resampled < data.mean() - rounding).mean() + (resampled <= data.mean() + rounding).mean()) / 2
    bias = ndtri(np.clip(below, 1 / len(resampled), 1 - 1 / len(resampled)))
    skew = (centred**3).sum() / (6 * (centred**2).sum() ** 1.5)
    ends = [ndtr(bias + (bias + z) / (1 - skew * (bias + z))) for z in (wider, -wider)]
    low, high = np.quantile(resampled, ends)
    return float(low), float(high)
