"""The gate's decision on differences with known effects."""

import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from blendbench.core.metric_info import Direction, MetricInfo, Role
from blendbench.results.pairs import Pairs
from blendbench.stats.intervals import Estimate
from blendbench.verdict.decide import Effect, decide_effects, floor_of, measure_effects


def metric(name: str, role: Role, direction: Direction, margin: float) -> MetricInfo:
    return MetricInfo(name, 1, name, role, direction, "", (-1.0, 1.0), margin, 4, role == "drift")


GRID = metric("grid_energy", "artifact", "lower", 0.005)
DRIFT = metric("color_drift", "drift", "lower", 0.01)
SHIFT = metric("saturation_shift", "drift", "none", 0.01)
CLIP = metric("clip_cosine", "prompt", "higher", 0.01)
STYLE = metric("reference_style", "gain", "higher", 0.02)


def pairs(info: MetricInfo, differences: NDArray[np.float64]) -> Pairs:
    """Differences (items, seeds) to a baseline of .2."""
    items, seeds = differences.shape
    names = tuple(f"i{index:02}" for index in range(items) for _ in range(seeds))
    baseline = np.full(items * seeds, 0.2)
    return Pairs(info, "c", "b", names, tuple(range(seeds)) * items, baseline + differences.ravel(), baseline)


def decided(info: MetricInfo, differences: NDArray[np.float64]) -> Effect:
    (effect,) = decide_effects(measure_effects([pairs(info, differences)]))
    return effect


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_each_direction_has_its_bad_side(sign: float) -> None:
    differences = sign * np.random.default_rng(0).normal(0.05, 0.005, (24, 2))
    lower, higher = decided(GRID, differences), decided(CLIP, differences)
    assert (lower.decision, higher.decision) == (("worse", "better") if sign > 0 else ("better", "worse"))
    assert lower.worse == pytest.approx(-higher.worse) == pytest.approx(differences.mean())
    assert lower.low < lower.mean < lower.high


def test_a_drift_within_the_margin_is_no_regression_however_sure() -> None:
    rng = np.random.default_rng(0)
    assert floor_of(DRIFT) == DRIFT.margin and floor_of(SHIFT) == floor_of(GRID) == 0
    assert decided(DRIFT, np.abs(rng.normal(0.005, 0.001, (24, 2)))).decision == "equivalent"
    assert decided(DRIFT, np.abs(rng.normal(0.02, 0.002, (24, 2)))).decision == "worse"


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_signed_drift_is_bad_on_either_side(sign: float) -> None:
    rng = np.random.default_rng(4)
    away = decided(SHIFT, sign * rng.normal(0.02, 0.005, (24, 2)))
    assert away.decision == "worse" and away.worse == pytest.approx(0.02, abs=0.002)
    assert decided(SHIFT, sign * rng.normal(0.004, 0.005, (24, 2))).decision == "equivalent"


def test_a_noisy_metric_is_undecided_and_states_the_items_that_settle_it() -> None:
    noisy = decided(GRID, np.random.default_rng(1).normal(0.0, 0.1, (24, 2)))
    needed = noisy.needed_items()
    assert noisy.decision == "undecided" and needed is not None and needed > 24
    assert noisy.detectable() > GRID.margin


def test_a_family_is_the_metrics_of_one_role() -> None:
    rng = np.random.default_rng(2)
    rows = [pairs(info, rng.normal(0.01, 0.02, (12, 2))) for info in (GRID, replace(GRID, name="blockiness"), CLIP)]
    effects = decide_effects(measure_effects(rows))
    assert [effect.tests for effect in effects] == [2, 2, 1]
    # What stands beside it in another role, or is left out there, changes nothing.
    for kept in ([0, 1], [2]):
        alone = decide_effects(measure_effects([rows[index] for index in kept]))
        assert alone == [effects[index] for index in kept]


def test_a_gain_is_judged_and_a_diagnostic_is_not() -> None:
    gain = decided(STYLE, np.random.default_rng(3).normal(-0.2, 0.01, (12, 1)))
    assert (gain.decision, gain.judged) == ("worse", True)
    assert not decided(replace(STYLE, role="diagnostic"), np.full((12, 1), -0.2)).judged


def test_what_is_accepted_widens_the_margin_of_its_role_alone() -> None:
    loss = np.random.default_rng(5).normal(-0.015, 0.001, (24, 1))
    prompt, grid = pairs(CLIP, loss), pairs(GRID, -loss)
    strict, open_, other = (
        measure_effects([prompt, grid], allow=allow) for allow in ({}, {"prompt": 0.1}, {"artifact": 4.0})
    )
    assert [effect.decision for effect in decide_effects(strict)] == ["worse", "worse"]
    # A tenth of the baseline's mean of .2 is accepted of the prompt, four margins of .005 of the artifact.
    assert [effect.decision for effect in decide_effects(open_)] == ["equivalent", "worse"]
    assert [effect.decision for effect in decide_effects(other)] == ["worse", "equivalent"]
    much = pairs(CLIP, 3 * loss)
    assert decide_effects(measure_effects([much], allow={"prompt": 0.1}))[0].decision == "worse"


def test_one_item_is_never_enough() -> None:
    for differences in ([[0.3, 0.4]], [[0.3]]):
        effect = decided(GRID, np.array(differences))
        assert math.isnan(effect.low) and effect.decision == "undecided"
        assert effect.needed_items() is None and math.isinf(effect.detectable())


def test_no_decision_uses_a_random_number(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(6)
    infos = (GRID, replace(GRID, name="blockiness"), CLIP, STYLE, DRIFT)
    rows = [pairs(info, rng.normal(0.01, 0.03, (40, 1))) for info in infos]
    before = [(effect.decision, effect.p_adjusted) for effect in decide_effects(measure_effects(rows))]

    def refuse(*_: object) -> None:
        raise AssertionError("a random number")

    # Intervals are bootstrapped, for display alone.
    display = lambda data, *_, **__: [Estimate(0.0, 0.0, 0.0, 1)] * len(data)  # noqa: E731
    monkeypatch.setattr("blendbench.verdict.decide.intervals", display)
    monkeypatch.setattr(np.random, "default_rng", refuse)
    assert [(effect.decision, effect.p_adjusted) for effect in decide_effects(measure_effects(rows))] == before
    assert len({decision for decision, _ in before}) > 1


def test_strata_narrow_the_interval_and_decide_nothing() -> None:
    """That matched items change more than unrelated ones is the suite's doing, not chance."""
    rng = np.random.default_rng(8)
    found = pairs(STYLE, (rng.normal(0, 0.05, 40) + np.arange(40) % 2)[:, None])
    strata = {name: ("matched", "unrelated")[index % 2] for index, name in enumerate(found.items)}
    (plain,) = decide_effects(measure_effects([found]))
    (stratified,) = decide_effects(measure_effects([replace(found, strata=strata)]))
    assert stratified.high - stratified.low < 0.3 * (plain.high - plain.low)
    assert replace(stratified, low=plain.low, high=plain.high) == plain
