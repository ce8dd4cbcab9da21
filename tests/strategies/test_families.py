"""Known answers of the families of strategies: mixtures, statistics, fits, references."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from known_tokens import DIM, PAIRS, blend, image, rms_normalised, rows, sources, words
from sklearn.linear_model import Ridge

from blendbench.core.tokens import Kind, Pair, Tokens
from blendbench.registry.strategies import Sources
from blendbench.steps.combine import norm_matched, spherical
from blendbench.steps.normalize import mix
from blendbench.strategies.covariance import Covariance
from blendbench.strategies.fits import fit_rows, ridge_map, trained_map
from blendbench.strategies.style_vectors import generalised_mean, low_rank_mean


@pytest.fixture
def given() -> Sources:
    return sources()


# mixtures


@pytest.mark.parametrize("alpha", [0.3, 1])
def test_lerp_slerp_and_norm_lerp_combine_what_is_aligned(given: Sources, alpha: float) -> None:
    text, vision = given.text.hidden, rows(7, 2)
    for name, combine in (("lerp", mix), ("slerp", spherical), ("norm_lerp", norm_matched)):
        assert torch.equal(blend(name, given, alpha=alpha), combine(text, vision, alpha))


def test_token_alpha_leaves_the_template_alone(given: Sources) -> None:
    result = blend("token_alpha", given, alpha=1)
    assert torch.equal(result[0], given.text.hidden[0])
    assert torch.equal(result[1:], rows(7, 2)[1:])
    swapped = blend("token_alpha", given, alpha=0, template_alpha=1)
    assert torch.equal(swapped[0], rows(7, 2)[0])
    assert torch.equal(swapped[1:], given.text.hidden[1:])


@pytest.mark.parametrize(("curve", "middle"), [("linear", 0.5), ("ease_in", 0.25), ("ease_out", 0.75)])
def test_graduated_alpha_goes_from_start_to_end(given: Sources, curve: str, middle: float) -> None:
    result = blend("graduated_alpha", given, start=0, end=1, curve=curve)
    text, vision = given.text.hidden, rows(7, 2)
    assert torch.equal(result[0], text[0])
    assert torch.allclose(result[-1], vision[-1])
    assert torch.allclose(result[3], (1 - middle) * text[3] + middle * vision[3], atol=1e-6)


def test_attention_alpha_protects_the_token_that_the_others_point_at() -> None:
    text = torch.eye(5, DIM)
    text[1:] += 3 * text[0]  # all point along the first token
    vision = torch.zeros(5, DIM)
    result = blend("attention_alpha", Sources(words(text), image(vision)), alpha=0.5, protection=1)
    kept = result.norm(dim=1) / text.norm(dim=1)
    assert kept.argmax() == 0
    assert kept[0] == 1
    assert torch.allclose(
        blend("attention_alpha", Sources(words(text), image(vision)), alpha=0.5, protection=0), 0.5 * text
    )


def test_dimension_lerp_touches_its_range_only(given: Sources) -> None:
    result = blend("dimension_lerp", given, alpha=1)
    assert torch.equal(result[:, :8], given.text.hidden[:, :8])
    assert torch.equal(result[:, 8:], rows(7, 2)[:, 8:])


@pytest.mark.parametrize("factor", [100.0, 0.01])
def test_surgical_lerp_and_dimension_ablation_find_the_odd_dimension_in_both_directions(factor: float) -> None:
    text, vision = rows(60, 1), rows(60, 2)
    vision[:, 5] *= factor
    sources = Sources(words(text), image(vision))
    kept = blend("surgical_lerp", sources, alpha=1, count=1)
    assert torch.equal(kept[:, 5], text[:, 5])
    assert torch.equal(kept[:, :5], vision[:, :5])
    ablated = blend("dimension_ablation", sources, alpha=1)
    assert not ablated[:, 5].any()
    assert torch.equal(ablated[:, 6:], vision[:, 6:])
    assert torch.equal(blend("dimension_ablation", sources, alpha=1, dimension=2, mode="text")[:, 2], text[:, 2])
    with pytest.raises(ValueError, match="dimension 99 of 12"):
        blend("dimension_ablation", sources, dimension=99)


# normalisation


def test_behind_a_token_normalisation_every_target_is_the_same_at_alpha_one_but_not_in_a_mixture(
    given: Sources,
) -> None:
    alone = [rms_normalised(blend("cross_normalised", given, target=t)) for t in (50, 61, 70)]
    assert torch.allclose(alone[0], alone[1], atol=1e-5) and torch.allclose(alone[1], alone[2], atol=1e-5)
    mixed = [rms_normalised(blend("cross_normalised", given, alpha=0.3, target=t)) for t in (0.5, 5)]
    assert (mixed[0] - mixed[1]).abs().max() > 0.1
    plain, scaled = blend("lerp", given, alpha=1), blend("global_lerp", given, alpha=1, target=61)
    assert torch.allclose(rms_normalised(plain), rms_normalised(scaled), atol=1e-5)
    assert scaled.std(correction=0).item() == pytest.approx(61, rel=1e-4)


def test_hybrid_lies_between_global_and_per_dimension(given: Sources) -> None:
    ends = [blend(name, given, alpha=1) for name in ("global_lerp", "per_dim_lerp")]
    assert torch.allclose(blend("hybrid_lerp", given, alpha=1), (ends[0] + ends[1]) / 2, atol=1e-5)
    assert torch.allclose(blend("hybrid_lerp", given, alpha=1, weight=1), ends[1], atol=1e-5)


def test_the_published_normalisation_writes_the_sink_into_ordinary_tokens() -> None:
    """9182 = 925 + 3 x 2752.6: three deviations of a dimension whose spread one token per prompt carries."""
    text = rows(21, 1)
    text[0, 4] = 13504
    vision = rows(40, 2)
    vision[7, 4] = 50  # a modest outlier among the image tokens
    sources = Sources(words(text), image(vision), corpus=(words(text),))
    column = text[:, 4].double()
    expected = column.mean() + 3 * column.std(correction=0)
    assert blend("clipped_per_dim_lerp", sources, alpha=1).max().item() <= expected + 1
    # Aligned by area the peak is averaged; with one row an image it is there in full.
    one = replace(sources, text=words(text[:1].repeat(40, 1)))
    assert blend("clipped_per_dim_lerp", one, alpha=1).max().item() == pytest.approx(expected.item(), rel=1e-5)
    assert blend("clipped_per_dim_lerp", one, alpha=1, sink="drop").max().item() < 10


def test_the_published_mask_cannot_see_a_dimension_that_the_image_lacks() -> None:
    text, vision = rows(50, 1), rows(50, 2)
    text[:, 3] *= 600  # as dimension 396: reference over vision is 617
    sources = Sources(words(text), image(vision), corpus=(words(text),))
    plain = blend("lerp", sources, alpha=0.3)
    for mode in ("zero", "clamp", "scale"):
        assert torch.equal(blend("outlier_mask_published", sources, mode=mode), plain)
    assert not torch.equal(blend("outlier_mask", sources, threshold=10.0), plain)
    vision[:, 8] *= 100  # the direction that it was written for
    result = {m: blend("outlier_mask_published", sources, alpha=1, mode=m) for m in ("zero", "clamp", "scale")}
    assert not result["zero"][:, 8].any()
    assert torch.equal(result["clamp"], result["scale"])
    assert result["clamp"][:, 8].std(correction=0).item() == pytest.approx(10 * text[:, 8].std(correction=0).item())


# statistics


def test_adain_of_a_sequence_is_nearly_nothing_behind_a_token_normalisation(given: Sources) -> None:
    result = blend("adain_sequence", given, alpha=1)
    vision = rows(7, 2)
    assert result.mean().item() == pytest.approx(vision.mean().item(), abs=1e-5)
    assert result.std(correction=0).item() == pytest.approx(vision.std(correction=0).item(), rel=1e-4)
    kept = torch.cosine_similarity(result, given.text.hidden)
    assert kept.min() > 0.9


def test_adain_cut_reads_the_first_corner_only(given: Sources) -> None:
    tall = image(torch.cat((rows(7, 2), rows(90, 7) * 100)))
    cut = blend("adain_dim_cut", replace(given, vision=tall), alpha=1)
    assert torch.allclose(cut, blend("adain_dim", given, alpha=1), atol=1e-5)
    assert not torch.allclose(cut, blend("adain_dim", replace(given, vision=tall), alpha=1), atol=1)


def test_coral_gives_the_text_the_mean_and_covariance_of_the_image() -> None:
    text, vision = rows(400, 1), rows(300, 2) @ rows(DIM, 3) + 4
    sources = Sources(image(text), image(vision))  # no template row, so no sink
    result = blend("coral", sources, alpha=1, shrinkage=1e-6)
    assert torch.allclose(result.mean(0), vision.mean(0), atol=1e-3)
    assert torch.allclose(torch.cov(result.T, correction=0), torch.cov(vision.T, correction=0), rtol=1e-2, atol=0.05)


def test_whitening_shrinks_the_directions_in_which_the_image_varies(given: Sources) -> None:
    vision = rows(300, 2)
    vision[:, 0] *= 50
    text = rows(300, 3)
    result = blend("whiten", Sources(image(text), image(vision)), alpha=1, shrinkage=0.01)
    spread = result.std(0) / text.std(0)
    assert spread[0] < 0.2
    assert spread[1:].min() > 0.8
    assert (result - result.mean(0)).norm().item() == pytest.approx((text - text.mean(0)).norm().item(), rel=1e-4)


@pytest.mark.parametrize("count", [9, 30, 400])
def test_powers_of_a_covariance_are_those_of_the_whole_matrix(count: int) -> None:
    given, moved = rows(count, 1).double(), rows(5, 2).double()
    found = Covariance.of(given.float(), 0.1)
    plain = torch.cov(given.T, correction=0)
    size = plain.shape[0]
    whole = 0.9 * plain + 0.1 * plain.diagonal().mean() * torch.eye(size, dtype=torch.float64)
    values, vectors = torch.linalg.eigh(whole)
    for power in (-0.5, 0.5, 1.0):
        expected = moved @ (vectors * values.pow(power)) @ vectors.T
        assert torch.allclose(found.raised(moved, power), expected, rtol=1e-6, atol=1e-9)
    assert torch.allclose(found.mean, given.mean(0), atol=1e-6)


def test_gram_matching_comes_nearer_to_the_image_s_gram_matrix_the_larger_alpha(given: Sources) -> None:
    goal = rows(7, 2).T @ rows(7, 2) / 7

    def distance(x: torch.Tensor) -> float:
        return float((x.T @ x / len(x) - goal).norm())

    reached = [distance(blend("gram_match", given, alpha=a)) for a in (0.05, 0.3, 0.9)]
    assert distance(given.text.hidden) > reached[0] > reached[1] > reached[2]


# the seed document's own code, beside which the corrected forms stand


@pytest.mark.parametrize("alpha", [0.3, 1.0])
def test_adain_per_token_is_the_seed_document_s(given: Sources, alpha: float) -> None:
    text, vision = given.text.hidden, rows(9, 2)
    cut = vision[: len(text)]
    normalised = (text - text.mean(-1, keepdim=True)) / (text.std(-1, keepdim=True) + 1e-5)
    restyled = normalised * cut.std(-1, keepdim=True) + cut.mean(-1, keepdim=True)
    result = blend("adain_token", replace(given, vision=image(vision)), alpha=alpha, align="truncate")
    assert torch.allclose(result, alpha * restyled + (1 - alpha) * text, atol=1e-4)


def test_the_published_mask_is_the_seed_document_s(given: Sources) -> None:
    text, vision = rows(40, 1), rows(40, 2)
    vision[:, 8] *= 100
    vision[:, 3] /= 600
    mask = vision.std(dim=0) / text.std(dim=0) < 10.0
    sources = Sources(words(text), image(vision), corpus=(words(text),))
    assert torch.equal(blend("outlier_mask_published", sources, alpha=1), vision * mask.float())
    assert mask.logical_not().nonzero().flatten().tolist() == [8]


def test_a_raw_interpolated_style_delta_is_the_seed_document_s(given: Sources) -> None:
    vision, neutral = rows(19, 2), rows(19, 3)
    difference = torch.nn.functional.interpolate((vision - neutral).T[None], size=7, mode="linear")[0].T
    result = blend(
        "style_delta", replace(given, vision=image(vision), neutral=image(neutral)), align="interpolate", alpha=0.7
    )
    assert torch.allclose(result, given.text.hidden + 0.7 * difference, atol=1e-6)


# one vector an image


def test_style_vectors_fall_back_to_the_mean(given: Sources) -> None:
    vision = rows(7, 2)
    assert torch.allclose(generalised_mean(vision, 1), vision.mean(0), atol=1e-6)
    assert torch.allclose(low_rank_mean(vision, DIM), vision.mean(0), atol=1e-5)
    assert torch.allclose(blend("mean_style", given, alpha=2), given.text.hidden + 2 * vision.mean(0))
    assert torch.equal(blend("style_token", given)[-1], vision.mean(0))
    assert torch.equal(blend("style_token", given)[:-1], given.text.hidden)


def test_a_generalised_mean_keeps_the_sign() -> None:
    column = torch.tensor([[-2.0], [-2.0]])
    assert generalised_mean(column, 3).item() == pytest.approx(-2)
    assert generalised_mean(torch.tensor([[1.0], [3.0]]), 3).item() == pytest.approx(14 ** (1 / 3))


def test_the_rank_one_mean_keeps_the_strongest_direction_only() -> None:
    vision = torch.zeros(10, DIM)
    vision[:8, 0], vision[8:, 1] = 5, 1
    assert low_rank_mean(vision, 1)[:2].tolist() == pytest.approx([4, 0])
    assert low_rank_mean(vision, 2)[:2].tolist() == pytest.approx([4, 0.2])


# fits


def test_the_ridge_map_is_scikit_learn_s(given: Sources) -> None:
    x, y = (side.numpy() for side in fit_rows(PAIRS))
    penalty = 0.1
    relative = penalty * np.square(x - x.mean(0)).sum(0).mean()
    oracle = Ridge(alpha=relative).fit(x, y)
    mean_x, mean_y, weights = ridge_map(PAIRS, penalty)
    assert np.allclose(weights.numpy(), oracle.coef_.T, atol=1e-8)
    assert np.allclose((mean_y - mean_x @ weights).numpy(), oracle.intercept_, atol=1e-8)


@pytest.mark.slow
def test_fits_recover_a_linear_map_between_the_two_spaces() -> None:
    turn = torch.linalg.qr(rows(DIM, 0))[0]
    pairs = tuple(
        Pair(Tokens(v @ turn + 1, torch.full((30,), int(Kind.TEXT))), image(v), image(v))
        for v in (rows(30, s) for s in range(8))
    )
    fresh = rows(6, 99)
    sources = Sources(words(rows(6, 1)), image(fresh), pairs=pairs)
    assert torch.allclose(blend("ridge_projection", sources, alpha=1, penalty=1e-9), fresh @ turn + 1, atol=1e-4)
    near = blend("mlp_projection", sources, alpha=1, steps=600)
    assert (near - fresh @ turn - 1).norm() < 0.5 * (fresh - fresh @ turn - 1).norm()
    assert trained_map(pairs, 256, 600) is trained_map(pairs, 256, 600)


def test_steering_goes_where_the_reference_differs_from_the_plain_images() -> None:
    plain = rows(9, 0)
    axes = torch.eye(2, DIM)
    pairs = tuple(Pair(words(rows(3, 1)), image(plain + 4 * axis), image(plain)) for axis in axes)
    text = words(rows(5, 2))
    result = blend("activation_steering", Sources(text, image(plain + 4 * axes[1]), pairs=pairs), alpha=0.5)
    direction = result[0] - text.hidden[0]
    assert torch.allclose(direction / direction.norm(), axes[1], atol=1e-3)
    assert (direction.square().mean().sqrt() / text.hidden.square().mean().sqrt()).item() == pytest.approx(0.5)


# several sources


def test_weights_of_several_images_end_at_single_ones(given: Sources) -> None:
    first, second = (replace(given, vision=v) for v in (given.vision, given.other))
    assert torch.equal(blend("multi_reference", given, weight=0), blend("lerp", first))
    assert torch.equal(blend("multi_reference", given, weight=1), blend("lerp", second))
    alone = blend("style_delta", given, alpha=1)
    assert torch.equal(blend("delta_negative", given, alpha=1, beta=0), alone)
    sized = blend("style_delta", given, alpha=0.2, scale="text")
    assert torch.equal(blend("delta_mixed", given, alpha=0.2, beta=0, scale="text"), sized)
    both = blend("delta_mixed", given, alpha=1, beta=1) - given.text.hidden
    against = blend("delta_negative", given, alpha=1, beta=1) - given.text.hidden
    assert torch.allclose((both + against) / 2, alone - given.text.hidden, atol=1e-5)
    assert len(blend("multi_concatenate", given, share=0.5)) == 7 + 4 + 4
    assert torch.equal(blend("multi_concatenate", given, share=0), given.text.hidden)


def test_style_composition_has_the_places_of_one_and_the_statistics_of_the_other(given: Sources) -> None:
    result = blend("style_composition", given, alpha=1)
    assert torch.allclose(result.mean(0), rows(7, 2).mean(0), atol=1e-5)
    assert torch.corrcoef(torch.stack((result[:, 0], rows(7, 4)[:, 0])))[0, 1] > 0.999


def test_intra_vl_and_dual_extraction_mix_the_two_kinds_of_one_model(given: Sources) -> None:
    shown, written = rows(7, 21), rows(7, 22)
    kinds = torch.tensor([int(Kind.IMAGE)] * 7 + [int(Kind.TEXT)] * 7)
    turn = replace(given, vision=Tokens(torch.cat((shown, written)), kinds), wordless=image(shown))
    assert torch.equal(blend("intra_vl", turn, ratio=0), written)
    assert torch.equal(blend("intra_vl", turn, ratio=1), shown)
    halves = replace(turn, vision=words(written))
    assert torch.equal(blend("dual_extraction", halves, alpha=0.3), blend("intra_vl", turn, ratio=0.3))
    with pytest.raises(ValueError, match="no token of kind"):
        blend("intra_vl", given)
