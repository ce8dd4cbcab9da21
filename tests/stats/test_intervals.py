"""Confidence intervals against scipy, simulation and frozen values."""

import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from blendbench.stats import clusters
from blendbench.stats import intervals as module
from blendbench.stats.clusters import cluster_means
from blendbench.stats.intervals import bootstrap_t, intervals, relative_losses
from blendbench.stats.ranks import simultaneous_ranks
from blendbench.stats.sign_flip import sign_flip_p

Array = NDArray[np.float64]


def test_intervals_keep_their_published_values() -> None:
    i = np.arange(24)
    rows = np.stack([np.sin(i * i) + 0.3, np.where(i % 5 == 0, 0.5 + 0.1 * np.cos(i), 0.0), (i * 7 % 4) / 3])
    found = [(entry.mean, entry.low, entry.high) for entry in intervals(rows, bounds=(-1, 1))]
    assert found == [
        pytest.approx((0.21175500805729017, -0.09118256759134305, 0.5309584076651594), abs=1e-12),
        pytest.approx((0.10455410335558894, -0.005498185776453404, 0.24149267291299475), abs=1e-12),
        pytest.approx((0.5, 0.3392472359734433, 0.6628051385759508), abs=1e-12),
    ]
    few = bootstrap_t(rows[0, :6])
    assert (few.low, few.high) == pytest.approx((-0.27156347220832794, 0.8970741082012901), abs=1e-12)


def test_interval_is_close_to_scipys_studentised_and_t_intervals() -> None:
    data = np.random.default_rng(1).normal(0.4, 1, 40)
    ours = bootstrap_t(data)
    t_low, t_high = stats.t.interval(0.95, 39, data.mean(), stats.sem(data))
    assert (ours.low, ours.high) == pytest.approx((t_low, t_high), abs=0.05)
    assert ours.mean == pytest.approx(data.mean())


def test_interval_covers_as_often_as_it_says() -> None:
    rng = np.random.default_rng(2)
    covered = 0
    for trial in range(200):
        interval = bootstrap_t(rng.lognormal(0, 0.5, 12), resamples=499, seed=trial)
        covered += interval.low <= np.exp(0.125) <= interval.high
    assert 0.90 <= covered / 200 <= 0.99


def test_interval_of_constant_and_single_clusters() -> None:
    assert np.isnan(bootstrap_t([0.3]).low)
    # Without a range nothing is known of what was not seen; with one, an exact part of the clusters may differ by it.
    assert np.isnan([bootstrap_t([0.0] * 7).low, bootstrap_t([0.0] * 7).high]).all()
    assert (bootstrap_t([0.1] * 7).low, bootstrap_t([0.1] * 7).high) == pytest.approx((0.1, 0.1))
    constant = bootstrap_t([0.0] * 24, bounds=(-1, 0.5))
    unseen = 1 - 0.025 ** (1 / 24)
    assert (constant.low, constant.mean, constant.high) == pytest.approx((-unseen, 0, unseen / 2))
    for few in ([1.0, 2.0], [0.0, 0.4, 1.0]):
        interval = bootstrap_t(few)
        assert (interval.low, interval.high) == pytest.approx(
            stats.t.interval(0.95, len(few) - 1, np.mean(few), stats.sem(few))
        )


def _few_damaged(rng: np.random.Generator, n: int) -> Array:
    """Sample a metric in [0, 1]: next to 0, and about .5 in one cluster of five."""
    return np.where(rng.random(n) < 0.2, rng.beta(4, 4, n), 0.0) + np.abs(rng.normal(0, 0.01, n))


FEW_DAMAGED_MEAN = 0.1 + 0.01 * np.sqrt(2 / np.pi)


@pytest.mark.parametrize(
    ("sample", "truth", "most_low", "most_high"),
    [
        (lambda rng: rng.normal(0.3, 1, 24), 0.3, 0.085, 0.085),
        (lambda rng: rng.lognormal(0, 1, 24), np.exp(0.5), 0.085, 0.14),
        (lambda rng: rng.beta(0.2, 2, 24), 0.2 / 2.2, 0.085, 0.11),
        (lambda rng: _few_damaged(rng, 24), FEW_DAMAGED_MEAN, 0.085, 0.085),
        (lambda rng: _few_damaged(rng, 16), FEW_DAMAGED_MEAN, 0.085, 0.085),
        # Exactly 0 where nothing is damaged: in 8 % of the samples of the last kind no cluster is.
        (lambda rng: np.where(rng.random(24) < 0.2, rng.beta(4, 4, 24), 0.0), 0.1, 0.085, 0.085),
        (lambda rng: np.where(rng.random(24) < 0.1, rng.beta(4, 4, 24), 0.0), 0.05, 0.085, 0.03),
    ],
    ids=["normal", "lognormal", "beta", "damaged", "damaged, 16 clusters", "or nothing", "seldom, or nothing"],
)
def test_each_end_misses_as_seldom_as_it_says(
    sample: Callable[[np.random.Generator], Array], truth: float, most_low: float, most_high: float
) -> None:
    """One-sided 95 % ends, 250 samples (standard error 1.4 points); a studentised end on lognormals misses 9-12 %."""
    rng = np.random.default_rng(20)
    bounds = (0.0, 1.0) if 0 < truth < 0.2 else (-np.inf, np.inf)
    found = [bootstrap_t(sample(rng), 0.9, 499, trial, bounds) for trial in range(250)]
    assert np.mean([interval.low > truth for interval in found]) <= most_low
    assert np.mean([interval.high < truth for interval in found]) <= most_high


def test_the_interval_of_mirrored_data_is_mirrored() -> None:
    data = np.random.default_rng(3).lognormal(0, 1, 24)
    there, back = bootstrap_t(data), bootstrap_t(-data)
    assert there.high - there.mean > 1.2 * (there.mean - there.low)
    assert (-back.high, -back.low) == pytest.approx((there.low, there.high))


def test_damage_in_few_clusters_does_not_blow_the_interval_up() -> None:
    # Studentised ends alone: the 99th percentile of the widths is 1.8, for a metric in [0, 1].
    rng = np.random.default_rng(21)
    found = [bootstrap_t(_few_damaged(rng, 24), level=0.9, resamples=499, seed=trial) for trial in range(200)]
    widths = [interval.high - interval.low for interval in found]
    assert np.median(widths) < 0.2 and np.quantile(widths, 0.99) < 0.3


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=2, max_size=30))
def test_the_interval_holds_the_mean_and_stays_within_the_bounds(data: list[float]) -> None:
    interval = bootstrap_t(data, resamples=199, bounds=(0, 1))
    assert 0 <= interval.low <= interval.mean <= interval.high <= 1
    assert interval.high > interval.low or len(set(data)) == 1


@pytest.mark.parametrize("n", [2, 12, 61])
def test_intervals_of_many_rows_are_those_of_each_row(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(30)
    rows = rng.normal(0, 1, (5, n)) * np.array([[1.0], [0.0], [0.1], [1.0], [2.0]])
    alone = [(interval.low, interval.high) for interval in (bootstrap_t(row, resamples=299) for row in rows)]
    for chunk in (clusters.CHUNK, 600):  # all rows at once, and two by two
        monkeypatch.setattr(module, "CHUNK", chunk)
        ends = [(interval.low, interval.high) for interval in intervals(rows, resamples=299)]
        assert np.array(ends) == pytest.approx(np.array(alone), abs=1e-12, nan_ok=True)


def test_memory_does_not_grow_with_the_clusters_times_the_resamples() -> None:
    rows = np.random.default_rng(32).normal(size=(2, 2000))
    tracemalloc.start()
    intervals(rows, resamples=2000)
    simultaneous_ranks(rows, higher_is_better=True)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6  # 2,000 resamples of 2,000 clusters are 32 MB


def test_a_resample_that_equals_the_mean_counts_half_whichever_way_it_is_rounded() -> None:
    # One damaged cluster of 30: every resample that holds it once has the mean of the data, next to rounding.
    row = np.zeros(30)
    row[3] = 0.1
    bumped = row + 1e-16 * np.random.default_rng(33).integers(-1, 2, 30)
    first, second = bootstrap_t(row), bootstrap_t(bumped)
    assert (second.low, second.high) == pytest.approx((first.low, first.high), abs=1e-12)


def test_few_clusters_are_held_to_the_range_of_the_metric() -> None:
    data = [0.0, 0.1, 0.2, 0.1, 0.0, 0.9]
    assert bootstrap_t(data).low < 0
    held = bootstrap_t(data, bounds=(0.0, 1.0))
    assert (held.low, held.high) == (0.0, bootstrap_t(data).high)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 999), min_size=2, max_size=14, unique=True), st.integers(-5, 5))
def test_interval_shifts_with_the_data(data: list[int], shift: int) -> None:
    first, second = bootstrap_t(data, resamples=199), bootstrap_t([x + shift for x in data], resamples=199)
    assert second.mean == pytest.approx(first.mean + shift, abs=1e-6)
    assert second.low == pytest.approx(first.low + shift, abs=1e-3, rel=1e-3)
    assert first.low <= first.high


def test_a_paired_difference_removes_what_both_share() -> None:
    rng = np.random.default_rng(6)
    items = np.repeat(np.arange(20), 2).tolist()
    shared = rng.normal(0, 5, 40)
    differences = cluster_means(shared + 0.5 + rng.normal(0, 0.1, 40) - shared, items)
    found = bootstrap_t(differences)
    assert found.low < 0.5 < found.high
    assert found.high - found.low < 0.2
    assert (sign_flip_p(differences), found.clusters) == (2.0**-19, 20)


def test_strata_that_differ_do_not_widen_the_interval() -> None:
    rng, strata = np.random.default_rng(40), ["matched"] * 20 + ["unrelated"] * 20
    data = rng.normal(0, 0.1, 40) + np.repeat([0.0, 1.0], 20)
    plain, stratified = bootstrap_t(data), bootstrap_t(data, strata=strata)
    assert stratified.mean == plain.mean
    assert stratified.high - stratified.low < 0.3 * (plain.high - plain.low)
    few = bootstrap_t(data[16:23], strata=strata[16:23])
    assert few.high - few.low < 0.5 * (bootstrap_t(data[16:23]).high - bootstrap_t(data[16:23]).low)


def test_a_stratified_interval_covers_as_often_as_it_says() -> None:
    rng, strata, covered = np.random.default_rng(41), ["a"] * 6 + ["b"] * 18, 0
    for trial in range(300):
        data = np.concatenate([rng.normal(0, 0.3, 6), rng.normal(1, 0.1, 18)])
        interval = bootstrap_t(data, resamples=299, seed=trial, strata=strata)
        covered += interval.low <= 0.75 <= interval.high
    assert 0.92 <= covered / 300 <= 0.99


def test_a_relative_loss_is_that_of_the_means_and_covers() -> None:
    rng, covered = np.random.default_rng(42), 0
    for _ in range(200):
        baseline = rng.beta(8, 2, 48)
        (loss,) = relative_losses((baseline * rng.beta(9, 1, 48))[None], baseline, bounds=(0, 1), resamples=499)
        covered += loss.low <= 0.1 <= loss.high
    assert 0.92 <= covered / 200 <= 0.99
    assert loss.mean == pytest.approx(0.1, abs=0.05)
    # A candidate that loses nothing: what was not seen may be lost, up to everything.
    (none,) = relative_losses(baseline[None], baseline, bounds=(0, 1))
    assert none.mean == pytest.approx(0, abs=1e-12)
    assert none.high == pytest.approx(1 - 0.025 ** (1 / 48), abs=1e-6) and none.low > 1 - 1 / baseline.mean()


def test_a_relative_loss_is_held_to_the_least_and_greatest_value() -> None:
    baseline = np.random.default_rng(43).uniform(0.3, 0.5, 24)
    # Most values are the least that there can be, and then the greatest.
    low = np.where(np.arange(24) < 4, baseline, 0.2)
    (most,), (least,) = (
        relative_losses(values[None], baseline, bounds=(0.2, 0.6)) for values in (low, np.where(low == 0.2, 0.6, 0.5))
    )
    assert most.mean < most.high <= 1 - 0.2 / baseline.mean() + 1e-12
    assert least.mean > least.low >= 1 - 0.6 / baseline.mean() - 1e-12
