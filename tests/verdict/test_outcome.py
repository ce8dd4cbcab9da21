"""From the states of the roles to one word and one exit code."""

import itertools

import pytest

from blendbench.core.metric_info import Role
from blendbench.stats.decide import Decision
from blendbench.verdict.outcome import (
    EXIT_CODES,
    Word,
    change_outcome,
    cost_state,
    gain_state,
    gravest,
    idea_outcome,
)

DECISIONS: tuple[Decision, ...] = ("better", "worse", "equivalent", "undecided")


def found(prompt: Decision, artifact: Decision, drift: Decision, gain: Decision) -> dict[Role, Decision]:
    return {"prompt": prompt, "artifact": artifact, "drift": drift, "gain": gain}


@pytest.mark.parametrize(
    ("states", "word"),
    [
        (("equivalent", "equivalent", "equivalent", "equivalent"), "no effect"),
        (("equivalent", "equivalent", "equivalent", "better"), "better"),
        (("equivalent", "better", "equivalent", "better"), "better"),
        (("equivalent", "better", "equivalent", "equivalent"), "cheaper"),
        (("worse", "equivalent", "equivalent", "better"), "trade"),
        (("worse", "undecided", "equivalent", "better"), "trade"),
        (("worse", "equivalent", "equivalent", "undecided"), "undecided"),
        (("worse", "equivalent", "equivalent", "equivalent"), "regression"),
        (("worse", "better", "equivalent", "worse"), "regression"),
        (("equivalent", "equivalent", "equivalent", "worse"), "regression"),
        (("equivalent", "undecided", "equivalent", "better"), "undecided"),
        (("equivalent", "undecided", "equivalent", "equivalent"), "undecided"),
        (("better", "equivalent", "equivalent", "undecided"), "undecided"),
    ],
)
def test_an_idea_is_judged_by_gain_and_costs(states: tuple[Decision, ...], word: Word) -> None:
    assert idea_outcome(found(*states)) == word


def test_a_trade_is_dominated_where_something_known_is_shown_to_do_better() -> None:
    states = found("worse", "equivalent", "equivalent", "better")
    assert idea_outcome(states, dominated=True) == "dominated"
    for prompt, artifact, drift, gain in itertools.product(DECISIONS, repeat=4):
        states = found(prompt, artifact, drift, gain)
        if idea_outcome(states) != "trade":
            assert idea_outcome(states, dominated=True) == idea_outcome(states)


def test_no_idea_with_an_undecided_part_passes_as_if_it_cost_nothing() -> None:
    for prompt, artifact, drift, gain in itertools.product(DECISIONS, repeat=4):
        word = idea_outcome(found(prompt, artifact, drift, gain))
        if word in ("better", "cheaper", "no effect"):
            assert not {"worse", "undecided"} & {prompt, artifact, drift, gain}
        if "worse" in (prompt, artifact, drift):
            assert word in ("trade", "regression", "undecided")


def test_a_gain_that_was_not_measured_counts_as_none() -> None:
    assert idea_outcome({"prompt": "equivalent"}) == "no effect"
    assert idea_outcome({"prompt": "worse"}) == "regression"
    assert idea_outcome({"prompt": "equivalent", "artifact": "better"}) == "cheaper"


def test_a_change_may_make_no_role_worse() -> None:
    for prompt, artifact, drift, gain in itertools.product(DECISIONS, repeat=4):
        states = found(prompt, artifact, drift, gain)
        word = change_outcome(states)
        assert (word == "regression") == ("worse" in states.values())
        assert EXIT_CODES[word] != 0 or not {"worse", "undecided"} & set(states.values())
    assert change_outcome(found("equivalent", "equivalent", "equivalent", "better")) == "better"
    assert change_outcome(found("better", "equivalent", "equivalent", "equivalent")) == "cheaper"
    assert change_outcome(found("equivalent", "equivalent", "equivalent", "equivalent")) == "no effect"


def test_the_worst_metric_of_a_cost_counts() -> None:
    assert cost_state([]) is None
    assert cost_state(["equivalent", "better", "undecided"]) == "undecided"
    assert cost_state(["better", "worse", "undecided"]) == "worse"
    assert cost_state(["equivalent", "better"]) == "better"


def test_the_primary_metric_of_the_gain_counts_first() -> None:
    assert gain_state([]) is None
    assert gain_state(["better", "worse"]) == "better"
    assert gain_state(["worse", "better"]) == "worse"
    assert gain_state(["undecided", "better"]) == "better"
    assert gain_state(["equivalent", "better", "worse"]) == "undecided"
    assert gain_state(["undecided", "equivalent"]) == "undecided"
    assert gain_state(["equivalent", "equivalent"]) == "equivalent"


def test_of_several_exit_codes_usage_and_a_blind_benchmark_count_before_a_regression() -> None:
    codes = [0, 3, 1, 5, 4, 2]
    order = []
    while codes:
        order.append(gravest(codes))
        codes.remove(order[-1])
    assert order == [2, 4, 5, 1, 3, 0]
