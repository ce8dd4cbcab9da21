"""What every registered strategy must do, and the known answers of single ones."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from blendbench.core.conditioning import BlendError, Denoising
from blendbench.core.errors import UsageError
from blendbench.core.tokens import Kind, Pair, Tokens, content, gaussian_like, select
from blendbench.registry.strategies import Sources, all_strategies, get_strategy, parse_configuration
from blendbench.steps.align import align_to
from blendbench.steps.mask import outlier_dimensions
from blendbench.steps.normalize import match, match_dimensions

DIM = 24


def tokens(count: int, kind: Kind, seed: int = 0) -> Tokens:
    rows = torch.randn(count, DIM, generator=torch.Generator().manual_seed(seed))
    return Tokens(rows, torch.full((count,), int(kind)))


DENOISING = Denoising((1.0, 0.9, 0.75, 0.5), blocks=6)


def of_everything(text: Tokens, *images: Tokens) -> Sources:
    """Sources with every input that a strategy can ask for, of four images."""
    vision, neutral, other, wordless = images
    pairs = (Pair(text, vision, neutral), Pair(text, other, wordless))
    return Sources(text, vision, neutral, other, wordless, (text, text), pairs, DENOISING)


def sources(text: int = 11, vision: int = 16) -> Sources:
    images = [tokens(vision, Kind.IMAGE, seed) for seed in (2, 3, 4, 5)]
    return of_everything(tokens(text, Kind.TEXT, 1), *images)


def as_selected(name: str, given_sources: Sources) -> Sources:
    """The sources with the kinds of vision tokens that a strategy reads by default."""
    mode = get_strategy(name).parameters.get("tokens")
    if mode is None or mode.default == "image_no_markers" or given_sources.vision is None:
        return given_sources
    words, image = given_sources.text, given_sources.vision
    kinds = torch.tensor([int(Kind.IMAGE)] * len(image) + [int(Kind.TEXT)] * len(words))
    turn = Tokens(torch.cat((image.hidden, words.hidden)), kinds)
    return replace(given_sources, vision=select(turn, mode.default))


ALL = sorted(all_strategies())
# Whose alpha 0 is the text: not that of a blend of Qwen3-VL's own tokens, nor of two images with a second weight.
WITH_ALPHA = [
    name
    for name in ALL
    if "alpha" in get_strategy(name).parameters
    and name != "dual_extraction"
    and "beta" not in get_strategy(name).parameters
]


SELECT = ("reference", "tokens", "text_layer", "neutral_picture")


def variants(name: str) -> list[dict[str, object]]:
    """The defaults, and each choice of each of the strategy's own settings."""
    own = [p for p in get_strategy(name).parameters.values() if p.name not in SELECT]
    return [{}, *({p.name: choice} for p in own for choice in p.options)]


EVERY_VARIANT = [(name, values) for name in ALL for values in variants(name)]


@pytest.mark.parametrize(("name", "values"), EVERY_VARIANT)
@pytest.mark.parametrize(("text", "vision"), [(11, 16), (16, 11), (1, 16), (11, 1), (1, 1)])
def test_every_strategy_gives_finite_rows_of_the_right_width(
    name: str, values: dict[str, object], text: int, vision: int
) -> None:
    result = get_strategy(name).bind(**values).blend(as_selected(name, sources(text, vision))).rows
    assert result.shape[1] == DIM
    assert result.dtype == torch.float32


@pytest.mark.parametrize(("name", "values"), [(n, v) for n, v in EVERY_VARIANT if n in WITH_ALPHA])
@pytest.mark.parametrize(("text", "vision"), [(11, 16), (16, 11), (1, 1)])
def test_alpha_zero_is_the_text_bit_for_bit(name: str, values: dict[str, object], text: int, vision: int) -> None:
    given_sources = sources(text, vision)
    result = get_strategy(name).bind(alpha=0, **values).blend(given_sources).rows
    assert torch.equal(result, given_sources.text.hidden)


@pytest.mark.parametrize(("name", "values"), EVERY_VARIANT)
def test_strategies_are_functions_of_their_inputs(name: str, values: dict[str, object]) -> None:
    bound = get_strategy(name).bind(**values)
    torch.manual_seed(0)
    first = bound.blend(as_selected(name, sources())).steps
    torch.manual_seed(1)
    again = bound.blend(as_selected(name, sources())).steps
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


@pytest.mark.parametrize("name", ALL)
def test_every_strategy_is_documented(name: str) -> None:
    strategy = get_strategy(name)
    assert strategy.source
    assert strategy.equation
    assert strategy.doc


@pytest.mark.parametrize(("name", "values"), EVERY_VARIANT)
@pytest.mark.parametrize("level", [0.0, 1.0, 13504.3])  # the last is the largest activation known of the real encoder
def test_constant_tokens_do_not_divide_by_zero(name: str, values: dict[str, object], level: float) -> None:
    words = Tokens(torch.full((7, DIM), level), torch.full((7,), int(Kind.TEXT)))
    images = [Tokens(torch.full((7, DIM), level), torch.full((7,), int(Kind.IMAGE))) for _ in range(4)]
    result = get_strategy(name).bind(**values).blend(as_selected(name, of_everything(words, *images))).rows
    assert torch.isfinite(result).all()
    assert result.abs().max() <= max(level, 1) * 1.51  # a gain of 0.5 on top at most


@pytest.mark.parametrize("name", [n for n in ALL if "vision" in get_strategy(n).inputs])
def test_a_nan_in_the_vision_tokens_is_an_error_not_a_conditioning(name: str) -> None:
    broken = as_selected(name, sources())
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
        ("lerp:layer=1.5", "neither a layer"),
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
    assert parse_configuration("noise_reference:alpha=0.6").label == "noise_reference:alpha=0.6"


@pytest.mark.parametrize("name", ALL)
def test_a_label_reads_back_as_its_configuration(name: str) -> None:
    strategy = get_strategy(name)
    for values in [*variants(name), *({"alpha": a} for a in (0, 1, 0.1, 1 / 3) if name in WITH_ALPHA)]:
        bound = strategy.bind(**values)
        assert parse_configuration(bound.label).key() == bound.key()


def test_lerp_at_alpha_one_is_the_aligned_vision() -> None:
    given_sources = sources(11, 11)
    assert given_sources.vision is not None
    assert torch.equal(get_strategy("lerp").bind(alpha=1).blend(given_sources).rows, given_sources.vision.hidden)


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


@given(st.integers(1, 30), st.integers(1, 60))
@settings(max_examples=40, deadline=None)
def test_area_alignment_is_the_mean_of_the_rows_covered(text: int, vision: int) -> None:
    rows = tokens(vision, Kind.IMAGE).hidden
    covered = [rows[i * vision // text : -(-(i + 1) * vision // text)] for i in range(text)]
    expected = torch.stack([part.double().mean(0) for part in covered]).float()
    torch.testing.assert_close(align_to(torch.zeros(text, DIM), rows, "area")[1], expected)


@given(st.integers(1, 30), st.integers(1, 200))
@settings(max_examples=40, deadline=None)
def test_two_taps_read_two_rows_each_and_area_reads_all(text: int, vision: int) -> None:
    def read(how: str) -> int:
        rows = torch.eye(vision)  # column j of the result shows where row j went
        return int((align_to(torch.zeros(text, vision), rows, how)[1] != 0).any(0).sum())  # type: ignore[arg-type]

    assert read("area") == vision
    assert read("interpolate") <= min(2 * text, vision)


def test_truncation_keeps_the_first_rows_of_both() -> None:
    short, long = torch.arange(3.0)[:, None], torch.arange(10.0, 15.0)[:, None]
    for text, vision in ((short, long), (long, short)):
        kept_text, kept_vision = align_to(text, vision, "truncate")
        assert torch.equal(kept_text, text[:3])
        assert torch.equal(kept_vision, vision[:3])


def test_per_token_adain_only_scales_and_shifts_each_token() -> None:
    given_sources = sources(11, 11)
    result = get_strategy("adain_token").bind(alpha=1).blend(given_sources).rows
    centred = given_sources.text.hidden - given_sources.text.hidden.mean(1, keepdim=True)
    moved = result - result.mean(1, keepdim=True)
    assert torch.cosine_similarity(centred, moved).min() > 1 - 1e-6


def test_matching_gives_exactly_the_reference_statistics() -> None:
    x, reference = torch.randn(50, DIM), 3 * torch.randn(70, DIM) + 1
    matched = match(x, reference, 0)
    torch.testing.assert_close(matched.mean(0), reference.mean(0), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(matched.std(0, correction=0), reference.std(0, correction=0), atol=1e-5, rtol=1e-5)


def with_sink(rows: torch.Tensor) -> Tokens:
    """Tokens whose first is a template token with two dimensions of another order of magnitude."""
    rows = rows.clone()
    rows[0, 4], rows[0, 9] = 13504, -4544
    return Tokens(rows, torch.tensor([int(Kind.TEMPLATE)] + [int(Kind.TEXT)] * (len(rows) - 1)))


def test_without_the_sink_statistics_are_those_of_ordinary_tokens() -> None:
    plain = torch.randn(12, DIM, generator=torch.Generator().manual_seed(4))
    text, vision = with_sink(plain), tokens(16, Kind.IMAGE, 2)
    kept = match_dimensions(vision, text, "keep")
    assert kept[:, 4].std() > 1000  # what the seed's normalisation wrote into ordinary tokens
    dropped = match_dimensions(vision, text, "drop")
    assert torch.equal(dropped, match(vision.hidden, plain[1:], 0))
    back = match_dimensions(text, vision, "drop")
    assert torch.equal(back[0], text.hidden[0])
    torch.testing.assert_close(back[1:].mean(0), vision.hidden.mean(0), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["per_dim_lerp", "adain_dim", "outlier_mask"])
def test_leaving_the_sink_out_matters_only_where_there_is_one(name: str) -> None:
    vision = tokens(16, Kind.IMAGE, 2)

    def both(text: Tokens) -> list[torch.Tensor]:
        return [get_strategy(name).bind(sink=sink).blend(Sources(text, vision)).rows for sink in ("keep", "drop")]

    without = both(tokens(11, Kind.TEXT, 1))
    assert torch.equal(*without)
    sunk = both(with_sink(tokens(11, Kind.TEXT, 1).hidden))
    assert not torch.equal(*sunk)


def test_a_flat_dimension_at_the_height_of_a_sink_has_no_spread() -> None:
    flat = torch.full((220, 1), 13504.3)
    torch.testing.assert_close(match(flat, torch.randn(50, 1) * 9 + 2, 0).std(), torch.tensor(0.0), atol=1e-3, rtol=0)


def test_the_outlier_test_sees_both_directions() -> None:
    text, vision = torch.randn(500, 3), torch.randn(500, 3)
    vision[:, 0] *= 100
    vision[:, 1] /= 100
    assert outlier_dimensions(vision, text, 10).tolist() == [True, True, False]
    assert not outlier_dimensions(vision[:1], text, 10).any()  # one token has no spread


def test_masking_touches_flagged_dimensions_alone() -> None:
    text, vision = tokens(40, Kind.TEXT, 1), tokens(40, Kind.IMAGE, 2)
    vision.hidden[:, 0] = vision.hidden[:, 0] / 617 + 3  # lacks the spread that the text has, as dimension 396 does
    given_sources = Sources(text, vision)
    result = {m: get_strategy("outlier_mask").bind(alpha=1, mode=m).blend(given_sources).rows for m in ("zero", "text")}
    assert result["zero"][:, 0].unique().tolist() == [0]
    assert torch.equal(result["text"][:, 0], text.hidden[:, 0])
    clamped = get_strategy("outlier_mask").bind(alpha=1, mode="clamp").blend(given_sources).rows
    torch.testing.assert_close(clamped[:, 0].mean(), vision.hidden[:, 0].mean())  # the spread grows, not the mean
    for rows in (*result.values(), clamped):
        assert torch.equal(rows[:, 1:], vision.hidden[:, 1:])


def test_clamped_outliers_end_at_the_threshold() -> None:
    text, vision = torch.randn(400, 4), torch.randn(400, 4)
    vision[:, 0] *= 100
    both = Sources(Tokens(text, torch.ones(400)), Tokens(vision, torch.full((400,), 3)))
    result = get_strategy("outlier_mask").bind(alpha=1, mode="clamp", threshold=5).blend(both).rows
    assert math.isclose(float(result[:, 0].std() / text[:, 0].std()), 5, rel_tol=0.01)
    torch.testing.assert_close(result[:, 1:], vision[:, 1:])


def test_a_delta_from_the_same_image_is_the_text() -> None:
    given_sources = sources()
    same = Sources(given_sources.text, given_sources.vision, given_sources.vision)
    assert torch.equal(get_strategy("style_delta").bind(alpha=2).blend(same).rows, given_sources.text.hidden)


def test_a_blank_of_another_size_is_compared_place_by_place() -> None:
    text = tokens(5, Kind.TEXT, 1)
    ramp = torch.arange(16.0)[:, None].expand(-1, DIM)
    coarse = Tokens(ramp.reshape(4, 4, DIM).mean(1), torch.full((4,), int(Kind.IMAGE)))
    fine = Tokens(coarse.hidden.repeat_interleave(4, 0) + 1, torch.full((16,), int(Kind.IMAGE)))
    result = get_strategy("style_delta").bind(alpha=1).blend(Sources(text, fine, coarse)).rows
    torch.testing.assert_close(result, text.hidden + 1)


def test_a_renormalised_delta_has_the_size_of_the_text() -> None:
    given_sources = sources(11, 11)
    result = get_strategy("style_delta").bind(alpha=2, scale="text").blend(given_sources).rows
    added = (result - given_sources.text.hidden).square().mean().sqrt()
    torch.testing.assert_close(added, 2 * given_sources.text.hidden.square().mean().sqrt())


def rms_normalised(rows: torch.Tensor) -> torch.Tensor:
    """What the transformer makes of a conditioning before anything else."""
    return rows / rows.square().mean(1, keepdim=True).sqrt()


def test_per_token_adain_is_a_near_identity_for_the_transformer() -> None:
    generator = torch.Generator().manual_seed(0)
    text, vision = (torch.randn(11, 2560, generator=generator) for _ in range(2))  # the real width
    given_sources = Sources(Tokens(text, torch.ones(11)), Tokens(3 * vision + 0.3, torch.full((11,), 3)))
    moved = {
        name: (rms_normalised(get_strategy(name).bind(alpha=1).blend(given_sources).rows) - rms_normalised(text)).norm()
        for name in ("adain_token", "lerp")
    }
    assert moved["adain_token"] < 0.15 * moved["lerp"]


def test_the_canary_has_neither_the_words_nor_the_order_of_the_channels() -> None:
    given_sources = sources(11, 11)
    assert given_sources.vision is not None
    result = get_strategy("canary").bind().blend(given_sources).rows
    other_words = Sources(tokens(11, Kind.TEXT, 9), given_sources.vision)
    assert torch.equal(get_strategy("canary").bind().blend(other_words).rows, result)
    original = given_sources.vision.hidden.repeat(12, 1)[:128]
    assert result.shape == original.shape
    assert torch.cosine_similarity(result, original).abs().max() < 0.9
    torch.testing.assert_close(result.norm(dim=1), original.norm(dim=1))


@pytest.mark.parametrize(("share", "length"), [(0, 11), (0.5, 19), (1, 27)])
def test_concatenation_keeps_the_text_and_doses_the_vision(share: float, length: int) -> None:
    given_sources = sources()
    result = get_strategy("concatenate").bind(share=share).blend(given_sources).rows
    assert len(result) == length
    assert torch.equal(result[:11], given_sources.text.hidden)


def test_norm_matched_mixing_keeps_token_norms() -> None:
    given_sources = sources(11, 11)
    result = get_strategy("norm_lerp").bind(alpha=1).blend(given_sources).rows
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
