"""Intervals by item, and the statistics of a layer put together."""

import numpy as np
import pytest
from scipy.stats import t

from blendbench.stats.hidden_states.layer import (
    intervals,
    largest_dimensions,
    mean_interval,
    outlier_dimensions,
    own_statistics,
    reference_statistics,
    summarise,
    word_cosine,
)
from blendbench.stats.hidden_states.spread import Spread, Values, pool, spread_of

RNG = np.random.default_rng(3)


def items_of(n: int, dim: int = 6, spread: float = 1.0) -> list[np.ndarray]:
    return [RNG.normal(size=(4 + i % 3, dim)) * spread + RNG.normal(size=dim) for i in range(n)]


def test_the_interval_of_a_mean_is_students() -> None:
    values = RNG.normal(size=9)
    half = t.ppf(0.975, 8) * values.std(ddof=1) / 3

    def first_mean(spread: Spread) -> Values:
        return {"mean": float(spread.mean[0])}

    low, high = intervals(first_mean, [spread_of(np.array([[v]])) for v in values])["mean"]
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half))
    assert mean_interval(list(values)) == pytest.approx((low, high))


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    """Items differ in their means, so that intervals over tokens would be far too narrow."""

    def mean_of(spread: Spread) -> Values:
        return {"mean": float(spread.mean.mean()), "std": float(spread.std.mean())}

    held = 0
    for _ in range(200):
        items = [spread_of(RNG.normal(size=(20, 3)) + 2 * RNG.normal()) for _ in range(12)]
        low, high = intervals(mean_of, items)["mean"]
        held += low <= 0 <= high
    assert 0.9 <= held / 200 <= 0.99


def test_no_interval_where_there_is_nothing_to_go_by() -> None:
    def sometimes(spread: Spread) -> Values:
        return {"never": None, "rarely": 1.0 if spread.count == 2 else None, "always": 1.0}

    parts = [spread_of(np.ones((n, 1))) for n in (1, 1, 2)]
    assert intervals(sometimes, parts) == {"always": (1.0, 1.0)}
    assert intervals(sometimes, parts[:2]) == {}
    assert mean_interval([1.0, 2.0]) is None


def test_a_summary_is_that_of_all_rows() -> None:
    items = items_of(5)
    rows = np.concatenate(items)
    found = own_statistics(summarise(items))
    assert (found["tokens"].value, found["items"].value) == (len(rows), 5)
    assert found["std"].value == pytest.approx(rows.std())
    np.testing.assert_allclose(summarise(items).covariance, np.cov(rows.T, bias=True))
    for name in ("std", "std_median", "pairwise_cosine"):
        estimate = found[name]
        assert estimate.low is not None
        assert estimate.high is not None
        assert estimate.value is not None
        assert estimate.low < estimate.value < estimate.high
    assert found["std_max"].low is found["effective_rank"].low is None


def test_rows_equal_to_the_reference_are_at_no_distance() -> None:
    summary = summarise(items_of(4))
    found = {name: estimate.value for name, estimate in reference_statistics(summary, summary).items()}
    assert found["pearson"] == found["spearman"] == found["log_pearson"] == pytest.approx(1)
    assert found["ratio_min"] == found["ratio_max"] == 1
    assert found["frechet"] == found["frechet_relative"] == pytest.approx(0, abs=1e-6)
    assert found["cosine_to_reference"] == found["reference_cosine"]


def test_a_multiple_of_the_rows_differs_in_size_alone() -> None:
    items = items_of(4)
    found = {
        name: estimate.value
        for name, estimate in reference_statistics(summarise([3 * rows for rows in items]), summarise(items)).items()
    }
    assert found["log_pearson"] == pytest.approx(1)
    assert found["ratio_median"] == pytest.approx(3)
    assert found["cosine_to_reference"] == pytest.approx(found["reference_cosine"])
    rows = np.concatenate(items)
    assert found["frechet"] == pytest.approx(4 * (rows.mean(0) ** 2).sum() + 4 * rows.var(0).sum())


def test_intervals_stay_within_what_a_statistic_can_be() -> None:
    reference = items_of(6)
    near = [rows + 1e-3 * RNG.normal(size=rows.shape) for rows in reference]
    found = reference_statistics(summarise(near), summarise(reference))
    for name in ("pearson", "spearman", "log_pearson", "cosine_to_reference"):
        high = found[name].high
        assert high is not None and high <= 1


def test_dimensions_that_stand_out_come_with_both_sides() -> None:
    reference = RNG.normal(size=(200, 6)) * [1, 1, 50, 1, 1, 1]
    rows = RNG.normal(size=(200, 6)) * [1, 1, 1, 1, 8, 1]
    first, second = outlier_dimensions(spread_of(rows), spread_of(reference), 2)
    assert (first.dimension, second.dimension) == (2, 4)
    assert first.ratio == pytest.approx(rows[:, 2].std() / reference[:, 2].std())
    assert first.reference_share is not None
    assert first.reference_share > 0.9
    largest = largest_dimensions(pool([spread_of(reference)]), 3)
    assert largest[0].dimension == 2
    assert largest[0].share == pytest.approx(first.reference_share)


def test_words_are_compared_one_by_one() -> None:
    items = items_of(3)
    assert word_cosine(items, [2 * rows for rows in items]).value == pytest.approx(1)
    assert word_cosine(items, [-rows for rows in items]).value == pytest.approx(-1)
    assert word_cosine(items, [rows[1:] for rows in items]).value is None
