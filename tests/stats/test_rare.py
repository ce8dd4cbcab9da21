"""Bounds of a mean that few clusters carry, against exact ends of a fraction."""

import numpy as np
import pytest
from scipy import stats

from blendbench.stats.rare import rare_ends


@pytest.mark.parametrize("count", [1, 3, 11])
def test_equal_changes_have_the_exact_ends_of_their_fraction(count: int) -> None:
    data = np.zeros(24)
    data[:count] = 0.5
    exact = stats.binomtest(count, 24).proportion_ci(0.95, "exact")
    # Held to 0 from below, where no value can fall.
    assert rare_ends(data, 0.025, (0, 0.5)) == pytest.approx((0.5 * exact.low, 0.5 * exact.high))


def test_rises_and_falls_widen_the_ends_by_their_squares() -> None:
    data = np.array([0.5, *[0.0] * 22, -0.5])
    exact = stats.binomtest(1, 24).proportion_ci(0.95, "exact")
    down, up = 1 / 24 - exact.low, exact.high - 1 / 24
    reach = 0.5 * np.hypot(down, up)
    assert rare_ends(data, 0.025, (-0.5, 0.5)) == pytest.approx((-reach, reach))


def test_small_changes_leave_room_for_a_larger_one_that_was_not_seen() -> None:
    data = np.zeros(24)
    data[0] = 0.01
    ends = rare_ends(data, 0.025, (-1, 1))
    # One change of a quarter of the range, beside the one that was seen.
    assert ends is not None and ends[1] == pytest.approx(0.25 * (1 - 0.025 ** (1 / 24)), abs=0.005)
    without = rare_ends(data, 0.025, (-np.inf, np.inf))
    assert without is not None and without[1] < 0.01


def test_what_is_nearly_unchanged_counts_as_unchanged() -> None:
    noise = 1e-4 * np.random.default_rng(0).uniform(-1, 1, 24)
    found, exact = rare_ends(noise, 0.025, (-1, 1)), rare_ends(np.zeros(24), 0.025, (-1, 1))
    assert found == pytest.approx(exact, abs=5e-4)


def test_values_that_mostly_differ_are_left_to_other_intervals() -> None:
    assert rare_ends(np.random.default_rng(0).normal(size=24), 0.025, (-9, 9)) is None
    # Where every cluster changed alike, none was seen that is unchanged.
    assert rare_ends(np.full(24, 0.3), 0.025, (-1, 1)) is None
    half = np.repeat([0.0, 0.4, 0.9], [4, 2, 2])
    assert rare_ends(half, 0.025, (0, 1)) is None
    assert rare_ends(np.repeat([-0.4, 0.0, 0.4], [2, 4, 2]), 0.025, (-1, 1)) is None
    assert rare_ends(np.repeat([-0.4, 0.0, 0.4], [2, 5, 1]), 0.025, (-1, 1)) is not None


def test_no_change_of_a_metric_without_a_range_leaves_all_open() -> None:
    ends = rare_ends(np.zeros(24), 0.025, (0, np.inf))
    assert ends is not None and np.isnan(ends).all()


def test_values_at_a_bound_are_like_values_of_0() -> None:
    data = np.full(24, 1.0)
    data[:2] = 0.5
    exact = stats.binomtest(2, 24).proportion_ci(0.95, "exact")
    assert rare_ends(data, 0.025, (0.5, 1)) == pytest.approx((1 - 0.5 * exact.high, 1 - 0.5 * exact.low))
