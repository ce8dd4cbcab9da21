"""Exact p-values of paired differences, independent of random seeds.

Under the null hypothesis the differences of the clusters are symmetric about 0: every choice of signs is as likely as
the observed one. p is the fraction of the choices whose sum is at least as extreme as the observed sum.

A sum of signed values exceeds the observed one exactly if the values with a minus sign sum to less than those that had
a minus sign in the data. So p is the probability that a random subset of the absolute differences sums to at most a
limit, and differences of 0 have no part in it.

- Up to 36 differences that are not 0, the subsets are counted: p is exact. The sums of the subsets of either half are
  sorted, and for each sum of the first the fitting sums of the second are counted (Horowitz & Sahni 1974).
- With more, absolute differences are rounded to a grid, and the distribution of subset sums on the grid is computed by
  dynamic programming. The limit is raised by all that rounding can have added, so p is never understated. It is at most
  the exact p of data whose mean is nearer to 0 by one step of the grid: by a hundredth of the mean's standard error
  under the null hypothesis. (The step grows beyond that only for more than about 480 clusters, to bound the memory.)
  On average it is a quarter of that, which raises a p near .05 by less than 1 %.

Ties: sums that differ by no more than rounding are equal, and count as at least as extreme. The tolerance is 1e-12 for
each cluster, or 1e-12 of the largest difference if that is above 1. Differences within the tolerance are 0.
"""

import math
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from blendbench.stats.clusters import Array, rounding_of

EXACT_CLUSTERS = 36
# Steps of the grid in a standard error of the sum, for each cluster; and the most cells that a grid may have.
STEPS = 100
MOST_CELLS = 2**20
# Powers of a half are put on in blocks, each far from underflow.
HALVINGS = 512
Alternative = Literal["two-sided", "greater"]


def sign_flip_p(differences: ArrayLike, alternative: Alternative = "two-sided") -> float:
    """Return p of "the cluster differences (clusters,) are symmetric about 0".

    `alternative`: the evidence against it, a mean away from 0 on either side, or above it.
    Errors: ValueError for no differences, or one that is not finite.
    """
    return float(sign_flip_ps(np.asarray(differences, dtype=np.float64)[None], alternative)[0])


def sign_flip_ps(rows: ArrayLike, alternative: Alternative = "two-sided") -> Array:
    """Apply `sign_flip_p` to rows of differences (rows, clusters): (rows,)."""
    data = np.asarray(rows, dtype=np.float64)
    if data.ndim != 2 or data.shape[1] == 0 or not np.isfinite(data).all():
        raise ValueError(f"{data.shape} differences: finite values of at least one cluster are needed in every row")
    return np.array([_p(row, alternative) for row in data], dtype=np.float64)


def least_p(clusters: int, alternative: Alternative = "two-sided") -> float:
    """Return the least p of so many clusters: 2^-(n - 1), half of it one-sided."""
    return math.ldexp(1.0, -clusters) if alternative == "greater" else min(1.0, math.ldexp(1.0, 1 - clusters))


def _p(row: Array, alternative: Alternative) -> float:
    rounding = float(rounding_of(row))
    slack = rounding * len(row)
    sizes = np.sort(np.abs(row))
    sizes = sizes[sizes > rounding]
    # Exact sums: the order of the clusters must not matter.
    below, above = math.fsum(-row[row < 0]), math.fsum(row[row > 0])
    if alternative == "greater":
        return _subset_probability(sizes, below + slack)
    if abs(above - below) <= 2 * slack:
        return 1.0
    return min(1.0, 2 * _subset_probability(sizes, min(below, above) + slack))


def _subset_probability(sizes: Array, limit: float) -> float:
    """Return P(a random subset of ascending `sizes` sums to <= `limit`)."""
    if len(sizes) <= EXACT_CLUSTERS:
        # The subsets above the limit are those whose complement is below the rest: the fewer ones are counted. Sums
        # are never on the limit itself, which is a tolerance above those that are equal.
        rest = math.fsum(sizes) - limit
        if rest < limit:
            return 1 - math.ldexp(float(_count_subsets(sizes, rest)), -len(sizes))
        return math.ldexp(float(_count_subsets(sizes, limit)), -len(sizes))
    return _grid_probability(sizes, limit)


def _count_subsets(sizes: Array, limit: float) -> int:
    """Count subsets of `sizes` with sums <= `limit`, meeting in the middle."""
    first, second = _subset_sums(sizes[::2], limit), _subset_sums(sizes[1::2], limit)
    # searchsorted is twice as fast for keys that ascend and are contiguous.
    keys = np.ascontiguousarray((limit - first)[::-1])
    return int(np.searchsorted(second, keys, side="right").sum())


def _subset_sums(sizes: Array, limit: float) -> Array:
    sums = np.zeros(1)
    for size in sizes[::-1]:
        # A stable sort merges the two ascending runs in linear time. The largest size first leaves the fewest sums.
        sums = np.sort(np.concatenate([sums, sums + size]), kind="stable")
        sums = sums[: np.searchsorted(sums, limit, side="right")]
    return sums


def _grid_probability(sizes: Array, limit: float) -> float:
    """Bound P(a random subset sums to <= `limit`) from above, on a grid."""
    step = max(math.sqrt(math.fsum(sizes**2)) / (STEPS * len(sizes)), math.fsum(sizes) / MOST_CELLS)
    cells = np.rint(sizes / step).astype(np.int64)
    # A subset is above its true sum by at most what its members were rounded up by.
    rounded_up = math.fsum(np.maximum(cells - sizes / step, 0.0))
    last = math.floor(limit / step + rounded_up + 1e-6)
    first, second = _masses(cells[::2], last), _masses(cells[1::2], last)
    reached = np.cumsum(second)[np.minimum(last - np.arange(len(first)), len(second) - 1)]
    # The factor covers the rounding of some thousand sums of numbers that are not negative.
    return min(1.0, float(first @ reached) * (1 + 1e-12))


def _masses(cells: NDArray[np.int64], last: int) -> Array:
    """Return probabilities of subset sums of ascending `cells` up to `last`."""
    # Two arrays in turn: a new one for each of thousands of sums would take as long as the sums.
    masses, other = np.zeros((2, min(int(cells.sum()), last) + 1))
    masses[0] = 1.0
    size = 1
    for start in range(0, len(cells), HALVINGS):
        block = cells[start : start + HALVINGS]
        masses[:size] *= math.ldexp(1.0, -len(block))
        for shift in map(int, block):
            grown = min(size + shift, len(masses))
            other[:shift] = masses[:shift]
            np.add(masses[shift:grown], masses[: max(0, grown - shift)], out=other[shift:grown])
            masses, other, size = other, masses, grown
    return masses
