"""Cluster means and the resamples that many rows share."""

import numpy as np
import pytest
from numpy.typing import NDArray

from blendbench.stats import clusters
from blendbench.stats.clusters import cluster_means, resampled_means, resampled_moments, standard_errors, strata_groups

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


def test_strata_of_one_cluster_form_a_stratum_or_join_the_smallest() -> None:
    assert [group.tolist() for group in strata_groups(None, 3)] == [[0, 1, 2]]
    assert [group.tolist() for group in strata_groups("abab", 4)] == [[0, 2], [1, 3]]
    assert [group.tolist() for group in strata_groups("aabbbc", 6)] == [[0, 1, 5], [2, 3, 4]]
    assert [group.tolist() for group in strata_groups("aabcd", 5)] == [[0, 1], [2, 3, 4]]
    assert [group.tolist() for group in strata_groups("abc", 3)] == [[0, 1, 2]]
    with pytest.raises(ValueError, match="2 strata for 3 clusters"):
        strata_groups("ab", 3)


@pytest.mark.parametrize("shape", ["normal", "sparse", "levels", "one", "tiny", "no-op"])
def test_stratified_resamples_keep_the_number_of_each_stratum(shape: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, groups = _rows(shape, 20), strata_groups("aabbb" * 4, 20)
    monkeypatch.setattr(clusters, "CHUNK", 100)
    means, errors = resampled_moments(rows, 99, seed=4, groups=groups)
    assert resampled_means(rows, 99, seed=4, groups=groups) == pytest.approx(means, abs=1e-12)
    chosen = np.vstack([indices for _, indices in clusters._indices(20, 99, 4, groups)])
    assert (np.isin(chosen, groups[0]).sum(axis=1) == 8).all()
    gathered = rows[:, chosen]
    assert means == pytest.approx(gathered.mean(axis=2), abs=1e-12)
    variance = 8 * gathered[..., :8].var(axis=2, ddof=1) + 12 * gathered[..., 8:].var(axis=2, ddof=1)
    assert errors == pytest.approx(np.sqrt(variance) / 20, abs=1e-13, rel=1e-10)


def test_the_standard_error_within_strata_is_that_of_a_stratified_sample() -> None:
    rng, strata = np.random.default_rng(5), np.array(["a"] * 10 + ["b"] * 30)
    samples = rng.normal(0, 1, (2000, 40)) + 5 * (strata == "b")
    errors = standard_errors(samples, strata_groups(strata.tolist(), 40))
    assert np.sqrt((errors**2).mean()) == pytest.approx(samples.mean(axis=1).std(), rel=0.05)
    assert standard_errors(samples).mean() > 2 * errors.mean()
