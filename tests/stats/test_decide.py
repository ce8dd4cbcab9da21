"""The one decision: its rules, its error rates, and what it must not depend on."""

import ast
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from blendbench.stats import decide as module
from blendbench.stats.decide import (
    Direction,
    PairedTest,
    decide,
    decide_family,
    detectable,
    holm,
    least_items,
    needed_items,
    paired_test,
)
from blendbench.stats.sign_flip import sign_flip_p, sign_flip_ps

Array = NDArray[np.float64]
DIRECTIONS: tuple[Direction, ...] = ("lower", "higher", "none")


def _spread(mean: float, deviation: float, n: int) -> Array:
    """Return n values of exactly this mean and standard deviation."""
    values = np.array(stats.norm.ppf((np.arange(n) + 0.5) / n))
    scaled: Array = mean + deviation * values / values.std(ddof=1)
    return scaled


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_follows_its_definition(p: list[float]) -> None:
    # Of all p up to this one the greatest, each times the number of p from it on.
    expected = [min(1.0, max(q * sum(r >= q for r in p) for q in p if q <= own)) for own in p]
    assert holm(p) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("mean", "direction", "expected"),
    [
        (0.5, "higher", "better"),
        (-0.5, "higher", "worse"),
        (0.5, "lower", "worse"),
        (-0.5, "lower", "better"),
        (0.5, "none", "worse"),
        (-0.5, "none", "worse"),
        # Significant and within the margin: the margin is the difference that matters.
        (0.05, "higher", "equivalent"),
        (-0.05, "none", "equivalent"),
        (0.0, "lower", "equivalent"),
    ],
)
def test_decisions_by_mean_and_direction(mean: float, direction: Direction, expected: str) -> None:
    test = paired_test(_spread(mean, 0.05, 24), margin=0.1)
    assert (test.p < 1e-4) == (mean != 0)
    assert decide(test, direction, test.p) == expected


def test_a_wide_spread_is_undecided_and_correction_can_undecide() -> None:
    wide = paired_test(_spread(0.05, 1, 24), margin=0.1)
    assert decide(wide, "higher", wide.p) == "undecided"
    clear = paired_test(_spread(0.5, 1, 24), margin=0.1)
    assert 0.005 < clear.p < 0.05
    assert decide(clear, "higher", clear.p) == "better"
    assert decide(clear, "higher", 10 * clear.p) == "undecided"
    assert decide(clear, "higher", clear.p, alpha=0.001) == "undecided"


def test_both_sides_of_the_margin_must_be_excluded() -> None:
    for mean in (0.095, -0.095):
        test = paired_test(_spread(mean, 0.05, 24), margin=0.1)
        near, far = sorted(sign_flip_p(0.1 + side * _spread(mean, 0.05, 24), "greater") for side in (1, -1))
        assert near < 0.05 < far == test.p_within_margin
    assert paired_test(_spread(0.105, 0.05, 24), margin=0.1).p_within_margin == 1.0


def test_a_bound_stands_for_a_p_that_is_next_to_0() -> None:
    for mean in (0.1, 0.3, 0.6):
        data = _spread(mean, 0.2, 30)
        test, exact = paired_test(data, margin=1.0), sign_flip_p(data, "greater")
        assert exact <= test.p_greater
        assert test.p_greater == exact or test.p_greater < 1e-12


def test_one_sided_and_two_sided_p_agree() -> None:
    data = np.random.default_rng(1).normal(0.2, 1, 30)
    test = paired_test(data, margin=1.0)
    assert test.p == sign_flip_p(data) == 2 * test.p_greater
    assert sign_flip_p(-data, "greater") == pytest.approx(1 - test.p_greater)
    assert test.p_less == 1.0  # not computed, for it decides nothing
    assert (test.mean, test.n) == (data.mean(), 30)
    assert test.standard_error == pytest.approx(stats.sem(data))


def test_a_distance_counts_only_beyond_its_floor() -> None:
    # Never below 0, so against 0 any distance is significant.
    distances = np.abs(_spread(0.0, 0.13, 24))
    near, far = paired_test(distances, margin=0.1, floor=0.1), paired_test(distances + 0.1, margin=0.1, floor=0.1)
    assert paired_test(distances, margin=0.1).p < 1e-6
    assert decide(near, "lower", near.p) == "undecided"
    assert decide(far, "lower", far.p) == "worse"
    assert far.p_less == 1.0


@pytest.mark.parametrize(("margin", "floor"), [(-0.1, 0.0), (0.1, 0.2), (math.nan, 0.0), (0.1, -0.1)])
def test_impossible_margins_are_refused(margin: float, floor: float) -> None:
    with pytest.raises(ValueError, match="floor"):
        paired_test([0.1, 0.2], margin, floor)


def test_false_decisions_stay_at_their_nominal_rates() -> None:
    rng = np.random.default_rng(2)
    margin, families = 0.4, 150
    false_labels = false_clearance = 0
    for _ in range(families):
        nothing = [paired_test(row, margin) for row in rng.normal(0, 1, (5, 16))]
        found = [decision for decision, _ in decide_family(nothing, ["higher"] * 5)]
        false_labels += any(decision in ("better", "worse") for decision in found)
        at_margin = paired_test(rng.normal(1, 1, 16), margin=1)
        false_clearance += decide(at_margin, "lower", at_margin.p) == "equivalent"
    # Standard error 1.8 points.
    assert 0.01 <= false_labels / families <= 0.09
    assert 0.01 <= false_clearance / families <= 0.09


@pytest.mark.parametrize(("n", "tests"), [(12, 1), (24, 1), (24, 10), (72, 10)])
def test_the_detectable_difference_is_found_with_power_080(n: int, tests: int) -> None:
    rng = np.random.default_rng(9)
    # The spread of the truth, so that only the test's power is measured.
    size = detectable(PairedTest(0.0, 1 / math.sqrt(n), 1, 1, 1, 1.0, 0.0, n), tests)
    nothing = [1.0] * (tests - 1)
    found = [holm([p, *nothing])[0] <= 0.05 for p in sign_flip_ps(rng.normal(size, 1, (400, n)))]
    assert np.mean(found) == pytest.approx(0.8, abs=0.06)  # standard error 2 points


@pytest.mark.parametrize(("n", "tests"), [(6, 1), (8, 2), (12, 1), (24, 10)])
def test_the_detectable_difference_is_that_of_the_noncentral_t(n: int, tests: int) -> None:
    size = detectable(PairedTest(0.0, 1.0, 1, 1, 1, 1.0, 0.0, n), tests)
    critical = stats.t.ppf(1 - 0.05 / tests / 2, n - 1)
    # The approximation is good to two points of power at 6 items.
    assert stats.nct.sf(critical, n - 1, size) == pytest.approx(0.8, abs=0.02)


@pytest.mark.parametrize(("mean", "tests"), [(0.9, 1), (0.9, 3), (1.2, 1), (0.6, 6)])
def test_the_items_needed_for_a_clear_mean_are_those_of_the_noncentral_t(mean: float, tests: int) -> None:
    def power(n: int) -> float:
        return float(stats.nct.sf(stats.t.ppf(1 - 0.05 / tests / 2, n - 1), n - 1, mean * math.sqrt(n)))

    now = PairedTest(mean, 1 / math.sqrt(6), 1, 1, 1, 0.01, 0.0, 6)
    enough = next(n for n in range(least_items(tests), 200) if power(n) >= 0.8)
    assert needed_items(now, tests) == pytest.approx(enough, abs=1)


def test_a_p_of_exactly_alpha_decides() -> None:
    few = paired_test([0.01, 0.02, -0.01, 0.02, 0.01], margin=0.1)
    assert few.p_within_margin == 1 / 32
    assert decide(few, "lower", 1.0, alpha=1 / 32) == "equivalent"
    assert decide(few, "lower", 1.0, alpha=1 / 33) == "undecided"
    clear = paired_test([1.0, 2.0, 1.5, 1.0, 2.0], margin=0.1)
    assert clear.p == 1 / 16
    assert decide(clear, "lower", clear.p, alpha=1 / 16) == "worse"
    assert decide(clear, "lower", clear.p, alpha=1 / 17) == "undecided"


def test_the_detectable_difference_grows_with_the_family_and_the_floor() -> None:
    test = paired_test(_spread(0.0, 1, 24), margin=0.5)
    assert detectable(test, 1) < detectable(test, 2) < detectable(test, 20)
    assert detectable(replace(test, floor=0.5), 2) == pytest.approx(detectable(test, 2) + 0.5)


def test_too_few_items_detect_nothing() -> None:
    assert [least_items(tests) for tests in (1, 2, 10)] == [6, 7, 9]
    clearest = paired_test(np.full(8, 5.0), margin=0.1)
    assert holm([clearest.p] + [1.0] * 9)[0] > 0.05
    assert math.isinf(detectable(clearest, 10)) and detectable(clearest, 1) < math.inf
    assert math.isinf(detectable(paired_test([1.0], margin=0.1), 1))


@pytest.mark.parametrize(
    ("mean", "margin", "floor", "tests"),
    [(0.0, 0.4, 0.0, 4), (0.3, 0.5, 0.0, 1), (0.6, 0.3, 0.0, 6), (0.9, 0.2, 0.2, 3)],
)
def test_the_needed_items_settle_with_power_080(mean: float, margin: float, floor: float, tests: int) -> None:
    now = paired_test(_spread(mean, 1, 12), margin, floor)
    assert decide(now, "lower", min(1.0, tests * now.p)) == "undecided"
    items = needed_items(now, tests)
    assert items is not None
    rng = np.random.default_rng(10)
    settled = [
        decide(test, "lower", min(1.0, tests * test.p)) != "undecided"
        for test in (paired_test(row, margin, floor) for row in rng.normal(mean, 1, (150, items)))
    ]
    assert np.mean(settled) == pytest.approx(0.8, abs=0.09)  # standard error 3.3 points


def test_needed_items_where_no_number_is_enough() -> None:
    on_the_floor = paired_test(_spread(0.2, 1, 12), margin=0.2, floor=0.2)
    assert needed_items(on_the_floor, 1) is None
    assert needed_items(paired_test([0.3], margin=0.1), 1) is None
    # Without a spread only the least number of items is missing.
    assert needed_items(paired_test(np.full(3, 5.0), margin=0.1), 10) == least_items(10)
    assert needed_items(paired_test(np.zeros(3), margin=0.1), 10) == 5


families = st.lists(
    st.tuples(
        st.lists(st.floats(-1, 1, width=32), min_size=7, max_size=7),
        st.floats(0, 0.5),
        st.sampled_from(DIRECTIONS),
    ),
    min_size=1,
    max_size=5,
)


def _labels(page: list[list[tuple[list[float], float, Direction]]]) -> list[list[tuple[str, float]]]:
    """Decide on every family of a page, in one pass over the page."""
    return [
        [*decide_family([paired_test(row, margin) for row, margin, _ in family], [d for *_, d in family])]
        for family in page
    ]


@settings(max_examples=20, deadline=None)
@given(st.lists(families, min_size=1, max_size=4), st.integers(0, 2**32 - 1))
def test_labels_depend_on_no_seed_and_no_other_row(
    page: list[list[tuple[list[float], float, Direction]]], seed: int
) -> None:
    together = _labels(page)
    np.random.seed(seed)  # noqa: NPY002 - the global generator is what must not matter
    state = np.random.get_state(legacy=False)  # noqa: NPY002
    alone = [_labels([family])[0] for family in page]
    assert alone == together
    assert _labels(page[::-1])[::-1] == together
    # Nor does the order of the metrics within a family matter, and nothing random was used up.
    assert [labels[::-1] for labels in _labels([family[::-1] for family in page])] == together
    assert repr(np.random.get_state(legacy=False)) == repr(state)  # noqa: NPY002


def test_nothing_that_decides_samples() -> None:
    folder = Path(str(module.__file__)).parent
    for name in ("decide.py", "sign_flip.py"):
        words = {
            getattr(node, "attr", None) or getattr(node, "id", None) or getattr(node, "name", None)
            for node in ast.walk(ast.parse((folder / name).read_text()))
        }
        assert not words & {"random", "default_rng", "seed", "resampled_means", "resampled_moments", "intervals"}
