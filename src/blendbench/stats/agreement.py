"""How far two metrics rank the same items alike, with tests against a bound.

Spearman's correlation, ties at their mean rank. The p-values are those of Fisher's transform with the standard error of
Bonett & Wright (2000), sqrt((1 + r^2 / 2) / (n - 3)); no random seed enters them.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr

from blendbench.stats.clusters import Array

LEAST = 10  # items, below which the normal approximation says nothing
_LARGEST = 1 - 1e-12


@dataclass(frozen=True)
class Agreement:
    """A rank correlation of n items, and how surely it is on either side of a bound.

    `p_above`, `p_below`: of "it is not above (below) the bound". `low`..`high`: a 95 % interval.
    """

    value: float
    low: float
    high: float
    n: int
    p_above: float
    p_below: float


def rank_agreement(first: ArrayLike, second: ArrayLike, bound: float) -> Agreement | None:
    """Correlate the ranks of two lists of values (items,).

    None if there are fewer than 10 items, or if either has no two different values. Errors: ValueError for unequal
    lengths, or a bound outside (-1, 1).
    """
    x, y = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if x.shape != y.shape or x.ndim != 1 or not -1 < bound < 1:
        raise ValueError(f"{x.shape} and {y.shape} values, bound {bound}: two equal lists and a bound between -1 and 1")
    ranks = mean_ranks(x), mean_ranks(y)
    if len(x) < LEAST or any(np.ptp(r) == 0 for r in ranks):
        return None
    value = float(np.clip(np.corrcoef(*ranks)[0, 1], -_LARGEST, _LARGEST))
    error = math.sqrt((1 + value**2 / 2) / (len(x) - 3))
    centre = math.atanh(value)
    above = (centre - math.atanh(bound)) / error
    low, high = (math.tanh(centre + side * 1.959964 * error) for side in (-1, 1))
    return Agreement(value, low, high, len(x), float(ndtr(-above)), float(ndtr(above)))


def mean_ranks(values: Array) -> Array:
    """Rank values (items,) from 1; equal ones share their mean rank."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: Array = (np.cumsum(counts) - (counts - 1) / 2)[places]
    return ranks
