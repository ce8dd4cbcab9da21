"""Cosines, attribute adherence and reference style, on encoders and probes whose answers are known."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from blendbench.core.suites import Attributes
from blendbench.metrics import Batch, measure

COLOURS, SHAPES = ("red", "blue", "green"), ("circle", "star")
STYLES, BACKGROUNDS = ("flat", "striped"), ("white", "black")


def reading(objects: dict[tuple[str, str], float], style: float = 1.0, background: float = 1.0) -> SimpleNamespace:
    """One image: P of each object, P(flat), P(white)."""
    grid = torch.zeros(1, len(COLOURS), len(SHAPES))
    for (colour, shape), probability in objects.items():
        grid[0, COLOURS.index(colour), SHAPES.index(shape)] = probability
    return SimpleNamespace(
        objects=grid,
        style=torch.tensor([[style, 1 - style]]),
        background=torch.tensor([[background, 1 - background]]),
        colours=COLOURS,
        shapes=SHAPES,
        styles=STYLES,
        backgrounds=BACKGROUNDS,
    )


def score(name: str, read: SimpleNamespace, stated: Attributes | None) -> "float | str | None":
    batch = Batch(
        torch.zeros(1, 3, 8, 8, dtype=torch.uint8),
        expects=[stated],
        reference_expects=[stated],
        scorers=SimpleNamespace(clip=None, siglip=None, probe=lambda images: read),
    )
    outcome = measure(batch, [name])[name][0]
    return outcome.value if outcome.status == "ok" else f"{outcome.status}: {outcome.error}"


RED_CIRCLE = Attributes(objects=(("red", "circle"),))


@pytest.mark.parametrize(
    ("read", "stated", "expected"),
    [
        (reading({("red", "circle"): 1}), RED_CIRCLE, 1.0),
        (reading({}), RED_CIRCLE, 0.0),
        # The object is there, but so is another: one fact of two.
        (reading({("red", "circle"): 1, ("blue", "star"): 1}), RED_CIRCLE, 0.5),
        (reading({("red", "circle"): 0.8, ("blue", "star"): 0.5}), RED_CIRCLE, (0.8 + 0.8 * 0.5) / 2),
        (reading({("blue", "star"): 1}), RED_CIRCLE, 0.0),
        (reading({}, background=0.7), Attributes(objects=(), background="white"), 0.7),
        (reading({}, style=0.2), Attributes(objects=(), style="striped"), 0.8),
        (
            reading({("red", "circle"): 1, ("blue", "star"): 1}, style=0.5, background=0.0),
            Attributes(objects=(("red", "circle"), ("blue", "star")), background="white", style="flat"),
            (1 + 1 + 1 + 0 + 0.5) / 5,
        ),
        (
            reading({("red", "circle"): 1}),
            Attributes(objects=(("red", "circle"), ("red", "circle"))),
            1.0,
        ),
    ],
)
def test_adherence_is_the_mean_of_the_stated_facts(read: SimpleNamespace, stated: Attributes, expected: float) -> None:
    assert score("attribute_adherence", read, stated) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("stated", [None, Attributes(objects=())])
def test_a_prompt_that_states_nothing_is_unscorable(stated: Attributes | None) -> None:
    assert str(score("attribute_adherence", reading({}), stated)).startswith("unscorable")


def test_a_name_that_the_probe_does_not_know_is_a_failure_that_names_it() -> None:
    found = score("attribute_adherence", reading({}), Attributes(objects=(("mauve", "circle"),)))
    assert str(found).startswith("failed") and "mauve" in str(found) and "red, blue, green" in str(found)


@settings(max_examples=50, deadline=None)
@given(st.floats(0, 1, width=32), st.floats(0, 1, width=32), st.floats(0, 1, width=32))
def test_adherence_never_falls_when_a_stated_fact_becomes_likelier(low: float, high: float, other: float) -> None:
    low, high = sorted((low, high))
    found = [
        score("attribute_adherence", reading({("red", "circle"): p, ("blue", "star"): other}), RED_CIRCLE)
        for p in (low, high)
    ]
    assert all(isinstance(x, float) for x in found)
    assert found[0] <= found[1] + 1e-6  # type: ignore[operator]


def test_reference_style_is_the_probability_of_the_references_style() -> None:
    assert score("reference_style", reading({}, style=0.25), Attributes((), style="striped")) == pytest.approx(0.75)


@pytest.mark.parametrize("stated", [None, RED_CIRCLE])
def test_a_reference_of_unknown_style_is_unscorable(stated: Attributes | None) -> None:
    assert str(score("reference_style", reading({}), stated)).startswith("unscorable")


def test_cosines_are_raw_and_belong_to_their_own_prompt() -> None:
    angles = np.deg2rad([0, 60, 120, 180])
    rows = torch.tensor(np.stack([np.cos(angles), np.sin(angles)], 1), dtype=torch.float32)
    encoder = SimpleNamespace(
        encode_images=lambda images: rows,
        encode_texts=lambda texts: torch.tensor([[1.0, 0.0]]).expand(len(texts), 2),
    )
    batch = Batch(
        torch.zeros(4, 3, 8, 8, dtype=torch.uint8),
        prompts=["a"] * 4,
        scorers=SimpleNamespace(clip=encoder, siglip=encoder, probe=None),
    )
    for name in ("clip_cosine", "siglip_cosine"):
        found = [outcome.value for outcome in measure(batch, [name])[name]]
        np.testing.assert_allclose(np.array(found, dtype=float), [1, 0.5, -0.5, -1], atol=1e-6)
