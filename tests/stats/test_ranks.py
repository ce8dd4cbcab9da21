"""Ranks and rank correlation against scipy and simulation."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from blendbench.stats import ranks
from blendbench.stats.ranks import simultaneous_ranks, spearman, spearman_of_means


@pytest.mark.parametrize("shape", [(6,), (6, 50)])
def test_ranks_equal_scipys(shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(34).integers(0, 4, shape) / 3
    assert ranks._ranks(values).tolist() == stats.rankdata(-values, method="min", axis=0).tolist()


@given(st.lists(st.tuples(st.integers(-5, 5), st.integers(-5, 5)), min_size=3, max_size=20))
def test_spearman_equals_scipy(pairs: list[tuple[int, int]]) -> None:
    first, second = zip(*pairs, strict=True)
    if len(set(first)) == 1 or len(set(second)) == 1:
        assert np.isnan(spearman(first, second))
    else:
        assert spearman(first, second) == pytest.approx(stats.spearmanr(first, second).statistic)


def test_rank_orders_and_finds_ties() -> None:
    rng = np.random.default_rng(7)
    items = rng.normal(0, 1, 24)
    means = np.stack(
        [items, items + 1, items + rng.normal(0, 0.1, 24) - 5, items + 1, items + 1 + rng.normal(0, 1, 24)]
    )
    high = simultaneous_ranks(means, higher_is_better=True)
    assert high[1].rank == high[3].rank
    assert high[1].tied_with_best and high[3].tied_with_best and high[4].tied_with_best
    assert not high[0].tied_with_best and not high[2].tied_with_best
    assert (high[2].rank, high[2].low, high[2].high) == (5, 5, 5)
    assert (high[1].low, high[1].high) == (1, 3)
    low = simultaneous_ranks(means, higher_is_better=False)
    assert (low[2].rank, low[2].low, low[2].high) == (1, 1, 1)


def test_the_limit_is_that_of_students_t_for_two_and_of_tukeys_range_for_many() -> None:
    # Never below the exact one, and not far above it.
    student = stats.t.ppf(0.975, 7)
    assert student <= ranks._largest_t(2, 7, 0.95) <= 1.08 * student
    # With many clusters the spread of each pair is known, as Tukey's range has it.
    tukey = stats.studentized_range.ppf(0.95, 12, 1e6) / np.sqrt(2)
    assert tukey <= ranks._largest_t(12, 400, 0.95) <= 1.05 * tukey


@pytest.mark.parametrize(("count", "items"), [(6, 8), (20, 24), (20, 72)])
def test_equal_configurations_are_rarely_separated(count: int, items: int) -> None:
    """Nor do items that they have in common, or other spreads, change that."""
    rng, apart = np.random.default_rng(11), 0
    for _ in range(200):
        means = rng.normal(0, 0.3, items) + rng.normal(0, 0.1, (count, items)) * rng.choice([1, 3], (count, 1))
        found = simultaneous_ranks(means, True)
        apart += any(entry.low > 1 or entry.high < count for entry in found)
    assert apart / 200 <= 0.085  # 5 % and two standard errors


def test_nearly_equal_configurations_keep_their_true_ranks() -> None:
    rng, missed, truth = np.random.default_rng(12), 0, np.linspace(0.3, 0, 10)
    for _ in range(100):
        found = simultaneous_ranks(truth[:, None] + rng.normal(0, 0.2, (10, 48)), True)
        missed += any(not entry.low <= place <= entry.high for place, entry in enumerate(found, 1))
    assert missed <= 9
    # The last look shows that the first is better than the last: ranks are not simply left open.
    assert found[0].high < 10 and not found[9].tied_with_best


def test_strata_whose_means_differ_do_not_hide_a_difference() -> None:
    """A difference that the suite's design makes vary is no noise."""
    rng, strata = np.random.default_rng(13), ["matched", "unrelated"] * 12
    first = rng.normal(0, 0.05, 24)
    second = first - np.where(np.arange(24) % 2 == 0, 0.02, 0.42) + rng.normal(0, 0.05, 24)
    means = np.stack([first, second, first - 0.1 * rng.normal(size=24)])
    plain, stratified = simultaneous_ranks(means, True), simultaneous_ranks(means, True, strata)
    assert stratified[1].high - stratified[1].low <= plain[1].high - plain[1].low
    assert not stratified[1].tied_with_best


def test_one_cluster_leaves_every_rank_open_and_no_spread_none() -> None:
    assert [(entry.low, entry.high) for entry in simultaneous_ranks([[1.0], [2.0], [3.0]], True)] == [(1, 3)] * 3
    constant = simultaneous_ranks(np.array([[1.0], [2.0], [2.0]]) * np.ones(12), True)
    assert [(entry.rank, entry.low, entry.high) for entry in constant] == [(3, 3, 3), (1, 1, 2), (1, 1, 2)]


def test_80_configurations_on_288_items_take_less_than_two_seconds() -> None:
    means = np.random.default_rng(14).normal(size=(80, 288))
    ranks._largest_t.cache_clear()
    began = time.process_time()
    simultaneous_ranks(means, True)
    assert time.process_time() - began < 2


def test_agreement_interval_holds_the_agreement() -> None:
    rng = np.random.default_rng(8)
    base = np.linspace(0, 1, 10)[:, None] + rng.normal(0, 0.3, (10, 24))
    agreement = spearman_of_means(base, base + rng.normal(0, 0.3, (10, 24)))
    assert agreement.low <= agreement.mean <= agreement.high <= 1
    assert agreement.mean > 0.9
