"""Means of clusters, and resamples of clusters that many rows share.

Resamples are generated once, as counts of each cluster. One matrix product then gives every mean, and another every
sum of squares, of many configurations over the same clusters.

Where clusters have strata (kinds of items whose numbers are fixed by the suite), resamples keep the number of each, and
spread is measured within them. The mean is the plain mean over clusters in any case.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Numbers held at once while resampling: 2 MiB, which stay in a cache, however many clusters there are.
CHUNK = 2**18
# Up to this many numbers resamples are kept, for the metrics of a page share them: 12 MiB.
KEPT = 3 * 2**20
# A variance this small a part of its sum of squares has lost too many digits, and is computed again from the values.
CANCELLED = 1e-3
# Relative size below which a difference is taken for rounding: values are means of float64 scores of order 1.
ROUNDING = 1e-12
Array = NDArray[np.float64]
Groups = list[NDArray[np.int64]]


def cluster_means(values: ArrayLike, clusters: Sequence[object]) -> Array:
    """Average `values` (..., units) within each cluster (units,).

    Returns (..., clusters), in the sorted order of the clusters. Errors: ValueError for unequal lengths, no values, or
    a value that is not finite (missing pairs are the caller's to report, not to leave out silently).
    """
    units = np.asarray(values, dtype=np.float64)
    if units.ndim == 0 or units.shape[-1] != len(clusters) or units.size == 0:
        raise ValueError(f"{units.shape} values for {len(clusters)} cluster names; both must be one list of units")
    if not np.isfinite(units).all():
        raise ValueError("values must be finite; a missing value is not an observation")
    _, index = np.unique(np.asarray(clusters), return_inverse=True)
    rows = [np.bincount(index, weights=row) for row in units.reshape(-1, units.shape[-1])]
    return np.stack(rows).reshape(*units.shape[:-1], -1) / np.bincount(index)


def strata_groups(strata: Sequence[object] | None, clusters: int) -> Groups:
    """Return the columns of each stratum; one group without strata.

    A stratum of one cluster has no spread to resample. All such form a stratum together, or join the smallest other one
    where there is but one. Errors: ValueError unless there is a label for each cluster.
    """
    if strata is None:
        return [np.arange(clusters)]
    if len(strata) != clusters:
        raise ValueError(f"{len(strata)} strata for {clusters} clusters; there must be a label for each")
    _, index = np.unique([str(label) for label in strata], return_inverse=True)
    groups = [np.flatnonzero(index == k) for k in range(index.max() + 1)]
    single = [group for group in groups if len(group) == 1]
    groups = sorted((group for group in groups if len(group) > 1), key=len)
    if len(single) == 1 and groups:
        groups[0] = np.sort(np.concatenate([groups[0], single[0]]))
    elif single:
        groups.append(np.concatenate(single))
    return sorted(groups, key=lambda group: int(group[0]))


def standard_errors(rows: Array, groups: Groups | None = None) -> Array:
    """Return the standard error of the mean of each row (..., clusters).

    0 for a single cluster. `groups`: the strata that the spread is measured within.
    """
    n = rows.shape[-1]
    if n < 2:
        return np.zeros(rows.shape[:-1])
    groups = groups or [np.arange(n)]
    variance = sum(rows[..., group].var(axis=-1, ddof=1) * len(group) for group in groups)
    errors: Array = np.sqrt(variance) / n
    return errors


def rounding_of(data: Array, axis: int | None = None) -> Array:
    """Return the size up to which a spread of `data` is rounding error."""
    size: Array = ROUNDING * np.maximum(1.0, np.abs(data).max(axis=axis))
    return size


def resampled_means(data: Array, resamples: int, seed: int, groups: Groups | None = None) -> Array:
    """Return (rows, resamples) means of (rows, clusters), by groups if given."""
    n = data.shape[1]
    counted = _resamples(n, resamples, seed, groups)
    means: Array = np.hstack([data @ counts.T.astype(np.float64) for _, _, counts in counted]) / n
    return means


def resampled_moments(data: Array, resamples: int, seed: int, groups: Groups | None = None) -> tuple[Array, Array]:
    """Return means and standard errors of rows (rows, clusters) by resample.

    Two arrays of (rows, resamples). `groups`: the strata to resample within.
    """
    n = data.shape[1]
    groups = groups or [np.arange(n)]
    parts = [data if len(group) == n else data[:, group] for group in groups]
    centres = [part - part.mean(axis=1, keepdims=True) for part in parts]
    shifts, variances = np.zeros((2, len(data), resamples))
    for part, indices, small in _resamples(n, resamples, seed, groups):
        start = 0
        for group, centred in zip(groups, centres, strict=True):
            size = len(group)
            of_group = (small if size == n else small[:, group]).astype(np.float64)
            shift = centred @ of_group.T / size
            squares = centred**2 @ of_group.T / size
            variance = squares - shift**2
            cancelled = variance <= CANCELLED * squares
            for row in np.flatnonzero(cancelled.any(axis=1)):
                # The resample's clusters of this group lie together.
                chosen = np.searchsorted(group, indices[cancelled[row], start : start + size])
                variance[row][cancelled[row]] = centred[row][chosen].var(axis=1)
            shifts[:, part] += shift * (size / n)
            variances[:, part] += variance * (size / (size - 1)) * (size / n**2)
            start += size
    return data.mean(axis=1, keepdims=True) + shifts, np.sqrt(variances)


def _resamples(
    n: int, resamples: int, seed: int, groups: Groups | None
) -> Iterable[tuple[slice, NDArray[np.integer[Any]], NDArray[np.integer[Any]]]]:
    """Return all resamples: each part with its clusters, and how often each cluster is in it."""
    if n * resamples > KEPT or n >= 2**16:
        return ((part, rows, _counts(rows, n)) for part, rows in _indices(n, resamples, seed, groups))
    return _kept_resamples(n, resamples, seed, tuple(tuple(group.tolist()) for group in groups or [np.arange(n)]))


@lru_cache(maxsize=4)
def _kept_resamples(
    n: int, resamples: int, seed: int, columns: tuple[tuple[int, ...], ...]
) -> list[tuple[slice, NDArray[np.uint16], NDArray[np.uint16]]]:
    groups = [np.array(group, dtype=np.int64) for group in columns]
    return [
        (part, rows.astype(np.uint16), _counts(rows, n).astype(np.uint16))
        for part, rows in _indices(n, resamples, seed, groups)
    ]


def _indices(
    n: int, resamples: int, seed: int, groups: Groups | None = None
) -> Iterator[tuple[slice, NDArray[np.int64]]]:
    """Yield resamples with clusters (part, n), those of a group together."""
    rng = np.random.default_rng(seed)
    step = max(1, CHUNK // n)
    groups = groups or [np.arange(n)]
    for start in range(0, resamples, step):
        part = slice(start, min(start + step, resamples))
        sizes = [(part.stop - part.start, len(group)) for group in groups]
        yield (
            part,
            np.hstack([group[rng.integers(0, len(group), size)] for group, size in zip(groups, sizes, strict=True)]),
        )


def _counts(indices: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """Count each cluster in each resample (resamples, n): (resamples, n)."""
    rows = len(indices)
    flat = (indices + n * np.arange(rows)[:, None]).ravel()
    return np.bincount(flat, minlength=rows * n).reshape(rows, n)
