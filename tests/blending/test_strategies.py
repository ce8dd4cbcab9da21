"""What every registered strategy must do, and the known answers of single ones."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from blendbench.blending import BlendError, Kind, Sources, Tokens, all_strategies, get_strategy, parse_configuration
from blendbench.blending.align import align_to
from blendbench.blending.normalise import match
from blendbench.blending.outliers import outlier_dimensions
from blendbench.blending.tokens import content, gaussian_like, select
from blendbench.errors import UsageError

DIM = 24


def tokens(count: int, kind: Kind, seed: int = 0) -> Tokens:
    rows = torch.randn(count, DIM, generator=torch.Generator().manual_seed(seed))
    return Tokens(rows, torch.full((count,), int(kind)))


def sources(text: int = 11, vision: int = 16) -> Sources:
    return Sources(tokens(text, Kind.TEXT, 1), tokens(vision, Kind.IMAGE, 2), tokens(vision, Kind.IMAGE, 3))


ALL = sorted(all_strategies())
WITH_ALPHA = [name for name in ALL if "alpha" in get_strategy(name).parameters]


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize(("text", "vision"), [(11, 16), (16, 11), (1, 16), (11, 1), (1, 1)])
def test_every_strategy_gives_finite_rows_of_the_right_width(name: str, text: int, vision: int) -> None:
    result = get_strategy(name).bind().blend(sources(text, vision))
    assert result.shape[1] == DIM
    assert result.dtype == torch.float32


@pytest.mark.parametrize("name", WITH_ALPHA)
def test_alpha_zero_is_the_text_bit_for_bit(name: str) -> None:
    given_sources = sources()
    assert torch.equal(get_strategy(name).bind(alpha=0).blend(given_sources), given_sources.text.hidden)


@pytest.mark.parametrize("name", ALL)
def test_every_strategy_is_documented(name: str) -> None:
    strategy = get_strategy(name)
    assert strategy.source
    assert strategy.equation
    assert strategy.doc


@pytest.mark.parametrize("name", ALL)
def test_constant_tokens_do_not_divide_by_zero(name: str) -> None:
    flat = Sources(*(Tokens(torch.ones(5, DIM), torch.full((5,), 1)) for _ in range(3)))
    assert torch.isfinite(get_strategy(name).bind().blend(flat)).all()


@pytest.mark.parametrize("name", [n for n in ALL if "vision" in get_strategy(n).inputs])
def test_a_nan_in_the_vision_tokens_is_an_error_not_a_conditioning(name: str) -> None:
    broken = sources()
    assert broken.vision is not None
    broken.vision.hidden[:] = math.nan
    with pytest.raises(BlendError, match="not finite"):
        get_strategy(name).bind().blend(broken)


def test_a_missing_input_is_named() -> None:
    with pytest.raises(BlendError, match="style_delta needs neutral"):
        get_strategy("style_delta").bind().blend(Sources(tokens(3, Kind.TEXT), tokens(3, Kind.IMAGE)))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("lerp:alpha=2", "lerp: alpha = 2 is outside 0..1"),
        ("lerp:alpha=nan", "not a number"),
        ("lerp:alpha=x", "not a number"),
        ("lerp:alhpa=0.1", "did you mean 'alpha'"),
        ("lerp:align=crop", "truncate, interpolate, area"),
        ("lerp:layer=1.5", "not an integer"),
        ("lrep", "did you mean 'lerp'"),
        ("lerp:alpha", "is not parameter=value"),
    ],
)
def test_wrong_configurations_get_one_line_with_the_mend(text: str, told: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_configuration(text)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_labels_name_alpha_and_what_differs_from_the_defaults() -> None:
    assert parse_configuration("lerp").label == "lerp:alpha=0.3"
    assert parse_configuration("lerp:alpha=0.30,align=truncate").label == "lerp:alpha=0.3,align=truncate"
    assert parse_configuration("noise_reference").label == "noise_reference"


def test_lerp_at_alpha_one_is_the_aligned_vision() -> None:
    given_sources = sources(11, 11)
    assert given_sources.vision is not None
    assert torch.equal(get_strategy("lerp").bind(alpha=1).blend(given_sources), given_sources.vision.hidden)


def test_alignments_read_what_they_say() -> None:
    text, vision = torch.zeros(2, 1), torch.arange(8.0)[:, None]
    assert align_to(text, vision, "truncate")[1].flatten().tolist() == [0, 1]
    assert align_to(text, vision, "area")[1].flatten().tolist() == [1.5, 5.5]  # the means of both halves
    assert align_to(text, vision, "interpolate")[1].flatten().tolist() == [1.5, 5.5]
    spike = torch.zeros(8, 1)
    spike[0] = 8
    assert align_to(text, spike, "area")[1].flatten().tolist() == [2, 0]
    assert align_to(text, spike, "interpolate")[1].flatten().tolist() == [0, 0]  # two taps do not see it


@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from(["interpolate", "area"]))
@settings(max_examples=40, deadline=None)
def test_aligning_a_constant_gives_that_constant(text: int, vision: int, how: str) -> None:
    rows = align_to(torch.zeros(text, 3), torch.full((vision, 3), 2.5), how)[1]  # type: ignore[arg-type]
    torch.testing.assert_close(rows, torch.full((text, 3), 2.5))


def test_per_token_adain_only_scales_and_shifts_each_token() -> None:
    given_sources = sources(11, 11)
    result = get_strategy("adain_token").bind(alpha=1).blend(given_sources)
    centred = given_sources.text.hidden - given_sources.text.hidden.mean(1, keepdim=True)
    moved = result - result.mean(1, keepdim=True)
    assert torch.cosine_similarity(centred, moved).min() > 1 - 1e-6


def test_matching_gives_exactly_the_reference_statistics() -> None:
    x, reference = torch.randn(50, DIM), 3 * torch.randn(70, DIM) + 1
    matched = match(x, reference, 0)
    torch.testing.assert_close(matched.mean(0), reference.mean(0), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(matched.std(0, correction=0), reference.std(0, correction=0), atol=1e-5, rtol=1e-5)


def test_the_outlier_test_sees_both_directions() -> None:
    text, vision = torch.randn(500, 3), torch.randn(500, 3)
    vision[:, 0] *= 100
    vision[:, 1] /= 100
    assert outlier_dimensions(vision, text, 10).tolist() == [True, True, False]


def test_clamped_outliers_end_at_the_threshold() -> None:
    text, vision = torch.randn(400, 4), torch.randn(400, 4)
    vision[:, 0] *= 100
    both = Sources(Tokens(text, torch.ones(400)), Tokens(vision, torch.full((400,), 3)))
    result = get_strategy("outlier_mask").bind(alpha=1, mode="clamp", threshold=5).blend(both)
    assert math.isclose(float(result[:, 0].std() / text[:, 0].std()), 5, rel_tol=0.01)
    torch.testing.assert_close(result[:, 1:], vision[:, 1:])


def test_a_delta_from_the_same_picture_is_the_text() -> None:
    given_sources = sources()
    same = Sources(given_sources.text, given_sources.vision, given_sources.vision)
    assert torch.equal(get_strategy("style_delta").bind(alpha=2).blend(same), given_sources.text.hidden)


@pytest.mark.parametrize(("share", "length"), [(0, 11), (0.5, 19), (1, 27)])
def test_concatenation_keeps_the_text_and_doses_the_vision(share: float, length: int) -> None:
    given_sources = sources()
    result = get_strategy("concatenate").bind(share=share).blend(given_sources)
    assert len(result) == length
    assert torch.equal(result[:11], given_sources.text.hidden)


def test_norm_matched_mixing_keeps_token_norms() -> None:
    given_sources = sources(11, 11)
    result = get_strategy("norm_lerp").bind(alpha=1).blend(given_sources)
    torch.testing.assert_close(result.norm(dim=1), given_sources.text.hidden.norm(dim=1))


def test_selection_keeps_kinds_in_order() -> None:
    kinds = torch.tensor([0, 2, 3, 3, 2, 1, 1, 0])
    every = Tokens(torch.arange(8.0)[:, None], kinds, (1, 2))
    assert select(every, "text").hidden.flatten().tolist() == [0, 5, 6, 7]
    assert select(every, "image").hidden.flatten().tolist() == [1, 2, 3, 4]
    assert select(every, "image_no_markers").hidden.flatten().tolist() == [2, 3]
    assert len(select(every, "full")) == 8
    assert content(every).hidden.flatten().tolist() == [5, 6]
    with pytest.raises(ValueError, match="image"):
        select(tokens(3, Kind.TEXT), "image")


def test_noise_has_the_norms_of_what_it_replaces_and_follows_its_seed() -> None:
    real = tokens(9, Kind.IMAGE)
    noise = gaussian_like(real, 5)
    torch.testing.assert_close(noise.hidden.norm(dim=1), real.hidden.norm(dim=1))
    assert torch.equal(noise.hidden, gaussian_like(real, 5).hidden)
    assert not torch.equal(noise.hidden, gaussian_like(real, 6).hidden)
