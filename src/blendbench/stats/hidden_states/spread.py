"""Moments of rows, per item or pooled exactly, with or without weights."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]
FLOOR = 1e-6  # the least standard deviation, as in the blending strategies: a dimension may have no spread at all
Values = dict[str, float | None]
TOP = (1, 2, 8)  # how many of the largest dimensions a share of the second moment is taken of


@dataclass(frozen=True)
class Spread:
    """Moments of `count` rows, in float64.

    mean (dim,); squares (dim,): sums of squared deviations from the mean; directions (dim,): sum of the rows at length
    one, of which there are `directed` (a row of zeros has no direction); largest: the part of the summed squares of all
    values that the longest row holds, averaged over the items of a pool.
    """

    count: float
    mean: Array
    squares: Array
    directions: Array
    directed: float
    largest: float

    @property
    def std(self) -> Array:
        """Return (dim,) population standard deviations, at least 1e-6."""
        spread: Array = np.maximum(np.sqrt(self.squares / self.count), FLOOR)
        return spread

    @property
    def second_moment(self) -> Array:
        """Return (dim,) mean squares."""
        return self.squares / self.count + self.mean**2

    @property
    def mean_direction(self) -> Array:
        """Return (dim,) the unit mean direction; zeros if the rows cancel out."""
        length = np.linalg.norm(self.directions)
        return self.directions / length if length > 0 else self.directions


def spread_of(rows: Array) -> Spread:
    """Compute moments of rows (tokens, dim).

    Errors: ValueError for no rows, another shape, or values that are not finite.
    """
    if rows.ndim != 2 or not len(rows):
        raise ValueError(f"rows of shape {rows.shape}: wanted are (tokens, dim) with at least one token")
    # In float32 the mean of a massive dimension rounds by more than the spread of an ordinary one.
    wide = rows.astype(np.float64)
    if not np.isfinite(wide).all():
        raise ValueError(f"{int((~np.isfinite(wide)).any(axis=1).sum())} of {len(rows)} rows hold values not finite")
    mean = wide.mean(axis=0)
    lengths = np.linalg.norm(wide, axis=1)
    directed = lengths > 0
    directions = (wide[directed] / lengths[directed, None]).sum(axis=0)
    squares = ((wide - mean) ** 2).sum(axis=0)
    energy = float((lengths**2).sum())
    largest = float(lengths.max() ** 2) / energy if energy > 0 else 1 / len(rows)
    return Spread(len(rows), mean, squares, directions, int(directed.sum()), largest)


def pool(spreads: Sequence[Spread], weights: Array | None = None) -> Spread:
    """Pool moments, each part counted `weights` times (default: once).

    Exact, by the update of Chan, Golub & LeVeque 1979; no row is read again.
    """
    times = np.ones(len(spreads)) if weights is None else weights
    counts = times * [part.count for part in spreads]
    means = np.stack([part.mean for part in spreads])
    mean = counts @ means / counts.sum()
    squares = times @ np.stack([part.squares for part in spreads]) + counts @ (means - mean) ** 2
    directions = times @ np.stack([part.directions for part in spreads])
    directed = float(times @ [part.directed for part in spreads])
    largest = float(times @ [part.largest for part in spreads]) / float(times.sum())
    return Spread(float(counts.sum()), mean, squares, directions, directed, largest)


def describe(spread: Spread) -> Values:
    """Return statistics of a set of rows, by name.

    mean, std: over all values together (the seed document's numbers: they follow the largest dimensions and the number
    of tokens). std_median: of the per-dimension standard deviations, which does not. share_top_k: part of the second
    moment that the k largest dimensions hold. largest_token_share: part of it that an item's longest row holds.
    pairwise_cosine: mean cosine of two different rows; None for fewer than two with a direction.
    """
    second = spread.second_moment
    mean = float(spread.mean.mean())
    ordered = np.sort(second)[::-1]
    shares = np.cumsum(ordered) / ordered.sum() if ordered.sum() > 0 else np.zeros_like(ordered)
    return {
        "mean": mean,
        "std": float(np.sqrt(max(0.0, float(second.mean()) - mean**2))),
        "std_median": float(np.median(spread.std)),
        "std_max": float(spread.std.max()),
        **{f"share_top_{k}": float(shares[min(k, len(shares)) - 1]) for k in TOP},
        "largest_token_share": spread.largest,
        "pairwise_cosine": pairwise_cosine(spread),
    }


def pairwise_cosine(spread: Spread) -> float | None:
    """Return the mean cosine over pairs: (|sum u|^2 - n) / (n (n - 1))."""
    n = spread.directed
    if n < 2:
        return None
    return float((spread.directions @ spread.directions - n) / (n * (n - 1)))
