"""Known answers of what the token normalisation leaves, masks, style arithmetic, lengths and the canary."""

from dataclasses import replace

import pytest
import torch
from known_tokens import DIM, blend, image, rms_normalised, rows, sources, words

from blendbench.core.tokens import Tokens
from blendbench.registry.strategies import Sources


@pytest.fixture
def given() -> Sources:
    return sources()


# statistics behind the token normalisation, and the attention sink


def test_per_token_adain_only_scales_and_shifts_so_it_is_nearly_nothing() -> None:
    generator = torch.Generator().manual_seed(0)
    text, vision = (torch.randn(11, 2560, generator=generator) for _ in range(2))  # the real width
    sources = Sources(words(text), image(3 * vision + 0.3))
    result = blend("adain_token", sources, alpha=1)
    centred, moved = text - text.mean(1, keepdim=True), result - result.mean(1, keepdim=True)
    assert torch.cosine_similarity(centred, moved).min() > 1 - 1e-6
    distances = {
        name: (rms_normalised(blend(name, sources, alpha=1)) - rms_normalised(text)).norm()
        for name in ("adain_token", "lerp")
    }
    assert distances["adain_token"] < 0.15 * distances["lerp"]


@pytest.mark.parametrize("name", ["per_dim_lerp", "adain_dim", "outlier_mask"])
def test_leaving_the_sink_out_matters_only_where_there_is_one(name: str, given: Sources) -> None:
    def both(text: Tokens) -> list[torch.Tensor]:
        return [blend(name, replace(given, text=text), sink=sink) for sink in ("keep", "drop")]

    assert torch.equal(*both(image(given.text.hidden)))
    sunk = given.text.hidden.clone()
    sunk[0, 4], sunk[0, 9] = 13504, -4544
    assert not torch.equal(*both(words(sunk)))


def test_masking_touches_flagged_dimensions_alone() -> None:
    text, vision = rows(400, 1), rows(400, 2)
    vision[:, 0] = vision[:, 0] / 617 + 3  # lacks the spread that the text has, as dimension 396 does
    sources = Sources(words(text), image(vision))
    result = {mode: blend("outlier_mask", sources, alpha=1, mode=mode) for mode in ("zero", "text", "clamp")}
    assert not result["zero"][:, 0].any()
    assert torch.equal(result["text"][:, 0], text[:, 0])
    spread = result["clamp"][:, 0].std() / text[:, 0].std()
    assert spread.item() == pytest.approx(1 / 4, rel=1e-3)
    torch.testing.assert_close(result["clamp"][:, 0].mean(), vision[:, 0].mean())  # the spread grows, not the mean
    assert all(torch.equal(masked[:, 1:], vision[:, 1:]) for masked in result.values())


# style arithmetic


def test_a_delta_compares_place_by_place(given: Sources) -> None:
    same = replace(given, neutral=given.vision)
    assert torch.equal(blend("style_delta", same, alpha=2), given.text.hidden)
    ramp = torch.arange(16.0)[:, None].expand(-1, DIM)
    coarse = ramp.reshape(4, 4, DIM).mean(1)
    fine = coarse.repeat_interleave(4, 0) + 1  # a blank of another size
    result = blend("style_delta", replace(given, vision=image(fine), neutral=image(coarse)), alpha=1)
    torch.testing.assert_close(result, given.text.hidden + 1)


def test_a_renormalised_delta_has_the_size_of_the_text(given: Sources) -> None:
    added = blend("style_delta", given, alpha=2, scale="text") - given.text.hidden
    torch.testing.assert_close(added.square().mean().sqrt(), 2 * given.text.hidden.square().mean().sqrt())


# other lengths, and the canary


@pytest.mark.parametrize(("share", "length"), [(0.5, 11), (1, 14)])
def test_concatenation_keeps_the_text_and_doses_the_vision(given: Sources, share: float, length: int) -> None:
    result = blend("concatenate", given, share=share)
    assert len(result) == length
    assert torch.equal(result[:7], given.text.hidden)


def test_the_canary_has_neither_the_words_nor_the_order_of_the_channels(given: Sources) -> None:
    result = blend("canary", given)
    assert torch.equal(blend("canary", replace(given, text=words(rows(7, 9)))), result)
    original = rows(7, 2).repeat(19, 1)[:128]
    assert result.shape == original.shape
    assert torch.cosine_similarity(result, original).abs().median() < 0.5
    torch.testing.assert_close(result.norm(dim=1), original.norm(dim=1))
