"""Ranks and rank correlation against scipy and simulation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from blendbench.stats import ranks
from blendbench.stats.ranks import rank, spearman, spearman_of_means


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
    high = rank(means, higher_is_better=True)
    assert high[1].rank == high[3].rank
    assert high[1].tied_with_best and high[3].tied_with_best and high[4].tied_with_best
    assert not high[0].tied_with_best and not high[2].tied_with_best
    assert (high[2].rank, high[2].low, high[2].high, high[2].p_best) == (5, 5, 5, 0.0)
    low = rank(means, higher_is_better=False)
    assert (low[2].rank, low[2].p_best) == (1, 1.0)


def test_ranks_keep_their_published_values() -> None:
    i = np.arange(24)
    first = np.sin(i * i) + 0.3
    found = rank(np.stack([first, first + 0.2 * np.cos(i), (i * 7 % 4) / 3]), higher_is_better=True)
    assert [(entry.rank, entry.low, entry.high) for entry in found] == [(2, 2, 3), (3, 2, 3), (1, 1, 3)]
    assert [entry.p_best for entry in found] == pytest.approx([0.0207020702, 0.0160016002, 0.9632963296])


def test_few_items_do_not_separate_what_only_seems_apart() -> None:
    rng = np.random.default_rng(11)
    separated = sum(
        not rank(rng.normal(size=(6, 4)), True, resamples=199, seed=i)[0].tied_with_best for i in range(200)
    )
    assert separated / 200 <= 0.1


def test_agreement_interval_holds_the_agreement() -> None:
    rng = np.random.default_rng(8)
    base = np.linspace(0, 1, 10)[:, None] + rng.normal(0, 0.3, (10, 24))
    agreement = spearman_of_means(base, base + rng.normal(0, 0.3, (10, 24)))
    assert agreement.low <= agreement.mean <= agreement.high <= 1
    assert agreement.mean > 0.9
