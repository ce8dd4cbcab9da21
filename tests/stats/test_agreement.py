"""Rank agreement: known values, and tests that keep their level."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from blendbench.stats.agreement import mean_ranks, rank_agreement


def test_it_is_spearman_s_correlation_with_ties() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 5, 60), rng.integers(0, 5, 60)
    found = rank_agreement(x, y, 0.5)
    assert found is not None and found.value == pytest.approx(spearmanr(x, y).statistic)
    assert found.low < found.value < found.high
    assert found.p_above + found.p_below == pytest.approx(1)
    assert mean_ranks(np.array([3.0, 1.0, 3.0, 2.0])).tolist() == [3.5, 1, 3.5, 2]


def test_equal_and_opposite_orders_are_on_the_ends() -> None:
    x = np.arange(20.0)
    same, opposite = rank_agreement(x, x**3, 0.5), rank_agreement(x, -x, 0.5)
    assert same is not None and opposite is not None
    assert (round(same.value, 6), round(opposite.value, 6)) == (1, -1)
    assert same.p_above < 1e-6 and opposite.p_below < 1e-6


def test_what_has_no_order_has_no_agreement() -> None:
    assert rank_agreement(np.arange(9), np.arange(9), 0.5) is None
    assert rank_agreement(np.arange(20), np.zeros(20), 0.5) is None
    with pytest.raises(ValueError, match="bound 1"):
        rank_agreement(np.arange(20), np.arange(20), 1)
    with pytest.raises(ValueError, match="equal lists"):
        rank_agreement(np.arange(20), np.arange(21), 0)


@pytest.mark.parametrize("items", [24, 288])
def test_a_correlation_at_the_bound_is_found_on_either_side_in_five_of_a_hundred(items: int) -> None:
    rng, bound, trials = np.random.default_rng(items), 0.5, 2000
    # Spearman's correlation of a normal pair with correlation r is 6 / pi asin(r / 2).
    r = 2 * np.sin(np.pi * bound / 6)
    first = rng.standard_normal((trials, items))
    second = r * first + np.sqrt(1 - r**2) * rng.standard_normal((trials, items))
    found = [rank_agreement(x, y, bound) for x, y in zip(first, second, strict=True)]
    for p in ([f.p_above for f in found if f], [f.p_below for f in found if f]):
        assert 0.02 < np.mean(np.array(p) < 0.05) < 0.07
    assert 0.93 < np.mean([f.low <= bound <= f.high for f in found if f]) < 0.97
