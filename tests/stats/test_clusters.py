"""Cluster means and the resamples that many rows share."""

import numpy as np
import pytest
from numpy.typing import NDArray

from blendbench.stats import clusters
from blendbench.stats.clusters import cluster_means, resampled_means, resampled_moments

Array = NDArray[np.float64]


def test_cluster_means_average_seeds_within_items() -> None:
    assert cluster_means([1, 3, 10], ["b", "b", "a"]).tolist() == [10, 2]


def test_cluster_means_of_rows_weigh_clusters_of_unequal_size_alike() -> None:
    rows = np.array([[1.0, 3.0, 10.0, 5.0], [0.0, 1.0, 2.0, 3.0]])
    assert cluster_means(rows, ["b", "b", "a", "b"]).tolist() == [[10, 3], [2, 4 / 3]]


@pytest.mark.parametrize("values", [[], [1.0], [1.0, float("nan")], [[1.0], [2.0]]])
def test_cluster_means_refuse_missing_values(values: list[float]) -> None:
    with pytest.raises(ValueError, match=r"unit|finite"):
        cluster_means(values, ["a", "b"])


def _rows(shape: str, n: int) -> Array:
    """Rows as metrics give them: spread, sparse, few levels, one defect, tiny spread, and a no-op among others."""
    rng = np.random.default_rng(30)
    if shape == "normal":
        return rng.normal(0.3, 1, (5, n))
    if shape == "sparse":
        return np.where(rng.random((5, n)) < 0.1, rng.random((5, n)), 0.0)
    if shape == "levels":
        return rng.integers(0, 4, (5, n)) / 3
    if shape == "one":
        return np.eye(n)[:5] * 0.3
    if shape == "tiny":
        return 0.5 + 1e-9 * rng.normal(0, 1, (5, n))
    scale: Array = np.array([[1.0], [0.0], [0.1], [1.0], [2.0]])
    return rng.normal(0, 1, (5, n)) * scale


def _by_gathering(row: Array, resamples: int, seed: int) -> tuple[Array, Array]:
    """Compute means and standard errors of the resamples of one row from the gathered values."""
    gathered = row[np.random.default_rng(seed).integers(0, len(row), size=(resamples, len(row)))]
    return gathered.mean(axis=1), gathered.std(axis=1, ddof=1) / np.sqrt(len(row))


@pytest.mark.parametrize("shape", ["normal", "sparse", "levels", "one", "tiny", "no-op"])
@pytest.mark.parametrize("n", [10, 24, 61])
def test_resamples_of_many_rows_are_those_of_each_row(shape: str, n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = _rows(shape, n)
    for chunk in (clusters.CHUNK, 100):  # as many resamples at once as fit, and few
        monkeypatch.setattr(clusters, "CHUNK", chunk)
        found = resampled_moments(rows, 299, seed=4)
        expected = [_by_gathering(row, 299, seed=4) for row in rows]
        for ours, theirs in zip(found, zip(*expected, strict=True), strict=True):
            assert ours == pytest.approx(np.stack(theirs), abs=1e-13, rel=1e-10)
        assert resampled_means(rows, 299, seed=4) == pytest.approx(np.stack([m for m, _ in expected]), abs=1e-12)
