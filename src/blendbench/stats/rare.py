"""Bounds of a mean that few clusters carry.

Where most values are 0, or the greatest or least possible, the spread of the others is hardly known: with none of n
changed, 1 - .025^(1/n) of all may be (14 % at 24), each by as much as the metric allows. The fraction that changed has
exact ends (Clopper & Pearson 1934). Changes of unequal size count as so many of equal size as have the same sum and
sum of squares, and the upper end allows for one more change of the largest size (Fay & Feuer 1997, for the binomial in
place of the Poisson). Rises and falls are bounded apart, and combined by the squares of their reaches (Zou & Donner
2008).
"""

import math

import numpy as np
from scipy.special import betaincinv

from blendbench.stats.clusters import Array

# Changes below this part of the metric's range are none.
UNCHANGED = 1e-3
# A change that was not seen may exceed all that were: it is taken to be at least this part of the range.
UNSEEN = 0.25


def rare_ends(data: Array, tail: float, bounds: tuple[float, float]) -> tuple[float, float] | None:
    """Return ends of the mean of values (clusters,) that are rarely anything but 0.

    The same holds for values that are mostly at one of `bounds`, the least and greatest possible value. None where half
    of the values or more are something else. Where a bound is infinite and every value 0, nothing is known, and the
    ends are NaN.
    """
    n, median = len(data), float(np.median(data))
    away = data - median
    finite = math.isfinite(bounds[1] - bounds[0])
    # Half of what two values can differ by; without a range the largest change that was seen.
    scale = (bounds[1] - bounds[0]) / 2 if finite else float(np.abs(away).max())
    if min(abs(median - anchor) for anchor in (0.0, *bounds)) > UNCHANGED * scale:
        return None
    changed = away[np.abs(away) > UNCHANGED * scale]
    if 2 * len(changed) >= n:
        return None
    if not len(changed) and not finite:
        return math.nan, math.nan
    largest = max(float(np.abs(changed).max()), UNSEEN * scale if finite else 0.0) if len(changed) else math.inf
    rise, fall = (
        _rate(sizes[sizes > 0], min(largest, room), n, tail)
        for sizes, room in ((changed, bounds[1] - median), (-changed, median - bounds[0]))
    )
    down = math.hypot(rise[0] - rise[1], fall[2] - fall[0])
    up = math.hypot(rise[2] - rise[0], fall[0] - fall[1])
    mean = float(data.mean())
    return mean - down, mean + up


def _rate(sizes: Array, largest: float, n: int, tail: float) -> tuple[float, float, float]:
    """Return sum / n of positive sizes, and its lower and upper end."""
    total, squares = float(sizes.sum()), float((sizes**2).sum())
    low = high = 0.0
    # Squares of next to nothing may be 0.
    if squares > 0:
        count = total**2 / squares
        low = squares / total * float(betaincinv(count, n - count + 1, tail))
    total_more, squares_more = total + largest, squares + largest**2
    if squares_more > 0:
        count = total_more**2 / squares_more
        high = squares_more / total_more * float(betaincinv(count, n - count + 1, 1 - tail))
    return total / n, low, high
