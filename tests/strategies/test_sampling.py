"""Known answers of what acts on parts of the sampling, and of compositions of one step of each kind."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from known_tokens import DIM, SIGMAS, blend, conditioning, rows, sources

from blendbench.core.conditioning import BlendError, Conditioning, Denoising
from blendbench.registry.strategies import Sources, get_strategy


@pytest.fixture
def given() -> Sources:
    return sources()


# one step of each kind

MASKED = {"threshold": 1.5, "alpha": 0.6}


@pytest.mark.parametrize(
    ("steps", "recipe", "values"),
    [
        ({}, "lerp", {}),
        ({"align": "kmeans", "alpha": 1}, "lerp", {"align": "kmeans", "alpha": 1}),
        ({"normalise": "global"}, "global_lerp", {}),
        ({"normalise": "per_dim"}, "per_dim_lerp", {}),
        ({"normalise": "per_dim_no_sink"}, "per_dim_lerp", {"sink": "drop"}),
        ({"normalise": "hybrid"}, "hybrid_lerp", {}),
        ({"mask": "zero", "outlier": 1.5, "alpha": 0.6}, "outlier_mask", MASKED),
        ({"mask": "clamp", "outlier": 1.5, "alpha": 0.6}, "outlier_mask", MASKED | {"mode": "clamp"}),
        ({"mask": "zero_published", "outlier": 1.5, "alpha": 0.6}, "outlier_mask_published", MASKED),
        ({"combine": "slerp"}, "slerp", {}),
        ({"combine": "norm_lerp"}, "norm_lerp", {}),
        ({"curve": "cosine", "alpha": 0.5}, "timestep_alpha", {"curve": "cosine"}),
    ],
)
def test_a_composition_with_one_step_changed_is_the_recipe_of_that_name(
    given: Sources, steps: dict[str, Any], recipe: str, values: dict[str, Any]
) -> None:
    sources = replace(given, corpus=(given.text,))
    composed, known = conditioning("composed", sources, **steps), conditioning(recipe, sources, **values)
    assert len(composed.steps) == len(known.steps)
    for ours, theirs in zip(composed.steps, known.steps, strict=True):
        torch.testing.assert_close(ours, theirs)
    if recipe != "lerp":
        assert composed.sha256() != conditioning("lerp", sources, alpha=steps.get("alpha", 0.3)).sha256()


# parts of the sampling


def test_alpha_follows_its_schedule(given: Sources) -> None:
    steps = conditioning("timestep_alpha", given, alpha=0.5, curve="linear_decay").steps
    for got, weight in zip(steps, [1, 2 / 3, 1 / 3, 0], strict=True):
        assert torch.allclose(got, blend("lerp", given, alpha=0.5 * weight), atol=1e-6)
    constant = conditioning("timestep_alpha", given, alpha=0.5, curve="constant").steps
    assert len(constant) == 1 and torch.equal(constant[0], blend("lerp", given, alpha=0.5))


def test_a_swap_is_the_text_first_and_the_blend_afterwards(given: Sources) -> None:
    steps = conditioning("timestep_swap", given, alpha=0.5, threshold=0.75).steps
    assert all(torch.equal(step, given.text.hidden) for step in steps[:3])
    assert torch.equal(steps[3], blend("lerp", given, alpha=0.5))
    assert len(conditioning("timestep_swap", given, threshold=0.0).steps) == 1


def test_an_injection_names_blocks_that_are_there(given: Sources) -> None:
    found = conditioning("block_injection", given, first=4, count=3, stride=1)
    assert found.blocks == (4, 5)
    assert torch.equal(found.rows, given.text.hidden)
    assert found.injected is not None and torch.equal(found.injected, blend("lerp", given))
    none = conditioning("block_injection", given, count=0)
    assert none.injected is None
    assert none.sha256() == conditioning("text_only", given).sha256()


def test_a_starting_image_is_part_of_the_identity_below_full_strength(given: Sources) -> None:
    start = conditioning("img2img", given, strength=0.7)
    assert start.sha256("a") != start.sha256("b")
    full = conditioning("img2img", given, strength=1.0)
    assert full.sha256("a") == conditioning("text_only", given).sha256()
    companion = get_strategy("img2img_lerp").bind(alpha=0.5, strength=0.7).companion()
    assert companion is not None and companion.label == "img2img:strength=0.7"
    assert conditioning("img2img_lerp", given, alpha=0, strength=0.7).sha256("a") == start.sha256("a")


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (Conditioning(()), "without steps"),
        (Conditioning((rows(3, 0), rows(4, 0), rows(3, 0), rows(3, 0))), "one shape"),
        (Conditioning((rows(3, 0), rows(3, 1))), "gave 2 steps; the transformer is called 4 times"),
        (Conditioning((rows(3, 0),), rows(4, 0), (0,)), "an injection needs one array"),
        (Conditioning((rows(3, 0),), rows(3, 1), (6,)), "not all among the 6"),
        (Conditioning((rows(3, 0),), strength=0), "outside"),
        (Conditioning(tuple(rows(3, s) for s in range(4)), strength=0.5), "cannot be combined"),
    ],
)
def test_an_unusable_conditioning_is_refused(made: Conditioning, message: str) -> None:
    with pytest.raises(BlendError, match=message):
        made.checked("tried", DIM, Denoising(SIGMAS, 6))


def test_equal_schedules_and_empty_injections_are_plain_conditionings() -> None:
    x = rows(3, 0)
    plain = Conditioning((x,)).checked("a", DIM, None).sha256()
    assert Conditioning((x, x, x, x)).checked("a", DIM, Denoising(SIGMAS, 6)).sha256() == plain
    assert Conditioning((x,), x.clone(), (1,)).checked("a", DIM, None).sha256() == plain
    assert Conditioning((x,), rows(3, 1), (1,)).checked("a", DIM, None).sha256() != plain
