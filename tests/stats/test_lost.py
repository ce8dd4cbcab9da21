"""The exact bound of the fraction of items lost."""

import numpy as np
import pytest
from scipy.stats import binom

from blendbench.stats.lost import items_needed, lost_bound, lost_items


def test_a_fall_of_half_a_point_is_a_lost_item() -> None:
    found = lost_items(np.array([0.0, -0.49, -0.5, -0.9, 0.5]))
    assert (found.lost, found.items) == (2, 5)
    assert found.bound == lost_bound(2, 5)


def test_without_a_lost_item_59_are_needed_for_5_percent() -> None:
    assert lost_bound(0, 24) == pytest.approx(0.117, abs=0.001)
    assert lost_bound(0, 59) <= 0.05 < lost_bound(0, 58)
    assert items_needed(0) == 59 and items_needed(1) == 93


@pytest.mark.parametrize(("lost", "items"), [(0, 12), (1, 24), (3, 72), (20, 288)])
def test_at_the_bound_so_few_lost_items_have_a_chance_of_5_percent(lost: int, items: int) -> None:
    assert binom.cdf(lost, items, lost_bound(lost, items)) == pytest.approx(0.05)


def test_all_lost_leaves_nothing_open_and_impossible_counts_are_refused() -> None:
    assert lost_bound(7, 7) == 1.0
    for lost, items in ((-1, 5), (6, 5), (0, 0)):
        with pytest.raises(ValueError, match="not a count"):
            lost_bound(lost, items)


@pytest.mark.parametrize(("items", "lost", "most"), [(72, 0.10, 0.05), (288, 0.10, 0.05), (72, 0.0, 1.0)])
def test_a_pass_is_rare_where_a_tenth_is_lost(items: int, lost: float, most: float) -> None:
    passes = np.mean([lost_bound(k, items) <= 0.05 for k in np.random.default_rng(0).binomial(items, lost, 2000)])
    assert passes <= most and (lost or passes == 1.0)
