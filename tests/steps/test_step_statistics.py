"""Normalisers, masks and combiners: the statistics they take and give."""

import math

import pytest
import torch
from torch import Tensor

from blendbench.core.tokens import Kind, Tokens
from blendbench.steps.combine import COMBINERS
from blendbench.steps.mask import MASKS, clamped, outlier_dimensions
from blendbench.steps.normalize import NORMALISERS, match, match_dimensions, mean_std, mix

DIM = 12


def rows(count: int, seed: int) -> Tensor:
    return torch.randn(count, DIM, generator=torch.Generator().manual_seed(seed))


def image(hidden: Tensor) -> Tokens:
    return Tokens(hidden, torch.full((len(hidden),), int(Kind.IMAGE)))


def with_sink(plain: Tensor) -> Tokens:
    """Give the first token, a template's, two dimensions of another order of magnitude."""
    hidden = plain.clone()
    hidden[0, 4], hidden[0, 9] = 13504, -4544
    return Tokens(hidden, torch.tensor([int(Kind.TEMPLATE)] + [int(Kind.TEXT)] * (len(hidden) - 1)))


def test_matching_gives_exactly_the_reference_statistics() -> None:
    x, reference = rows(50, 1), 3 * rows(70, 2) + 1
    matched = match(x, reference, 0)
    torch.testing.assert_close(matched.mean(0), reference.mean(0), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(matched.std(0, correction=0), reference.std(0, correction=0), atol=1e-5, rtol=1e-5)


def test_a_flat_dimension_at_the_height_of_a_sink_has_no_spread() -> None:
    flat = torch.full((220, 1), 13504.3)
    torch.testing.assert_close(match(flat, rows(50, 0) * 9, 0).std(0).max(), torch.tensor(0.0), atol=1e-3, rtol=0)


def test_without_the_sink_statistics_are_those_of_ordinary_tokens() -> None:
    plain = rows(12, 4)
    text, vision = with_sink(plain), image(rows(16, 2))
    kept = NORMALISERS.get("per_dim")(text, vision)
    assert kept[:, 4].std() > 1000  # what the published normalisation wrote into ordinary tokens
    dropped = NORMALISERS.get("per_dim_no_sink")(text, vision)
    assert torch.equal(dropped, match(vision.hidden, plain[1:], 0))
    back = match_dimensions(text, vision, "drop")
    assert torch.equal(back[0], text.hidden[0])
    torch.testing.assert_close(back[1:].mean(0), vision.hidden.mean(0), atol=1e-5, rtol=1e-5)


def test_the_other_normalisers() -> None:
    text, vision = image(5 * rows(12, 4)), image(rows(16, 2))
    assert NORMALISERS.get("none")(text, vision) is vision.hidden
    scaled = NORMALISERS.get("global")(text, vision)
    assert scaled.std(correction=0).item() == pytest.approx(text.hidden.std(correction=0).item(), rel=1e-5)
    torch.testing.assert_close(scaled / vision.hidden, (scaled / vision.hidden)[:1, :1].expand(16, DIM))
    hybrid, per_dim = NORMALISERS.get("hybrid")(text, vision), NORMALISERS.get("per_dim")(text, vision)
    torch.testing.assert_close(hybrid, (scaled + per_dim) / 2)


def test_the_outlier_test_sees_both_directions() -> None:
    text, vision = rows(500, 1), rows(500, 2)
    vision[:, 0] *= 100
    vision[:, 1] /= 100
    assert outlier_dimensions(vision, text, 10).nonzero().flatten().tolist() == [0, 1]
    assert not outlier_dimensions(vision[:1], text, 10).any()  # one token has no spread


def test_masks_touch_flagged_dimensions_alone() -> None:
    text, vision = rows(400, 1), rows(400, 2)
    vision[:, 0] *= 100
    vision[:, 1] = vision[:, 1] / 617 + 3  # lacks the spread that the text has, as dimension 396 does
    result = {name: MASKS.get(name)(text, vision, 5) for name in MASKS.names()}
    assert result["none"] is vision
    assert not result["zero"][:, :2].any()
    assert not result["zero_published"][:, 0].any() and torch.equal(result["zero_published"][:, 1], vision[:, 1])
    ratio = mean_std(result["clamp"], 0)[1] / mean_std(text, 0)[1]
    assert ratio[0, :2].tolist() == pytest.approx([5, 0.2], rel=1e-4)
    torch.testing.assert_close(result["clamp"][:, :2].mean(0), vision[:, :2].mean(0), atol=1e-3, rtol=1e-4)
    assert torch.equal(result["clamp"], clamped(vision, vision, text, 5))
    assert all(torch.equal(masked[:, 2:], vision[:, 2:]) for masked in result.values())


def test_combiners_end_at_both_sides() -> None:
    text, vision = rows(5, 1), 3 * rows(5, 2)
    for name in COMBINERS.names():
        torch.testing.assert_close(COMBINERS.get(name)(text, vision, 0), text)
    assert mix(text, vision, 1) is vision and mix(text, vision, 0) is text
    matched = COMBINERS.get("norm_lerp")(text, vision, 1)
    torch.testing.assert_close(matched.norm(dim=1), text.norm(dim=1))
    torch.testing.assert_close(torch.cosine_similarity(matched, vision), torch.ones(5))


def test_slerp_goes_along_the_arc_at_constant_speed() -> None:
    slerp = COMBINERS.get("slerp")
    text, vision = torch.eye(1, DIM).repeat(2, 1), torch.eye(DIM)[[1, 1]] * 3
    half, third = slerp(text, vision, 0.5), slerp(text, vision, 1 / 3)
    assert torch.allclose(half.norm(dim=1), torch.full((2,), 2.0))
    assert torch.allclose(half[:, 0], half[:, 1])
    assert torch.allclose(torch.atan2(third[:, 1], third[:, 0]), torch.full((2,), math.pi / 6))
    one = rows(3, 0)
    assert torch.allclose(slerp(one, 2 * one, 0.5), 1.5 * one, atol=1e-4)  # parallel: straight
    assert slerp(one, -one, 0.5).isfinite().all()
