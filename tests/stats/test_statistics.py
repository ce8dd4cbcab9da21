"""Clustered statistics against scipy, statsmodels, exhaustive enumeration and simulation."""

import tracemalloc
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from blendbench import statistics
from blendbench.statistics import (
    bootstrap_t,
    cluster_means,
    effects_of,
    holm,
    intervals,
    least_p,
    minimum_detectable,
    paired_effect,
    rank,
    sign_flip_p,
    sign_flip_ps,
    spearman,
    spearman_of_means,
)

numbers = st.floats(-100, 100, allow_nan=False, width=32)


def test_cluster_means_average_seeds_within_items() -> None:
    assert cluster_means([1, 3, 10], ["b", "b", "a"]).tolist() == [10, 2]


def test_cluster_means_of_rows_weigh_clusters_of_unequal_size_alike() -> None:
    rows = np.array([[1.0, 3.0, 10.0, 5.0], [0.0, 1.0, 2.0, 3.0]])
    assert cluster_means(rows, ["b", "b", "a", "b"]).tolist() == [[10, 3], [2, 4 / 3]]


@pytest.mark.parametrize("values", [[], [1.0], [1.0, float("nan")], [[1.0], [2.0]]])
def test_cluster_means_refuse_missing_values(values: list[float]) -> None:
    with pytest.raises(ValueError, match=r"unit|finite"):
        cluster_means(values, ["a", "b"])


def test_interval_is_close_to_scipys_studentised_and_t_intervals() -> None:
    data = np.random.default_rng(1).normal(0.4, 1, 40)
    ours = bootstrap_t(data)
    t_low, t_high = stats.t.interval(0.95, 39, data.mean(), stats.sem(data))
    assert (ours.low, ours.high) == pytest.approx((t_low, t_high), abs=0.05)
    assert ours.mean == pytest.approx(data.mean())


def test_interval_covers_as_often_as_it_says() -> None:
    rng = np.random.default_rng(2)
    covered = 0
    for trial in range(400):
        interval = bootstrap_t(rng.lognormal(0, 0.5, 12), draws=499, seed=trial)
        covered += interval.low <= np.exp(0.125) <= interval.high
    assert 0.90 <= covered / 400 <= 0.99


def test_interval_of_constant_and_single_clusters() -> None:
    constant = bootstrap_t([0.1] * 7)
    assert (constant.low, constant.high) == (constant.mean, constant.mean)
    assert np.isnan(bootstrap_t([0.3]).low)
    for few in ([1.0, 2.0], [0.0, 0.0, 1.0]):
        interval = bootstrap_t(few)
        assert (interval.low, interval.high) == pytest.approx(
            stats.t.interval(0.95, len(few) - 1, np.mean(few), stats.sem(few))
        )


def _few_damaged(rng: np.random.Generator, clusters: int) -> np.ndarray:
    """A metric in [0, 1]: next to 0, and about .5 in one cluster of five."""
    return np.where(rng.random(clusters) < 0.2, rng.beta(4, 4, clusters), 0.0) + np.abs(rng.normal(0, 0.01, clusters))


FEW_DAMAGED_MEAN = 0.1 + 0.01 * np.sqrt(2 / np.pi)


@pytest.mark.parametrize(
    ("draw", "truth", "most_low", "most_high"),
    [
        (lambda rng: rng.normal(0.3, 1, 24), 0.3, 0.085, 0.085),
        (lambda rng: rng.lognormal(0, 1, 24), np.exp(0.5), 0.085, 0.14),
        (lambda rng: rng.beta(0.2, 2, 24), 0.2 / 2.2, 0.085, 0.11),
        (lambda rng: _few_damaged(rng, 24), FEW_DAMAGED_MEAN, 0.085, 0.085),
        (lambda rng: _few_damaged(rng, 16), FEW_DAMAGED_MEAN, 0.085, 0.085),
        # Exactly 0 where nothing is damaged; no interval covers the 8 % of samples in which no cluster is.
        (lambda rng: np.where(rng.random(24) < 0.2, rng.beta(4, 4, 24), 0.0), 0.1, 0.085, 0.085),
        (lambda rng: np.where(rng.random(24) < 0.1, rng.beta(4, 4, 24), 0.0), 0.05, 0.085, 0.08 + 0.03),
    ],
    ids=["normal", "lognormal", "beta", "damaged", "damaged, 16 clusters", "or nothing", "seldom, or nothing"],
)
def test_each_end_misses_as_seldom_as_it_says(draw, truth: float, most_low: float, most_high: float) -> None:
    """One-sided 95 % ends, 400 samples (standard error 1.1 points); a studentised end on lognormals misses 9-12 %."""
    rng = np.random.default_rng(20)
    intervals = [bootstrap_t(draw(rng), level=0.9, draws=499, seed=trial) for trial in range(400)]
    assert np.mean([interval.low > truth for interval in intervals]) <= most_low
    assert np.mean([interval.high < truth for interval in intervals]) <= most_high


def test_damage_in_few_clusters_does_not_blow_the_interval_up() -> None:
    # Studentised ends alone: the 99th percentile of the widths is 1.8, for a metric in [0, 1].
    rng = np.random.default_rng(21)
    intervals = [bootstrap_t(_few_damaged(rng, 24), level=0.9, draws=499, seed=trial) for trial in range(300)]
    widths = [interval.high - interval.low for interval in intervals]
    assert np.median(widths) < 0.2 and np.quantile(widths, 0.99) < 0.3


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=10, max_size=30))
def test_from_ten_clusters_on_the_interval_never_leaves_the_data(data: list[float]) -> None:
    interval = bootstrap_t(data, draws=199)
    assert min(data) - 1e-9 <= interval.low <= interval.mean + 1e-9
    assert interval.mean - 1e-9 <= interval.high <= max(data) + 1e-9


# What a metric gives: spread, mostly nothing, a few levels, one defect, next to nothing, and a no-op among others.
SHAPES = {
    "normal": lambda rng, n: rng.normal(0.3, 1, (5, n)),
    "sparse": lambda rng, n: np.where(rng.random((5, n)) < 0.1, rng.random((5, n)), 0.0),
    "levels": lambda rng, n: rng.integers(0, 4, (5, n)) / 3,
    "one": lambda rng, n: np.eye(n)[:5] * 0.3,
    "tiny": lambda rng, n: 0.5 + 1e-9 * rng.normal(0, 1, (5, n)),
    "no-op": lambda rng, n: rng.normal(0, 1, (5, n)) * np.array([[1.0], [0.0], [0.1], [1.0], [2.0]]),
}


def _by_gathering(row: np.ndarray, draws: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Means and standard errors of the resamples of one row, from the drawn values themselves."""
    drawn = row[np.random.default_rng(seed).integers(0, len(row), size=(draws, len(row)))]
    return drawn.mean(axis=1), drawn.std(axis=1, ddof=1) / np.sqrt(len(row))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("clusters", [10, 24, 61])
def test_resamples_of_many_rows_are_those_of_each_row(
    shape: str, clusters: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = SHAPES[shape](np.random.default_rng(30), clusters)
    for chunk in (statistics.CHUNK, 100):  # as many draws at once as fit, and few
        monkeypatch.setattr(statistics, "CHUNK", chunk)
        found = statistics._resampled(rows, 299, seed=4)
        expected = [_by_gathering(row, 299, seed=4) for row in rows]
        for ours, theirs in zip(found, zip(*expected, strict=True), strict=True):
            assert ours == pytest.approx(np.stack(theirs), abs=1e-13, rel=1e-10)
        ends = [(interval.low, interval.high) for interval in intervals(rows, draws=299)]
        alone = [(interval.low, interval.high) for interval in (bootstrap_t(row, draws=299) for row in rows)]
        assert np.array(ends) == pytest.approx(np.array(alone), abs=1e-12)
        flips = [sign_flip_p(row, draws=299, seed=5) for row in rows]
        assert sign_flip_ps(rows, draws=299, seed=5).tolist() == flips
        assert statistics._drawn_means(rows, 299, seed=4) == pytest.approx(np.stack(expected)[:, 0], abs=1e-12)


@pytest.mark.parametrize("clusters", [1, 2, 9, 10, 12, 13, 30])
def test_effects_of_many_rows_are_those_of_each_pair(clusters: int) -> None:
    rng = np.random.default_rng(31)
    items = np.concatenate([np.arange(clusters), rng.integers(0, clusters, 7)])  # clusters of unequal size
    baseline, candidates = rng.normal(size=len(items)), rng.normal(size=(4, len(items)))
    candidates[2] = baseline
    together = effects_of(cluster_means(candidates - baseline, items))
    alone = [paired_effect(candidate, baseline, items) for candidate in candidates]
    for ours, theirs in zip(together, alone, strict=True):
        assert (ours.mean, ours.low, ours.high, ours.median, ours.p, ours.clusters) == pytest.approx(
            (theirs.mean, theirs.low, theirs.high, theirs.median, theirs.p, theirs.clusters), abs=1e-12, nan_ok=True
        )


def test_memory_does_not_grow_with_the_clusters_times_the_draws() -> None:
    rows = np.random.default_rng(32).normal(size=(2, 2000))
    tracemalloc.start()
    effects_of(rows)
    rank(rows, higher_is_better=True)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6  # 9,999 draws of 2,000 clusters are 160 MB


def test_a_draw_that_equals_the_mean_counts_half_whichever_way_it_is_rounded() -> None:
    # One damaged cluster of 30: every draw that holds it once has the mean of the data, next to rounding.
    row = np.zeros(30)
    row[3] = 0.1
    bumped = row + 1e-16 * np.random.default_rng(33).integers(-1, 2, 30)
    first, second = bootstrap_t(row), bootstrap_t(bumped)
    assert (second.low, second.high) == pytest.approx((first.low, first.high), abs=1e-12)


@pytest.mark.parametrize("shape", [(6,), (6, 50)])
def test_ranks_equal_scipys(shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(34).integers(0, 4, shape) / 3
    assert statistics._ranks(values).tolist() == stats.rankdata(-values, method="min", axis=0).tolist()


def test_few_clusters_are_held_to_the_range_of_the_metric() -> None:
    data = [0.0, 0.0, 0.0, 0.0, 0.0, 0.9]
    assert bootstrap_t(data).low < 0
    held = bootstrap_t(data, bounds=(0.0, 1.0))
    assert (held.low, held.high) == (0.0, bootstrap_t(data).high)


@settings(max_examples=30, deadline=None)
@given(st.lists(numbers, min_size=2, max_size=14), st.integers(-5, 5))
def test_interval_shifts_with_the_data(data: list[float], shift: int) -> None:
    first, second = bootstrap_t(data, draws=199), bootstrap_t([x + shift for x in data], draws=199)
    assert second.mean == pytest.approx(first.mean + shift, abs=1e-6)
    assert second.low == pytest.approx(first.low + shift, abs=1e-3, rel=1e-3)
    assert first.low <= first.high


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(-9, 9), min_size=1, max_size=8))
def test_sign_flip_is_exact_for_few_clusters(data: list[int]) -> None:
    flips = [abs(sum(s * d for s, d in zip(signs, data, strict=True))) for signs in product((1, -1), repeat=len(data))]
    assert sign_flip_p(data) == np.mean([flip >= abs(sum(data)) for flip in flips])


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(-9, 9), min_size=1, max_size=8))
def test_one_sided_sign_flip_looks_above_only(data: list[int]) -> None:
    flips = [sum(s * d for s, d in zip(signs, data, strict=True)) for signs in product((1, -1), repeat=len(data))]
    assert sign_flip_p(data, alternative="greater") == np.mean([flip >= sum(data) for flip in flips])


def test_one_sided_sign_flip_agrees_with_scipy_for_many_clusters() -> None:
    data = np.random.default_rng(3).normal(0.2, 1, 30)
    for sample in (data, -data):
        oracle = stats.permutation_test(
            (sample, np.zeros(30)),
            lambda a, b: np.mean(a - b),
            permutation_type="samples",
            n_resamples=9999,
            alternative="greater",
            rng=4,
        )
        assert sign_flip_p(sample, alternative="greater") == pytest.approx(oracle.pvalue, abs=0.015)


@pytest.mark.parametrize("clusters", [1, 2, 6, 12, 13, 24])
def test_the_clearest_difference_has_the_least_p(clusters: int) -> None:
    # Random signs of 13 clusters may repeat the observed ones by chance, so draws can only give more.
    clearest = sign_flip_p(np.linspace(1, 2, clusters))
    assert clearest >= least_p(clusters)
    assert clearest == pytest.approx(least_p(clusters), abs=0 if clusters <= 12 else 1e-3)


def test_sign_flip_agrees_with_scipy_for_many_clusters() -> None:
    data = np.random.default_rng(3).normal(0.3, 1, 30)
    oracle = stats.permutation_test(
        (data, np.zeros(30)), lambda a, b: np.mean(a - b), permutation_type="samples", n_resamples=9999, rng=4
    )
    assert sign_flip_p(data) == pytest.approx(oracle.pvalue, abs=0.015)


def test_sign_flip_false_alarms_stay_at_the_nominal_rate() -> None:
    rng = np.random.default_rng(5)
    alarms = np.mean([sign_flip_p(rng.standard_t(3, 10)) <= 0.05 for _ in range(600)])
    assert alarms <= 0.075


def test_paired_effect_removes_what_both_share() -> None:
    rng = np.random.default_rng(6)
    items = np.repeat(np.arange(20), 2)
    shared = rng.normal(0, 5, 40)
    effect = paired_effect(shared + 0.5 + rng.normal(0, 0.1, 40), shared, items)
    assert effect.low < 0.5 < effect.high
    assert effect.high - effect.low < 0.2
    assert (effect.p, effect.clusters) == (pytest.approx(1e-4), 20)


def test_paired_effect_refuses_missing_pairs() -> None:
    with pytest.raises(ValueError, match="pairs"):
        paired_effect([1.0, 2.0], [1.0], ["a", "b"])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_equals_statsmodels(p: list[float]) -> None:
    assert holm(p) == pytest.approx(multipletests(p, method="holm")[1])


@given(st.lists(st.tuples(st.integers(-5, 5), st.integers(-5, 5)), min_size=3, max_size=20))
def test_spearman_equals_scipy(pairs: list[tuple[int, int]]) -> None:
    first, second = zip(*pairs, strict=True)
    if len(set(first)) == 1 or len(set(second)) == 1:
        assert np.isnan(spearman(first, second))
    else:
        assert spearman(first, second) == pytest.approx(stats.spearmanr(first, second).statistic)


def test_rank_orders_and_finds_ties() -> None:
    rng = np.random.default_rng(7)
    items = rng.normal(0, 1, 24)
    means = np.stack(
        [items, items + 1, items + rng.normal(0, 0.1, 24) - 5, items + 1, items + 1 + rng.normal(0, 1, 24)]
    )
    high = rank(means, higher_is_better=True)
    assert high[1].rank == high[3].rank
    assert high[1].tied_with_best and high[3].tied_with_best and high[4].tied_with_best
    assert not high[0].tied_with_best and not high[2].tied_with_best
    assert (high[2].rank, high[2].low, high[2].high, high[2].p_best) == (5, 5, 5, 0.0)
    low = rank(means, higher_is_better=False)
    assert (low[2].rank, low[2].p_best) == (1, 1.0)


def test_few_items_do_not_separate_what_only_seems_apart() -> None:
    rng = np.random.default_rng(11)
    separated = sum(not rank(rng.normal(size=(6, 4)), True, draws=199, seed=i)[0].tied_with_best for i in range(200))
    assert separated / 200 <= 0.1


def test_agreement_interval_holds_the_agreement() -> None:
    rng = np.random.default_rng(8)
    base = np.linspace(0, 1, 10)[:, None] + rng.normal(0, 0.3, (10, 24))
    agreement = spearman_of_means(base, base + rng.normal(0, 0.3, (10, 24)))
    assert agreement.low <= agreement.mean <= agreement.high <= 1
    assert agreement.mean > 0.9


def test_minimum_detectable_difference_is_found_with_power_080() -> None:
    rng = np.random.default_rng(9)
    size = minimum_detectable(rng.normal(0, 1, 10_000)) * np.sqrt(10_000 / 24)
    found = [stats.ttest_1samp(rng.normal(size, 1, 24), 0, alternative="greater").pvalue <= 0.05 for _ in range(800)]
    assert np.mean(found) == pytest.approx(0.8, abs=0.06)


def test_everything_is_reproducible() -> None:
    data = np.random.default_rng(10).normal(size=20)
    assert bootstrap_t(data) == bootstrap_t(data)
    assert sign_flip_p(data) == sign_flip_p(data)
