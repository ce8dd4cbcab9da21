"""Moments: equal to numpy's over all rows, however the rows are split; honest about rows that cannot be measured."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from blendbench.stats.hidden_states.spread import FLOOR, Spread, pool, spread_of

ROWS = arrays(np.float64, (9, 4), elements=st.floats(-1e3, 1e3, allow_subnormal=False))


def same(a: Spread, b: Spread) -> None:
    assert a.count == pytest.approx(b.count)
    np.testing.assert_allclose(a.mean, b.mean, atol=1e-9)
    np.testing.assert_allclose(a.squares, b.squares, rtol=1e-9, atol=1e-6)
    np.testing.assert_allclose(a.directions, b.directions, atol=1e-9)
    assert a.directed == pytest.approx(b.directed)


@settings(max_examples=50, deadline=None)
@given(ROWS, st.integers(1, 8))
def test_pooled_parts_are_the_whole(rows: np.ndarray, cut: int) -> None:
    same(pool([spread_of(rows[:cut]), spread_of(rows[cut:])]), spread_of(rows))


@settings(max_examples=50, deadline=None)
@given(ROWS, st.lists(st.integers(0, 3), min_size=3, max_size=3).filter(any))
def test_a_weight_is_a_repetition(rows: np.ndarray, times: list[int]) -> None:
    parts = [rows[:2], rows[2:5], rows[5:]]
    repeated = np.concatenate([part for part, n in zip(parts, times, strict=True) for _ in range(n)])
    same(pool([spread_of(part) for part in parts], np.array(times, float)), spread_of(repeated))


@settings(max_examples=30, deadline=None)
@given(ROWS)
def test_moments_are_those_of_numpy(rows: np.ndarray) -> None:
    spread = spread_of(rows)
    np.testing.assert_allclose(spread.std, np.maximum(rows.std(0), FLOOR), rtol=1e-9)
    np.testing.assert_allclose(spread.second_moment, (rows**2).mean(0), rtol=1e-9, atol=1e-9)


def test_a_massive_dimension_without_spread_has_none_in_float32() -> None:
    rows = np.random.default_rng(0).normal(size=(3000, 2)).astype(np.float32)
    rows[:, 0] = 13504.3
    assert spread_of(rows).std[0] == FLOOR


def test_directions_leave_rows_of_zeros_out() -> None:
    spread = spread_of(np.array([[3.0, 4.0], [0.0, 0.0]]))
    np.testing.assert_allclose(spread.directions, [0.6, 0.8])
    assert (spread.count, spread.directed) == (2, 1)
    np.testing.assert_allclose(spread.mean_direction, [0.6, 0.8])
    assert not spread_of(np.array([[1.0, 0.0], [-1.0, 0.0]])).mean_direction.any()


def test_the_longest_rows_share_is_averaged_over_items() -> None:
    first, second = spread_of(np.array([[3.0], [1.0]])), spread_of(np.array([[1.0], [1.0]]))
    assert first.largest == pytest.approx(0.9)
    assert pool([first, second]).largest == pytest.approx(0.7)
    assert pool([first, second], np.array([0.0, 1.0])).largest == pytest.approx(0.5)


def test_rows_that_cannot_be_measured_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one token"):
        spread_of(np.zeros((0, 3)))
    with pytest.raises(ValueError, match="at least one token"):
        spread_of(np.zeros(3))
    with pytest.raises(ValueError, match="1 of 2 rows"):
        spread_of(np.array([[1.0, np.nan], [1.0, 2.0]]))


def test_one_row_has_a_floor_for_a_spread() -> None:
    assert spread_of(np.array([[1.0, -2.0]])).std.tolist() == [FLOOR, FLOOR]
