"""Effective rank and Fréchet distance against closed forms and scipy's matrix square root."""

import numpy as np
import pytest
from scipy.linalg import sqrtm
from scipy.stats import entropy

from blendbench.stats.hidden_states.compare import effective_rank, frechet_distance, root

RNG = np.random.default_rng(0)


def covariance_of(rows: np.ndarray) -> np.ndarray:
    return np.cov(rows.T, bias=True)


def test_effective_rank_of_known_spectra() -> None:
    assert effective_rank(np.eye(5) * 7.3) == pytest.approx(5)
    assert effective_rank(np.diag([4.0, 0, 0])) == pytest.approx(1)
    assert effective_rank(np.diag([1.0, 1, 0, 0])) == pytest.approx(2)
    assert effective_rank(np.zeros((3, 3))) is None


def test_effective_rank_is_roy_and_vetterlis_of_the_centred_rows() -> None:
    rows = RNG.normal(size=(40, 12)) @ RNG.normal(size=(12, 12))
    singular = np.linalg.svd(rows - rows.mean(0), compute_uv=False)
    found = effective_rank(covariance_of(rows))
    assert found == pytest.approx(np.exp(entropy(singular)))
    assert effective_rank(covariance_of(rows * 1e-3)) == pytest.approx(found)


def test_fewer_rows_than_dimensions_cannot_have_a_higher_rank() -> None:
    found = effective_rank(covariance_of(RNG.normal(size=(6, 50))))
    assert found is not None
    assert 1 < found <= 5 + 1e-6


@pytest.mark.parametrize("n", [5, 400])  # also fewer rows than dimensions
def test_frechet_distance_is_the_published_formula(n: int) -> None:
    a = RNG.normal(size=(n, 8)) @ RNG.normal(size=(8, 8))
    b = RNG.normal(size=(n, 8)) * 2 + 1
    ca, cb = covariance_of(a) + 1e-9 * np.eye(8), covariance_of(b) + 1e-9 * np.eye(8)
    cross = np.real(sqrtm(ca @ cb))
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(ca + cb - 2 * cross)
    there = frechet_distance(a.mean(0), ca, b.mean(0), root(cb))
    assert there == pytest.approx(expected, rel=1e-4)
    assert frechet_distance(b.mean(0), cb, a.mean(0), root(ca)) == pytest.approx(there, rel=1e-6)


def test_frechet_distance_of_diagonal_gaussians() -> None:
    a, b = np.array([1.0, 4.0]), np.array([9.0, 4.0])
    found = frechet_distance(np.array([0.0, 1.0]), np.diag(a), np.array([2.0, 1.0]), root(np.diag(b)))
    assert found == pytest.approx(2**2 + (1 - 3) ** 2)
    assert frechet_distance(np.ones(2), np.diag(a), np.ones(2), root(np.diag(a))) == pytest.approx(0, abs=1e-12)
