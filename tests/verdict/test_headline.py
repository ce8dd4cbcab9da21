"""Gain at a budget, and which configuration dominates which, where the truth is known."""

from typing import Any

import numpy as np
import pytest

from blendbench.core.errors import UsageError
from blendbench.core.metric_info import MetricInfo, Role
from blendbench.verdict.headline import can_lose, families, headlines, measure_points
from blendbench.verdict.known import Known, Point


def info(name: str, role: Role, direction: str, margin: float = 0.02, top: float = 1.0) -> MetricInfo:
    return MetricInfo(name, 1, name, role, direction, "", (0.0, top), margin, 3, False)  # type: ignore[arg-type]


METRICS: dict[Role, MetricInfo] = {
    "prompt": info("attribute_adherence", "prompt", "higher"),
    "gain": info("reference_style", "gain", "higher"),
    "artifact": info("grid_severity", "artifact", "lower", margin=0.2, top=9.0),
    "drift": info("color_elsewhere", "drift", "lower", margin=0.01),
}
TEXT = (0.95, 0.05, 0.1, 0.0)  # prompt, style, grid, drift of the text alone


def known(effects: dict[str, tuple[float, float, float, float]], items: int = 96, seed: int = 0, **flags: Any) -> Known:
    """Configurations "family@dose" with mean changes of prompt, style, grid and drift, and noise between items."""
    rng = np.random.default_rng(seed)
    labels = {"text_only": (0.0, 0.0, 0.0, 0.0), **effects}
    points: list[Point] = []
    values: dict[Role, list[Any]] = {role: [] for role in METRICS}
    for label, changes in labels.items():
        family, _, dose = label.partition("@")
        name = family.partition(":")[0]
        control, bound = name in flags.get("controls", ()), name in flags.get("bounds", ())
        points.append(Point(label, name, family, float(dose) if dose else None, control, bound))
        for role, start, change in zip(METRICS, TEXT, changes, strict=True):
            spread = np.zeros(items) if label == "text_only" else rng.normal(size=items)
            spread -= spread.mean()
            values[role].append(start + change + (0.05 if change else 0.0) * spread)
    splits = tuple(("dev", "test", "test")[i % 3] for i in range(items))
    names = tuple(f"item-{i:03}" for i in range(items))
    strata = tuple(("matched", "unrelated")[i % 2] for i in range(items))
    return Known(METRICS, tuple(points), names, splits, strata, {role: np.array(rows) for role, rows in values.items()})


def by_family(found: Known, budget: float = 0.1) -> dict[str, Any]:
    return {headline.family: headline for headline in headlines(found, budget)}


def test_the_largest_dose_within_the_budget_is_chosen_and_reported_on_test_items() -> None:
    found = known(
        {
            "a@0.1": (-0.01, 0.10, 0, 0),
            "a@0.2": (-0.05, 0.30, 0, 0),
            "a@0.4": (-0.30, 0.60, 0, 0),
            "a@0.8": (-0.60, 0.90, 0, 0),
        }
    )
    headline = by_family(found)["a"]
    assert headline.chosen.point.dose == 0.2 and headline.status == "within budget"
    assert headline.chosen.gain.low < 0.30 < headline.chosen.gain.high
    assert headline.chosen.loss.low < 0.05 / 0.95 < headline.chosen.loss.high
    assert headline.figure == headline.chosen.gain.mean
    assert headline.chosen.gain.clusters == 64  # the test items alone
    assert by_family(found, 0.4)["a"].chosen.point.dose == 0.4


def test_doses_are_climbed_and_none_behind_the_first_break_is_taken() -> None:
    found = known({"a@0.1": (-0.02, 0.1, 0, 0), "a@0.2": (-0.5, 0.2, 0, 0), "a@0.3": (-0.02, 0.9, 0, 0)})
    assert by_family(found)["a"].chosen.point.dose == 0.1


def test_doing_nothing_and_breaking_the_prompt_score_0() -> None:
    found = known(
        {"nothing@0.5": (0, 0, 0, 0), "broken": (-0.9, 0.9, 2.0, 0.3), "worse@0.1": (0, -0.04, 0, 0)},
    )
    for headline in headlines(found, 0.1):
        assert (headline.figure, headline.status, headline.chosen) == (0.0, "no dose fits", None)


def test_a_dose_that_breaks_the_budget_on_test_items_scores_0() -> None:
    found = known({"lucky@0.3": (-0.05, 0.4, 0, 0)}, items=288)
    prompt = found.values["prompt"]
    prompt[found.index["lucky@0.3"], [split == "test" for split in found.splits]] -= 0.3
    headline = by_family(found)["lucky"]
    assert headline.status == "over budget" and headline.figure == 0.0 and headline.chosen.loss.low > 0.1


def test_settings_that_are_no_dose_make_families_of_their_own() -> None:
    found = known(
        {"a@0.2": (0, 0.1, 0, 0), "a@0.1": (0, 0.1, 0, 0), "a:layer=-8@0.1": (0, 0.2, 0, 0), "b": (0, 0.3, 0, 0)}
    )
    rows = {family: [found.points[row].dose for row in rows] for family, rows in families(found).items()}
    assert rows == {"a": [0.1, 0.2], "a:layer=-8": [0.1], "b": [None]}
    assert [headline.family for headline in headlines(found, 0.1)] == ["b", "a:layer=-8", "a"]


def test_without_a_development_part_no_dose_is_chosen() -> None:
    found = known({"a@0.1": (0, 0.1, 0, 0)}).on("test")
    with pytest.raises(UsageError, match="no development and test part"):
        headlines(found, 0.1)


def test_items_without_a_value_are_left_out_of_both() -> None:
    found = known({"a@0.1": (-0.05, 0.2, 0, 0)})
    found.values["gain"][:, :10] = np.nan  # a style that is not known is unscorable for every configuration
    found.values["prompt"][found.index["a@0.1"], 5] = np.nan
    (measured,) = measure_points(found, [found.index["a@0.1"]]).values()
    assert (measured.gain.clusters, measured.loss.clusters) == (86, 95)
    assert np.isfinite([measured.gain.mean, measured.loss.mean]).all()


def test_one_that_gains_as_much_for_less_dominates() -> None:
    found = known({"dear@0.5": (-0.3, 0.5, 0, 0), "cheap@0.2": (-0.1, 0.5, 0, 0)})
    assert found.dominating("dear@0.5") == "cheap@0.2"
    assert found.dominating("cheap@0.2") is None


@pytest.mark.parametrize(
    "rival",
    [
        (-0.1, 0.40, 0, 0),  # gains less
        (-0.3, 0.50, 0, 0),  # costs the same
        (-0.1, 0.50, 0.5, 0),  # has a grid instead
        (-0.1, 0.50, 0, 0.1),  # drifts instead
    ],
)
def test_nothing_dominates_without_being_better_somewhere_and_worse_nowhere(rival: tuple[float, ...]) -> None:
    found = known({"dear@0.5": (-0.3, 0.5, 0, 0), "other@0.2": rival})  # type: ignore[dict-item]
    assert found.dominating("dear@0.5") is None


def test_controls_upper_bounds_and_own_doses_dominate_nothing() -> None:
    effects = {"dear@0.5": (-0.3, 0.5, 0.0, 0.0), "dear@0.2": (-0.1, 0.5, 0.0, 0.0)}
    effects |= {"control@0.2": (-0.1, 0.5, 0.0, 0.0), "fitted@0.2": (-0.1, 0.5, 0.0, 0.0)}
    found = known(effects, controls=("control",), bounds=("fitted",))
    assert found.rivals("dear@0.5") == []
    assert found.dominating("dear@0.5") is None


def test_equal_configurations_are_rarely_called_dominated() -> None:
    wrong = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        found = known(
            {"a@0.5": (-0.3, 0.5, 0.01, 0.02), **{f"b{i}@0.5": (-0.3, 0.5, 0.01, 0.02) for i in range(10)}}, 24, seed
        )
        for values in found.values.values():
            values[1:] += 0.2 * rng.normal(size=values[1:].shape)
        wrong += found.dominating("a@0.5") is not None
    assert wrong <= 4


def test_where_the_prompt_alone_scores_nothing_no_loss_is_stated() -> None:
    found = known({"a@0.1": (-0.01, 0.2, 0, 0)})
    found.values["prompt"][found.index["text_only"]] = -0.01  # a cosine of random weights
    assert not can_lose(found)
    with pytest.raises(UsageError, match="no prompt value above 0"):
        headlines(found, 0.1)
