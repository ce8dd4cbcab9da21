"""Comparisons against scipy and scikit-learn, and the traps that made published figures say little."""

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics.pairwise import cosine_similarity

from blendbench.stats.hidden_states.compare import compare, correlation, ordered_outliers, paired_cosine, std_ratio
from blendbench.stats.hidden_states.spread import describe, pairwise_cosine, spread_of
from blendbench.steps.mask import outlier_dimensions, spread_ratio


def rows_with(std: np.ndarray, n: int = 4000, seed: int = 0) -> np.ndarray:
    rows: np.ndarray = np.random.default_rng(seed).normal(size=(n, len(std))) * std
    return rows


def number(value: float | None) -> float:
    assert value is not None
    return value


def with_sink(rows: np.ndarray, prompts: int) -> np.ndarray:
    """Each prompt's first row gets what Qwen3-4B's first token is reported to hold in dimensions 4 and 396."""
    planted = rows.copy()
    step = len(rows) // prompts
    planted[::step, 4], planted[::step, 396] = 13504, -4544
    return planted


BULK = np.random.default_rng(5).lognormal(1.8, 0.4, size=2560)


def test_correlations_are_those_of_scipy() -> None:
    a, b = spread_of(rows_with(BULK, 50, 1)), spread_of(rows_with(BULK[::-1] + BULK, 70, 2))
    found = compare(a, b)
    assert found["pearson"] == pytest.approx(pearsonr(a.std, b.std).statistic)
    assert found["spearman"] == pytest.approx(spearmanr(a.std, b.std).statistic)
    assert found["log_pearson"] == pytest.approx(pearsonr(np.log(a.std), np.log(b.std)).statistic)


def test_ties_share_a_rank() -> None:
    a, b = np.array([[0, 0, 0, 0], [2, 2, 4, 6.0]]), np.array([[0, 0, 0, 0], [2, 4, 4, 9.0]])
    expected = spearmanr(a.std(0), b.std(0)).statistic
    assert compare(spread_of(a), spread_of(b))["spearman"] == pytest.approx(expected)


def test_a_constant_vector_correlates_with_nothing() -> None:
    assert correlation(np.full(5, 0.1), np.arange(5.0)) is None
    assert correlation(np.zeros(5), np.arange(5.0)) is None
    assert correlation(1e-9 * np.arange(5.0), np.arange(5.0)) == pytest.approx(1)


def test_cosines_are_those_of_scikit_learn() -> None:
    rows, others = rows_with(BULK, 30, 1) + 3, rows_with(BULK, 40, 2) + 2
    table = cosine_similarity(rows)
    assert pairwise_cosine(spread_of(rows)) == pytest.approx(table[np.triu_indices(30, 1)].mean())
    found = compare(spread_of(rows), spread_of(others))
    toward = (others / np.linalg.norm(others, axis=1, keepdims=True)).mean(0, keepdims=True)
    assert found["cosine_to_reference"] == pytest.approx(cosine_similarity(rows, toward).mean())
    assert found["reference_cosine"] == pytest.approx(cosine_similarity(others, toward).mean())
    assert paired_cosine(rows, others[:30]) == pytest.approx(np.diag(cosine_similarity(rows, others[:30])).mean())
    assert paired_cosine(rows, others) is None
    assert pairwise_cosine(spread_of(rows[:1])) is None


def test_shares_and_sizes() -> None:
    rows = np.array([[3.0, 0, 1], [3.0, 0, -1]])
    found = describe(spread_of(rows))
    assert found["share_top_1"] == pytest.approx(0.9)
    assert found["share_top_2"] == found["share_top_8"] == pytest.approx(1)
    assert found["mean"] == pytest.approx(rows.mean())
    assert found["std"] == pytest.approx(rows.std())
    assert describe(spread_of(np.zeros((2, 3))))["share_top_1"] == 0


@pytest.mark.slow
def test_trap_two_dimensions_make_raw_pearson_say_nothing() -> None:
    """The published 0.999: unrelated in all dimensions but the two of the sink, and Pearson still sees agreement."""
    shuffled = BULK.copy()
    others = [d for d in range(2560) if d not in (4, 396)]
    shuffled[others] = np.random.default_rng(9).permutation(BULK[others])
    reference = with_sink(rows_with(BULK, 2200, 1), 100)
    unrelated = with_sink(rows_with(shuffled, 2200, 2), 100)
    related = rows_with(BULK, 2200, 3)  # what image tokens are: the same but for the sink
    apart, near = (compare(spread_of(x), spread_of(reference)) for x in (unrelated, related))
    assert number(apart["pearson"]) > 0.99
    assert abs(number(apart["log_pearson"])) < 0.25
    assert abs(number(apart["spearman"])) < 0.1
    assert number(near["pearson"]) < 0.1
    assert number(near["log_pearson"]) > 0.8
    assert number(near["spearman"]) > 0.95
    sinkless = compare(spread_of(unrelated[np.arange(2200) % 22 > 0]), spread_of(reference[np.arange(2200) % 22 > 0]))
    assert abs(number(sinkless["pearson"])) < 0.2


def test_trap_one_sink_token_makes_the_std_a_count_of_tokens() -> None:
    """std^2 is about sink^2 / (dim tokens) + bulk^2: 60 at 22 tokens, 18 at 271, of the very same kind of rows."""
    found = {}
    for tokens in (22, 271):
        rows = rows_with(np.full(2560, 7.0), tokens, tokens)
        rows[0, 4], rows[0, 396] = 13504, -4544
        found[tokens] = (describe(spread_of(rows)), describe(spread_of(rows[1:])))
    short, long = found[22], found[271]
    assert number(short[0]["std"]) == pytest.approx(60.4, abs=1)
    assert number(long[0]["std"]) == pytest.approx(18.4, abs=1)
    assert number(short[1]["std"]) == pytest.approx(number(long[1]["std"]), rel=0.02)
    for with_it, without in found.values():
        assert number(with_it["std_median"]) == pytest.approx(number(without["std_median"]), rel=0.05)
        assert number(with_it["largest_token_share"]) > 0.8
        assert number(without["largest_token_share"]) < 0.1
    assert number(short[0]["share_top_2"]) > 0.95
    assert number(short[1]["share_top_2"]) < 0.01


def test_trap_a_one_sided_test_misses_what_the_image_lacks() -> None:
    """The published 617x is reference over vision."""
    reference = spread_of(with_sink(rows_with(BULK, 2200, 1), 100))
    image = spread_of(rows_with(BULK, 2200, 2))
    ratio = std_ratio(image, reference)
    assert set(ordered_outliers(ratio)[:2].tolist()) == {4, 396}
    assert (ratio[[4, 396]] < 1 / 100).all()
    found = compare(image, reference)
    assert (found["exceeding_10"], found["lacking_10"]) == (0, 2)
    turned = compare(reference, image)
    assert (turned["exceeding_10"], turned["lacking_10"]) == (2, 0)


def test_outliers_are_ordered_by_factor_either_way() -> None:
    assert ordered_outliers(np.array([1.0, 0.1, 5.0, 20.0, 0.5])).tolist() == [3, 1, 2, 4, 0]


def test_ratios_agree_with_those_that_masks_use() -> None:
    a, b = rows_with(BULK, 30, 1), rows_with(BULK[::-1], 40, 2)
    ratio = std_ratio(spread_of(a), spread_of(b))
    np.testing.assert_allclose(ratio, spread_ratio(torch.from_numpy(a), torch.from_numpy(b)).numpy(), rtol=1e-9)
    flagged = outlier_dimensions(torch.from_numpy(a), torch.from_numpy(b), 4.0).sum().item()
    found = compare(spread_of(a), spread_of(b))
    assert flagged == number(found["lacking_4"]) + number(found["exceeding_4"]) > 0


def test_dimensions_without_any_spread_are_no_outliers() -> None:
    flat = spread_of(np.ones((5, 3)))
    assert std_ratio(flat, flat).tolist() == [1, 1, 1]
    assert compare(flat, flat)["pearson"] is None
