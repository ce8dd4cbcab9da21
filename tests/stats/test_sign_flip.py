"""Sign-flip p-values against enumeration, scipy and exact integer arithmetic."""

import math
from itertools import product
from time import process_time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from blendbench.stats import sign_flip
from blendbench.stats.sign_flip import Alternative, least_p, sign_flip_p, sign_flip_ps

Array = NDArray[np.float64]
ALTERNATIVES: tuple[Alternative, ...] = ("two-sided", "greater")


def _enumerated(data: list[int], alternative: Alternative) -> float:
    """Compute p from all 2^n choices of signs of integers."""
    flips: NDArray[np.int64] = np.array(list(product((1, -1), repeat=len(data)))) @ np.array(data)
    if alternative == "greater":
        return float(np.mean(flips >= sum(data)))
    return float(np.mean(abs(flips) >= abs(sum(data))))


def _counted(data: list[int], alternative: Alternative, nearer: int = 0) -> float:
    """Compute p of integers by arithmetic of integers of any length, for a sum that is nearer to 0 by `nearer`.

    The coefficients of the product of (1 + x^(2 |value|)) are how often each sum occurs, counted from the least one.
    They are the digits of one integer.
    """
    n, least, observed = len(data), -sum(map(abs, data)), sum(data)
    digit = n + 2
    ways = 1
    for value in map(abs, data):
        ways += ways << (value * digit)

    def fraction_from(total: int) -> float:
        # A number is the sum of its digits, modulo the greatest digit.
        first = max(0, -((least - total) // 2))
        return ((ways >> (first * digit)) % ((1 << digit) - 1)) / (1 << n)

    if alternative == "greater":
        return fraction_from(observed - nearer)
    return min(1.0, 2 * fraction_from(abs(observed) - nearer)) if abs(observed) > nearer else 1.0


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-9, 9), min_size=1, max_size=14), st.sampled_from(ALTERNATIVES))
def test_p_equals_enumeration(data: list[int], alternative: Alternative) -> None:
    assert sign_flip_p(data, alternative) == _enumerated(data, alternative)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(-9, 9), min_size=1, max_size=12), st.sampled_from(ALTERNATIVES))
def test_ties_are_counted_whatever_their_rounding(data: list[int], alternative: Alternative) -> None:
    # A tenth has no exact binary form, so equal sums of tenths differ in their last digits.
    assert sign_flip_p([value * 0.1 for value in data], alternative) == _enumerated(data, alternative)


@pytest.mark.parametrize("alternative", ALTERNATIVES)
def test_p_equals_scipys(alternative: Alternative) -> None:
    for seed in range(5):
        data = np.random.default_rng(seed).normal(0.3, 1, 12)
        oracle = stats.permutation_test(
            (data,), np.mean, permutation_type="samples", n_resamples=np.inf, alternative=alternative
        )
        assert sign_flip_p(data, alternative) == pytest.approx(oracle.pvalue, rel=1e-12)


@pytest.mark.parametrize("alternative", ALTERNATIVES)
@pytest.mark.parametrize("n", [24, 30, 36])
def test_meeting_in_the_middle_is_exact(n: int, alternative: Alternative) -> None:
    for shift in (-20, 0, 15, 60):
        data = [int(value) for value in np.random.default_rng(n).integers(-100, 100, n) + shift]
        # 2^36 is far below 2^53: not one subset may be lost.
        assert sign_flip_p(data, alternative) == _counted(data, alternative)


@pytest.mark.slow
@pytest.mark.parametrize("alternative", ALTERNATIVES)
@pytest.mark.parametrize("n", [37, 120])
def test_the_grid_never_understates_p_and_hardly_overstates_it(n: int, alternative: Alternative) -> None:
    seen = []
    for z in (0, 1, 2.2, 2.5, 4):
        data = [int(value) for value in _normal(n, z) * 200]
        exact, found = _counted(data, alternative), sign_flip_p(data, alternative)
        seen.append(exact)
        # One step of the grid is a hundredth of the standard error of the sum.
        nearer = math.ceil(math.sqrt(sum(value**2 for value in data)) / 100)
        assert exact <= found <= _counted(data, alternative, nearer) * (1 + 1e-9)
        assert found <= exact * 1.01 or exact < 0.01
    # Nothing, borderline and clear.
    assert min(seen) < 0.001 and 0.01 < sorted(seen)[2] < 0.05 and max(seen) > 0.05


def _normal(n: int, z: float) -> Array:
    """Sample n values whose mean is `z` standard errors above 0."""
    values = np.random.default_rng(n).normal(0, 1, n)
    scaled: Array = (values - values.mean()) / values.std() + z / math.sqrt(n)
    return scaled


def test_the_grid_agrees_with_counting_on_equal_data() -> None:
    rng = np.random.default_rng(4)
    for n in (20, 28, 34):
        for shift in (0.0, 0.3, 0.6):
            data = rng.normal(shift, 1, n)
            sizes, limit = np.sort(np.abs(data)), -data[data < 0].sum()
            exact = math.ldexp(sign_flip._count_subsets(sizes, limit), -n)
            assert exact <= sign_flip._grid_probability(sizes, limit) <= 1.05 * exact


@pytest.mark.parametrize("falls", [30, 40, 45])
def test_sums_on_a_line_of_the_grid_are_counted(falls: int) -> None:
    # 100 differences of one size: a step of the grid is a thousandth of it, and every sum lies on a line.
    data = np.repeat([-1.0, 1.0], [falls, 100 - falls])
    exact = stats.binom.cdf(falls, 100, 0.5)
    assert exact * (1 - 1e-9) <= sign_flip_p(data, "greater") <= exact * (1 + 1e-9)


@pytest.mark.parametrize("n", [40, 60, 100])
def test_next_to_no_difference_has_a_p_of_1(n: int) -> None:
    # What the grid adds must not raise it further.
    data = _normal(n, 0.0) + 1e-6 / n
    assert sign_flip_p(data) == 1.0


def test_far_more_clusters_than_a_float_has_powers_of_two() -> None:
    data = np.random.default_rng(5).normal(0.05, 1, 1200)
    normal = stats.norm.sf(data.sum() / np.sqrt((data**2).sum()))
    assert sign_flip_p(data, "greater") == pytest.approx(normal, rel=0.1)


def test_differences_of_zero_have_no_part_in_p() -> None:
    data = np.random.default_rng(6).normal(0.4, 1, 20)
    for alternative in ALTERNATIVES:
        alone = sign_flip_p(data, alternative)
        assert sign_flip_p(np.concatenate([np.zeros(80), data]), alternative) == alone
    assert sign_flip_p(np.zeros(50)) == sign_flip_p(np.zeros(50), "greater") == 1.0


def test_rounding_of_equal_values_is_no_evidence() -> None:
    # 0.1 + 0.2 - 0.3 is 5.6e-17: with the same sign in all clusters.
    assert sign_flip_p([0.1 + 0.2 - 0.3] * 24) == sign_flip_p([0.1 + 0.2 - 0.3] * 48) == 1.0


@pytest.mark.parametrize("clusters", [1, 2, 6, 12, 24, 36, 37, 72, 288])
def test_the_clearest_difference_has_the_least_p(clusters: int) -> None:
    data = np.linspace(1, 2, clusters)
    assert sign_flip_p(data) == pytest.approx(least_p(clusters), rel=1e-9) == 2.0 ** -(clusters - 1)
    assert sign_flip_p(data, "greater") == pytest.approx(least_p(clusters, "greater"), rel=1e-9) == 2.0**-clusters
    assert sign_flip_p(-data, "greater") == pytest.approx(1.0)


@pytest.mark.slow
@pytest.mark.parametrize("n", [1, 13, 36, 60])
@pytest.mark.parametrize("alternative", ALTERNATIVES)
def test_p_depends_on_no_seed_no_order_and_no_other_row(n: int, alternative: Alternative) -> None:
    rng = np.random.default_rng(7)
    rows = rng.normal(0.2, 1, (2, n))
    together = sign_flip_ps(rows, alternative).tolist()
    for seed in range(2):
        np.random.seed(seed)  # noqa: NPY002 - the global generator is what must not matter
        assert [sign_flip_p(row, alternative) for row in rows] == together
        assert sign_flip_ps(rng.permuted(rows, axis=1), alternative).tolist() == together


@pytest.mark.slow
def test_sign_flip_false_alarms_stay_at_the_nominal_rate() -> None:
    rng = np.random.default_rng(5)
    for n in (10, 24, 50):
        alarms = np.mean(sign_flip_ps(rng.standard_t(3, (300, n))) <= 0.05)
        assert 0.015 <= alarms <= 0.09  # standard error 1.3 points


@pytest.mark.parametrize("bad", [[], [1.0, math.nan], [math.inf, 1.0]])
def test_missing_differences_are_refused(bad: list[float]) -> None:
    with pytest.raises(ValueError, match="finite"):
        sign_flip_p(bad)


@pytest.mark.parametrize(("n", "most_ms"), [(24, 5), (72, 20), (288, 20)])
def test_a_p_takes_milliseconds(n: int, most_ms: float) -> None:
    rows = np.random.default_rng(8).normal(0.2, 1, (5, n))
    spent = []
    for row in rows:
        start = process_time()
        sign_flip_p(row)
        spent.append(1000 * (process_time() - start))
    # Twice the time that the least lucky machine may take: a return of 2^n or of sampling is far above that.
    assert min(spent) <= 2 * most_ms
