"""Paired statistics with items as clusters: seeds of one item are not independent, so items are what is resampled.

Intervals: studentised cluster bootstrap (Efron & Tibshirani 1993, ch. 12.5), each end held to 1.5 times the reach of
the expanded BCa end (DiCiccio & Efron 1996; Hesterberg 2015); Student's t below 10 clusters, where too few different
draws exist (two clusters have one that is not constant, and its interval has no width). p-values: sign-flip permutation
of cluster means (exact for up to 12 clusters). Everything random comes from a generator seeded by the caller's `seed`.

Why the hold: where few clusters carry the mean (a defect in one image of five), many draws miss them all and have
next to no spread, and the studentised end runs away, past the range of the metric. BCa ends never leave the data, but
miss the truth more often than studentised ones. Of the remedies simulated (percentiles, BCa, expanded BCa, Hall's
transform, tempered and clipped studentising; 10 to 48 clusters, nine distributions) this one keeps the coverage and
ends the runaway: with 24 clusters, one in five damaged, the widest 1 % of intervals shrink from 1.85 to 0.24, and the
upper end is missed in 1.7 % of samples (studentised 0.8 %, expanded BCa 4.8 %, t 12 %; nominal 5 %). Where the others
are exactly 0, draws that miss all damage have no spread. They count as t values without end: left out, the upper end is
missed in 9 % of samples (one in five damaged) and 30 % (one in ten); with them in 1.4 % and 8.8 %, of which 8 % are
samples without any damage.
tests/test_statistics.py keeps the simulation.

Many configurations over the same clusters share their resamples: drawn once, as counts of each cluster, they give every
mean and every sum of squares by one matrix product.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri, stdtrit

DRAWS = 9_999
EXACT_CLUSTERS = 12
BOOTSTRAP_CLUSTERS = 10
LONGEST_REACH = 1.5  # of a studentised end, in reaches of the expanded BCa end
CHUNK = 2**18  # numbers held at once while drawing: 2 MiB, which stay in a cache, however many clusters there are
# A spread that is this small a part of what it was computed from has lost too many digits, and is computed again.
CANCELLED = 1e-3
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A mean over clusters with its confidence interval; `low` and `high` are NaN for fewer than two clusters."""

    mean: float
    low: float
    high: float
    clusters: int


@dataclass(frozen=True)
class PairedEffect:
    """Candidate minus baseline over equal units: mean with interval, median over clusters, two-sided p."""

    mean: float
    low: float
    high: float
    median: float
    p: float
    clusters: int


@dataclass(frozen=True)
class Ranking:
    """Where one configuration stands among those compared: 1 is best."""

    rank: int
    low: int
    high: int
    p_best: float
    tied_with_best: bool


def cluster_means(values: ArrayLike, clusters: Sequence[object]) -> Array:
    """Mean of `values` (..., units) in each cluster (units,), in the sorted order of the clusters: (..., clusters).

    Errors: ValueError for unequal lengths, no values, or a value that is not finite (missing pairs are the caller's to
    report, not to drop silently).
    """
    units = np.asarray(values, dtype=np.float64)
    if units.ndim == 0 or units.shape[-1] != len(clusters) or units.size == 0:
        raise ValueError(f"{units.shape} values for {len(clusters)} cluster names; both must be one list of units")
    if not np.isfinite(units).all():
        raise ValueError("values must be finite; a missing value is not an observation")
    _, index = np.unique(np.asarray(clusters), return_inverse=True)
    rows = [np.bincount(index, weights=row) for row in units.reshape(-1, units.shape[-1])]
    return np.stack(rows).reshape(*units.shape[:-1], -1) / np.bincount(index)


def bootstrap_t(
    means: ArrayLike,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
    bounds: tuple[float, float] = (-np.inf, np.inf),
) -> Estimate:
    """Mean of cluster means (clusters,) with its two-sided interval (see the head of this module).

    `bounds` are the least and greatest possible means; the ends are held to them. From 10 clusters on the ends also
    stay between the least and the greatest cluster mean.
    """
    return intervals(np.asarray(means, dtype=np.float64)[None], level, draws, seed, bounds)[0]


def intervals(
    means: ArrayLike,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
    bounds: tuple[float, float] = (-np.inf, np.inf),
) -> list[Estimate]:
    """`bootstrap_t` of every row of cluster means (rows, clusters), on the same resamples."""
    data = np.asarray(means, dtype=np.float64)
    block = max(1, CHUNK // draws)
    return [
        estimate
        for start in range(0, len(data), block)
        for estimate in _intervals(data[start : start + block], level, draws, seed, bounds)
    ]


def sign_flip_p(
    differences: ArrayLike,
    draws: int = DRAWS,
    seed: int = 0,
    alternative: Literal["two-sided", "greater"] = "two-sided",
) -> float:
    """p of "the cluster differences (clusters,) are symmetric about 0"; never below 1 / (draws + 1).

    `alternative`: what speaks against it, a mean away from 0 on either side or above it.
    """
    return float(sign_flip_ps(np.asarray(differences, dtype=np.float64)[None], draws, seed, alternative)[0])


def sign_flip_ps(
    differences: ArrayLike,
    draws: int = DRAWS,
    seed: int = 0,
    alternative: Literal["two-sided", "greater"] = "two-sided",
) -> Array:
    """`sign_flip_p` of every row of cluster differences (rows, clusters), on the same flips: (rows,)."""
    data = np.asarray(differences, dtype=np.float64)
    n = data.shape[1]
    if n <= EXACT_CLUSTERS:
        signs = 1.0 - 2.0 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
        return _at_least(data @ signs.T, data, alternative).mean(axis=1)
    rng = np.random.default_rng(seed)
    found = np.zeros(len(data))
    for part in _parts(n, draws):
        signs = rng.choice([-1.0, 1.0], size=(part.stop - part.start, n))
        found += _at_least(data @ signs.T, data, alternative).sum(axis=1)
    return (found + 1) / (draws + 1)


def least_p(clusters: int, draws: int = DRAWS) -> float:
    """The smallest p that `sign_flip_p` can give for so many clusters: what a correction for many tests starts from."""
    return 2.0 / 2**clusters if clusters <= EXACT_CLUSTERS else 1.0 / (draws + 1)


def paired_effect(
    candidate: ArrayLike,
    baseline: ArrayLike,
    clusters: Sequence[object],
    level: float = 0.95,
    seed: int = 0,
    bounds: tuple[float, float] = (-np.inf, np.inf),
) -> PairedEffect:
    """Candidate minus baseline (units,) of the same units; seeds are averaged within each cluster (item).

    `bounds` are the least and greatest possible differences; the ends of the interval are held to them.
    Errors: ValueError when the two differ in length or a value is missing.
    """
    first, second = np.asarray(candidate, dtype=np.float64), np.asarray(baseline, dtype=np.float64)
    if first.shape != second.shape:
        raise ValueError(f"{first.shape} candidate and {second.shape} baseline values; they must be pairs")
    return effects_of(cluster_means(first - second, clusters)[None], level, seed, bounds)[0]


def effects_of(
    differences: ArrayLike, level: float = 0.95, seed: int = 0, bounds: tuple[float, float] = (-np.inf, np.inf)
) -> list[PairedEffect]:
    """The effect in every row of cluster differences (rows, clusters)."""
    data = np.asarray(differences, dtype=np.float64)
    medians, n = np.median(data, axis=1), data.shape[1]
    return [
        PairedEffect(interval.mean, interval.low, interval.high, float(median), float(p), n)
        for interval, median, p in zip(
            intervals(data, level, seed=seed, bounds=bounds), medians, sign_flip_ps(data, seed=seed), strict=True
        )
    ]


def holm(p_values: ArrayLike) -> Array:
    """p-values (n,) adjusted for n tests (Holm 1979), in the given order."""
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


def rank(
    means: ArrayLike, higher_is_better: bool, level: float = 0.95, draws: int = DRAWS, seed: int = 0
) -> list[Ranking]:
    """Rank configurations by cluster means (configurations, clusters), resampling clusters jointly over all of them.

    `low`..`high` is the interval of the rank over draws; one cluster alone leaves every rank open. `tied_with_best`: a
    simultaneous interval of the difference to the best (max-T; Bonferroni's t below 10 clusters) contains 0. Equal
    means share the better rank.
    """
    data = np.asarray(means, dtype=np.float64) * (1.0 if higher_is_better else -1.0)
    drawn = _ranks(_drawn_means(data, draws, seed))
    tail = (1 - level) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail], axis=1, method="nearest")
    if data.shape[1] < 2:
        low, high = np.ones(len(data)), np.full(len(data), len(data))
    ranks = _ranks(data.mean(axis=1))
    tied = _tied_with(data, int(np.argmin(ranks)), level, draws, seed)
    best = (drawn == 1).mean(axis=1)
    return [Ranking(int(ranks[i]), int(low[i]), int(high[i]), float(best[i]), bool(tied[i])) for i in range(len(data))]


def spearman(first: ArrayLike, second: ArrayLike) -> float:
    """Rank correlation of two lists (n,), ties by mean rank; NaN if one of them is constant or n < 3."""
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(np.corrcoef(_mean_ranks(a), _mean_ranks(b))[0, 1])


def spearman_of_means(
    first: ArrayLike, second: ArrayLike, level: float = 0.95, draws: int = 999, seed: int = 0
) -> Estimate:
    """Rank correlation over configurations of two metrics' means, each given as (configurations, clusters).

    The interval resamples the clusters (percentiles): it says how far the agreement depends on the items drawn.
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    drawn = (_drawn_means(means, draws, seed).T for means in (a, b))
    values = [spearman(x, y) for x, y in zip(*drawn, strict=True)]
    tail = (1 - level) / 2
    low, high = np.nanquantile(values, [tail, 1 - tail]) if not np.isnan(values).all() else (np.nan, np.nan)
    return Estimate(spearman(a.mean(axis=1), b.mean(axis=1)), float(low), float(high), a.shape[1])


def minimum_detectable(differences: ArrayLike) -> float:
    """The true difference that a one-sided 5 % test on these clusters finds with power .8: 2.49 standard errors."""
    data = np.asarray(differences, dtype=np.float64)
    return 2.49 * float(_standard_error(data[None])[0]) if len(data) > 1 else float("nan")


def _tied_with(data: Array, best: int, level: float, draws: int, seed: int) -> NDArray[np.bool_]:
    if data.shape[1] < 2:
        return np.ones(len(data), dtype=np.bool_)
    differences = data[best] - data
    errors = _standard_error(differences)
    observed = differences.mean(axis=1)
    testable = errors > _noise(data)
    if not testable.any():
        return observed == 0
    if data.shape[1] < BOOTSTRAP_CLUSTERS:
        limit = stdtrit(data.shape[1] - 1, 1 - (1 - level) / 2 / testable.sum())
    else:
        drawn = _drawn_means(differences[testable], draws, seed)
        drawn = np.abs(drawn - observed[testable, None]) / errors[testable, None]
        limit = np.quantile(drawn.max(axis=0), level)
    tied = observed <= _noise(data)
    tied[testable] = observed[testable] <= limit * errors[testable]
    return tied


def _intervals(data: Array, level: float, draws: int, seed: int, bounds: tuple[float, float]) -> Iterator[Estimate]:
    n = data.shape[1]
    centres = data.mean(axis=1)
    if n < 2:
        yield from (Estimate(float(centre), np.nan, np.nan, n) for centre in centres)
        return
    errors, tail = _standard_error(data), (1 - level) / 2
    spread = errors > _noise(data, axis=1)
    ends = np.stack([centres, centres], axis=1)
    if n < BOOTSTRAP_CLUSTERS:
        reach = stdtrit(n - 1, 1 - tail) * errors[spread]
        ends[spread] += np.stack([-reach, reach], axis=1)
    elif spread.any():
        drawn = zip(data[spread], errors[spread], *_resampled(data[spread], draws, seed), strict=True)
        ends[spread] = [_held_ends(row, float(error), tail, *of_row) for row, error, *of_row in drawn]
    for centre, (low, high), varies in zip(centres, ends, spread, strict=True):
        held = (max(float(low), bounds[0]), min(float(high), bounds[1])) if varies else (float(low), float(high))
        yield Estimate(float(centre), *held, n)


def _held_ends(data: Array, error: float, tail: float, drawn: Array, errors: Array) -> tuple[float, float]:
    """Ends of the studentised interval, none farther from the mean than 1.5 times the expanded BCa end or the data.

    `drawn` and `errors` are the mean and the standard error of each resample (draws,).
    """
    centre = float(data.mean())
    # A draw of equal values, as when it misses all that is damaged, is as far from the mean as can be: to leave it out
    # would end the interval at the mean.
    t = (drawn - centre) / np.maximum(errors, _noise(data))
    upper, lower = np.quantile(t, [1 - tail, tail])
    bca_low, bca_high = _expanded_bca(data, tail, drawn)
    down = min(float(upper) * error, LONGEST_REACH * max(centre - bca_low, 0.0), centre - float(data.min()))
    up = min(-float(lower) * error, LONGEST_REACH * max(bca_high - centre, 0.0), float(data.max()) - centre)
    return centre - down, centre + up


def _expanded_bca(data: Array, tail: float, drawn: Array) -> tuple[float, float]:
    # `tail` is widened by what the normal quantile and the spread of n values lack against Student's t.
    n = len(data)
    wider = -np.sqrt(n / (n - 1)) * stdtrit(n - 1, 1 - tail)
    # A draw whose mean is the data's counts half; which way rounding would tip it differs between machines.
    centred, noise = data - data.mean(), _noise(data)
    below = ((drawn < data.mean() - noise).mean() + (drawn <= data.mean() + noise).mean()) / 2
    bias = ndtri(np.clip(below, 1 / len(drawn), 1 - 1 / len(drawn)))
    skew = (centred**3).sum() / (6 * (centred**2).sum() ** 1.5)
    ends = [ndtr(bias + (bias + z) / (1 - skew * (bias + z))) for z in (wider, -wider)]
    low, high = np.quantile(drawn, ends)
    return float(low), float(high)


def _resampled(data: Array, draws: int, seed: int) -> tuple[Array, Array]:
    """Mean and standard error of every row (rows, clusters) in every resample: two of (rows, draws)."""
    n = data.shape[1]
    centred = data - data.mean(axis=1, keepdims=True)
    shifts, variances = np.empty((2, len(data), draws))
    for part, indices in _indices(n, draws, seed):
        counts = _counts(indices, n)
        shifts[:, part] = centred @ counts.T / n
        squares = centred**2 @ counts.T / n
        variances[:, part] = squares - shifts[:, part] ** 2
        for row, cancelled in enumerate(variances[:, part] <= CANCELLED * squares):
            variances[row, part][cancelled] = centred[row][indices[cancelled]].var(axis=1)
    return data.mean(axis=1, keepdims=True) + shifts, np.sqrt(variances / (n - 1))


def _drawn_means(data: Array, draws: int, seed: int) -> Array:
    """Mean of every row (rows, clusters) in every resample: (rows, draws)."""
    n = data.shape[1]
    return np.hstack([data @ _counts(indices, n).T for _, indices in _indices(n, draws, seed)]) / n


def _indices(n: int, draws: int, seed: int) -> Iterator[tuple[slice, NDArray[np.int64]]]:
    """Resamples of n clusters, a part of the draws at a time: which ones, and the clusters drawn (part, n)."""
    rng = np.random.default_rng(seed)
    for part in _parts(n, draws):
        yield part, rng.integers(0, n, size=(part.stop - part.start, n))


def _parts(n: int, draws: int) -> Iterator[slice]:
    step = max(1, CHUNK // n)
    return (slice(start, min(start + step, draws)) for start in range(0, draws, step))


def _counts(indices: NDArray[np.int64], n: int) -> Array:
    """How often each resample (draws, n) has each cluster: (draws, n)."""
    rows = len(indices)
    flat = (indices + n * np.arange(rows)[:, None]).ravel()
    return np.bincount(flat, minlength=rows * n).reshape(rows, n).astype(np.float64)


def _standard_error(rows: Array) -> Array:
    return rows.std(axis=-1, ddof=1) / np.sqrt(rows.shape[-1]) if rows.shape[-1] > 1 else np.zeros(rows.shape[:-1])


def _noise(data: Array, axis: int | None = None) -> Array:
    # Rounding of equal values must not pass for spread.
    return 1e-12 * np.maximum(1.0, np.abs(data).max(axis=axis))


def _at_least(sums: Array, data: Array, alternative: str) -> NDArray[np.bool_]:
    # Sums (rows, flips) of the rows of data (rows, clusters).
    slack = _noise(data, axis=1)[:, None] * data.shape[1]
    observed = data.sum(axis=1, keepdims=True)
    if alternative == "greater":
        return sums >= observed - slack
    return np.abs(sums) >= np.abs(observed) - slack


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
