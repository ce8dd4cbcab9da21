"""The plan of what shares the GPU's memory: the fewest loads that fit, from the published sizes."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from blendbench.models import residency
from blendbench.models.residency import GIB, GROUPS, PLANS, Sizes, choose, working_memory

# Billions of parameters of Z-Image-Turbo's networks in 16 bits, as bench/speed/full_size.py builds them.
FULL = {"text": 4.022, "vision": 4.438, "generate": 6.155 + 0.084, "score": 0.428 + 1.136, "judge": 4.438}
SIZES = Sizes({name: int(2e9 * count) for name, count in FULL.items()}, working_memory(1, 1024 * 1024, 2))


@pytest.mark.parametrize(
    ("gib", "plan"),
    [
        (8, "staged"),
        (16, "staged"),
        (23, "staged"),
        (24, "vision_apart"),
        (40, "vision_apart"),
        (42, "resident"),
        (None, "resident"),
    ],
)
def test_the_official_sizes_get_the_plan_of_their_card(gib: float | None, plan: str) -> None:
    assert choose(SIZES, None if gib is None else int(gib * GIB)).name == plan


def test_staged_needs_less_than_16_gib_and_all_but_the_vl_model_less_than_24() -> None:
    assert SIZES.needs("staged") <= 16 * GIB
    assert SIZES.needs("vision_apart") <= 24 * GIB


gigabytes = st.integers(0, 20).map(lambda n: n * GIB)
sizes = st.builds(
    lambda weights, working: Sizes(dict(zip(GROUPS, weights, strict=True)), dict(zip(GROUPS, working, strict=True))),
    st.tuples(*[gigabytes] * len(GROUPS)),
    st.tuples(*[gigabytes] * len(GROUPS)),
)


@given(sizes, gigabytes)
def test_what_is_chosen_fits_or_is_the_smallest(given_sizes: Sizes, budget: int) -> None:
    chosen = choose(given_sizes, budget)
    assert chosen.needs == given_sizes.needs(chosen.name)
    needs = [given_sizes.needs(name) for name in PLANS]
    assert needs == sorted(needs, reverse=True)
    assert chosen.needs <= budget or chosen.name == "staged"


def test_who_may_be_there_together() -> None:
    together = {name: {(a, b) for a in GROUPS for b in GROUPS if choose_named(name).together(a, b)} for name in PLANS}
    assert len(together["resident"]) == len(GROUPS) ** 2
    assert together["staged"] == {(group, group) for group in GROUPS}
    assert ("generate", "score") in together["vision_apart"]
    assert (
        not {("vision", "generate"), ("score", "vision"), ("score", "judge"), ("vision", "judge")}
        & together["vision_apart"]
    )


@pytest.mark.parametrize(
    ("gib", "encoding", "scoring"), [(24, False, False), (30, False, True), (42, False, False), (78, True, True)]
)
def test_what_is_together_works_at_once_only_where_memory_is_left_for_it(
    gib: int, encoding: bool, scoring: bool
) -> None:
    plan = choose(SIZES, gib * GIB)
    assert plan.at_once("text", "vision", "generate") == encoding
    assert plan.at_once("generate", "score") == scoring
    assert not choose(SIZES, 16 * GIB).at_once("generate", "score")


def choose_named(name: str) -> residency.Residency:
    return residency.Residency(name, 0, None)


def test_a_budget_limits_the_allocator_to_its_share_of_the_card(monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[float] = []

    class Card:
        total_memory = 80 * GIB

    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: Card)
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", limits.append)
    residency.limit("cuda", 16 * GIB)
    residency.limit("cuda", 100 * GIB)
    residency.limit("cpu", GIB)
    assert limits == [0.2, 1.0]


def test_the_peak_is_that_since_the_last_call(monkeypatch: pytest.MonkeyPatch) -> None:
    resets: list[int] = []
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 5)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: resets.append(1))
    assert residency.peak("cuda") == 5
    assert resets == [1]
    assert residency.peak("cpu") is None
