"""The gate's statistics on differences with known effects, and against oracles."""

import math
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blendbench.verdict import Metric, Pairs
from blendbench.verdict.decide import decide, floor_of, items_for_a_regression, measure_effect

GRID = Metric("grid_energy", 1, "Grid energy", "artifact", "lower", "share", 0.005, 4)
DRIFT = Metric("color_drift", 2, "Colour drift", "drift", "lower", "OKLab", 0.01, 4)
SHIFT = Metric("saturation_shift", 1, "Saturation shift", "drift", "none", "OKLab", 0.01, 4)
CLIP = Metric("clip_cosine", 1, "CLIP", "adherence", "higher", "cosine", 0.01, 3)


def pairs(metric: Metric, differences: np.ndarray) -> Pairs:
    """Differences (items, seeds) to a baseline of .2."""
    items, seeds = differences.shape
    names = tuple(f"i{index:02}" for index in range(items) for _ in range(seeds))
    baseline = np.full(items * seeds, 0.2)
    return Pairs(metric, names, tuple(range(seeds)) * items, baseline + differences.ravel(), baseline, 0)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(-20, 20), min_size=2, max_size=9))
def test_the_p_value_counts_sign_flips_in_the_bad_direction(steps: list[int]) -> None:
    differences = np.array(steps)[:, None] / 100
    flips = [sum(s * d for s, d in zip(signs, steps, strict=True)) for signs in product((1, -1), repeat=len(steps))]
    lower, higher = measure_effect(pairs(GRID, differences)), measure_effect(pairs(CLIP, differences))
    assert lower.p == np.mean([flip >= sum(steps) for flip in flips])
    assert higher.p == np.mean([flip <= sum(steps) for flip in flips])
    assert (lower.worse, higher.worse) == (pytest.approx(sum(steps) / len(steps) / 100), pytest.approx(-lower.worse))


def test_a_drift_within_the_margin_is_no_regression_however_sure() -> None:
    rng = np.random.default_rng(0)
    small, large = np.abs(rng.normal(0.005, 0.001, (24, 2))), np.abs(rng.normal(0.02, 0.002, (24, 2)))
    assert floor_of(DRIFT) == DRIFT.margin
    effect = measure_effect(pairs(DRIFT, small))
    assert effect.p == 1.0 and decide(effect, effect.p).decision == "pass"
    effect = measure_effect(pairs(DRIFT, large))
    assert decide(effect, effect.p).decision == "regression"


def test_a_signed_drift_is_bad_on_either_side_and_tested_on_both() -> None:
    rng = np.random.default_rng(4)
    for sign in (1.0, -1.0):
        away = measure_effect(pairs(SHIFT, sign * rng.normal(0.02, 0.005, (24, 2))))
        assert away.gated and away.worse == pytest.approx(0.02, abs=0.002) and away.worst_case > away.worse
        assert decide(away, away.p).decision == "regression"
        near = measure_effect(pairs(SHIFT, sign * rng.normal(0.004, 0.005, (24, 2))))
        assert decide(near, near.p).decision == "pass"
        beyond = measure_effect(pairs(SHIFT, sign * rng.normal(0.01, 0.005, (24, 2))))
        assert decide(beyond, 1.0).decision == "inconclusive"
    differences = rng.normal(0.001, 0.005, (8, 1))
    flips = [
        abs(sum(s * d for s, d in zip(signs, differences[:, 0], strict=True))) for signs in product((1, -1), repeat=8)
    ]
    effect = measure_effect(pairs(SHIFT, differences))
    assert effect.p == np.mean([flip >= abs(differences.sum()) - 1e-12 for flip in flips])


def test_a_sure_change_within_the_margin_passes_and_a_noisy_one_is_inconclusive() -> None:
    rng = np.random.default_rng(1)
    tiny = measure_effect(pairs(GRID, rng.normal(0.002, 0.0005, (24, 2))))
    assert tiny.p < 0.001 and decide(tiny, tiny.p).decision == "pass"
    noisy = measure_effect(pairs(GRID, rng.normal(0.0, 0.1, (24, 2))))
    verdict = decide(noisy, 1.0)
    assert verdict.decision == "inconclusive" and verdict.needed is not None
    assert verdict.needed.items > 24


@pytest.mark.parametrize("between", [0.0, 0.005])
def test_the_seeds_asked_for_settle_it_with_power_080(between: float) -> None:
    # Differences without any true effect: the seeds needed must make four in five verdicts "pass".
    rng = np.random.default_rng(2)
    items, within = 200, 0.06

    def draw(seeds: int, items: int) -> np.ndarray:
        return rng.normal(0, between, (items, 1)) + rng.normal(0, within, (items, seeds))

    effect = measure_effect(pairs(GRID, draw(8, items)))
    effect = replace(effect, items=24, worse=0.0, worst_case=1.0, spread=replace(effect.spread, seeds=2))
    needed = decide(effect, 1.0).needed
    assert needed is not None and needed.seeds is not None
    passed = [measure_effect(pairs(GRID, draw(needed.seeds, 24))).worst_case <= GRID.margin for _ in range(60)]
    assert np.mean(passed) == pytest.approx(0.8, abs=0.17)


def test_no_number_of_seeds_helps_when_the_items_themselves_disagree() -> None:
    rng = np.random.default_rng(3)
    needed = decide(measure_effect(pairs(GRID, rng.normal(0, 0.1, (12, 1)).repeat(2, 1))), 1.0).needed
    assert needed is not None and needed.seeds is None and needed.items > 12


def test_seeds_are_not_asked_for_where_only_more_items_can_make_p_small_enough() -> None:
    # Six items, all much worse: corrected for eleven tests p is at least 11 / 64, however many seeds there are.
    rng = np.random.default_rng(5)
    for seeds in (1, 3):
        effect = measure_effect(pairs(GRID, rng.normal(0.9, 0.1, (6, seeds))))
        needed = decide(effect, 11 * effect.p, tests=11).needed
        assert needed is not None and (needed.seeds, needed.items) == (None, items_for_a_regression(11))
        two_sided = decide(measure_effect(pairs(SHIFT, rng.normal(0.9, 0.1, (6, seeds)))), 1.0, tests=11).needed
        assert two_sided is not None and two_sided.items == items_for_a_regression(11) + 1


def test_one_item_is_never_enough() -> None:
    for differences in ([[0.3, 0.4]], [[0.3]]):
        effect = measure_effect(pairs(GRID, np.array(differences)))
        assert math.isnan(effect.low) and decide(effect, effect.p).decision == "inconclusive"
