"""Means of clusters, and resamples of clusters that many rows share.

Resamples are generated once, as counts of each cluster. One matrix product then gives every mean, and another every
sum of squares, of many configurations over the same clusters.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Numbers held at once while resampling: 2 MiB, which stay in a cache, however many clusters there are.
CHUNK = 2**18
# A variance this small a part of its sum of squares has lost too many digits, and is computed again from the values.
CANCELLED = 1e-3
# Relative size below which a difference is taken for rounding: values are means of float64 scores of order 1.
ROUNDING = 1e-12
Array = NDArray[np.float64]


def cluster_means(values: ArrayLike, clusters: Sequence[object]) -> Array:
    """Average `values` (..., units) within each cluster (units,).

    Returns (..., clusters), in the sorted order of the clusters.
    Errors: ValueError for unequal lengths, no values, or a value that is not finite (missing pairs are the caller's to
    report, not to leave out silently).
    """
    units = np.asarray(values, dtype=np.float64)
    if units.ndim == 0 or units.shape[-1] != len(clusters) or units.size == 0:
        raise ValueError(f"{units.shape} values for {len(clusters)} cluster names; both must be one list of units")
    if not np.isfinite(units).all():
        raise ValueError("values must be finite; a missing value is not an observation")
    _, index = np.unique(np.asarray(clusters), return_inverse=True)
    rows = [np.bincount(index, weights=row) for row in units.reshape(-1, units.shape[-1])]
    return np.stack(rows).reshape(*units.shape[:-1], -1) / np.bincount(index)


def standard_errors(rows: Array) -> Array:
    """Return the standard error of the mean of each row (..., clusters).

    0 for a single cluster.
    """
    if rows.shape[-1] < 2:
        return np.zeros(rows.shape[:-1])
    errors: Array = rows.std(axis=-1, ddof=1) / np.sqrt(rows.shape[-1])
    return errors


def rounding_of(data: Array, axis: int | None = None) -> Array:
    """Return the size up to which a spread of `data` is rounding error."""
    size: Array = ROUNDING * np.maximum(1.0, np.abs(data).max(axis=axis))
    return size


def resampled_means(data: Array, resamples: int, seed: int) -> Array:
    """Return (rows, resamples) means of rows (rows, clusters)."""
    n = data.shape[1]
    means: Array = np.hstack([data @ _counts(indices, n).T for _, indices in _indices(n, resamples, seed)]) / n
    return means


def resampled_moments(data: Array, resamples: int, seed: int) -> tuple[Array, Array]:
    """Return means and standard errors of rows (rows, clusters) by resample.

    Two arrays of (rows, resamples).
    """
    n = data.shape[1]
    centred = data - data.mean(axis=1, keepdims=True)
    shifts, variances = np.empty((2, len(data), resamples))
    for part, indices in _indices(n, resamples, seed):
        counts = _counts(indices, n)
        shifts[:, part] = centred @ counts.T / n
        squares = centred**2 @ counts.T / n
        variances[:, part] = squares - shifts[:, part] ** 2
        for row, cancelled in enumerate(variances[:, part] <= CANCELLED * squares):
            variances[row, part][cancelled] = centred[row][indices[cancelled]].var(axis=1)
    return data.mean(axis=1, keepdims=True) + shifts, np.sqrt(variances / (n - 1))


def _indices(n: int, resamples: int, seed: int) -> Iterator[tuple[slice, NDArray[np.int64]]]:
    """Yield some resamples at a time, with their clusters (part, n)."""
    rng = np.random.default_rng(seed)
    step = max(1, CHUNK // n)
    for start in range(0, resamples, step):
        part = slice(start, min(start + step, resamples))
        yield part, rng.integers(0, n, size=(part.stop - part.start, n))


def _counts(indices: NDArray[np.int64], n: int) -> Array:
    """Count each cluster in each resample (resamples, n): (resamples, n)."""
    rows = len(indices)
    flat = (indices + n * np.arange(rows)[:, None]).ravel()
    return np.bincount(flat, minlength=rows * n).reshape(rows, n).astype(np.float64)
