"""The gate keeps its promises on rendered images, and the page that claims so would say no."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from gate_calibration import SEEDS, Scenario, calibrate, deal, interval
from gate_page import gate_page
from gate_pool import VARIANTS, Pool, measure_pool
from scipy import stats
from synthetic_results import Row, append, cell_row, run_rows

from blendbench.core.errors import UsageError
from blendbench.core.suites import load_suite
from blendbench.metrics import all_metrics
from blendbench.models.miniature.world import render, sample_scenes
from blendbench.results.images import ImageStore
from blendbench.results.store import Results, open_results
from blendbench.stats.decide import ALPHA, least_items
from blendbench.verdict.sequential import LEAST_ITEMS, looks

ITEMS, NOISES, SIDE, PATCH_GRID = 24, 6, 64, 8
# No judging network: only what is measured on pixels.
MODELS = SimpleNamespace(facts=SimpleNamespace(patch_grid=PATCH_GRID), device="cpu", clip=None, siglip=None, probe=None)


def write_images(folder: Path, suite_sha256: str, seeds: int = NOISES) -> Results:
    """text_only cells whose images are rendered scenes, one for each item, under light noise of their own."""
    scenes = render(sample_scenes(ITEMS, seed=3))[..., ::2, ::2].permute(0, 2, 3, 1).numpy() * 255
    items = [item.id for item in load_suite("miniature").items[:ITEMS]]
    rows: list[Row] = run_rows(experiment="calibration", labels=["text_only"], metrics={}, suite_sha256=suite_sha256)
    rows[0] = rows[0].changed(items=items, seeds=list(range(seeds)))
    rows.append(Row(table="suites", suite="miniature", suite_sha256=suite_sha256, version=1, title="x"))
    store = ImageStore(folder)
    for index, item in enumerate(items):
        for seed in range(seeds):
            noise = np.random.default_rng([index, seed]).normal(0, 3, (SIDE, SIDE, 3))
            image = store.save(np.clip(scenes[index] + noise, 0, 255).astype(np.uint8))
            place = {"experiment": "calibration", "suite_sha256": suite_sha256}
            rows.append(cell_row("text_only", item, seed, image, **place))
    append(folder, "run1", *rows)
    return open_results(folder)


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    folder = tmp_path_factory.mktemp("calibration")
    results = write_images(folder, load_suite("miniature").sha256)
    return measure_pool(results, folder, "calibration", MODELS)  # type: ignore[arg-type]


def test_the_pool_holds_every_gated_metric_that_can_be_measured(pool: Pool) -> None:
    names = {metric.name for metric in pool.metrics}
    assert {"grid_energy", "blockiness", "color_drift"} <= names
    assert not {"clip_cosine", "attribute_adherence", "effect_size"} & names
    assert pool.values["grid_energy"].shape == (len(VARIANTS), ITEMS, NOISES, 1)
    assert pool.values["color_drift"].shape == (len(VARIANTS), ITEMS, NOISES, NOISES)


def test_variants_are_damaged_as_named(pool: Pool) -> None:
    clean, grid, _, swapped = pool.values["grid_energy"]
    assert np.median(grid - clean) > 0.05
    assert np.array_equal(swapped, np.roll(clean, -1, axis=0))
    drift = pool.values["color_drift"][VARIANTS.index("clean")]
    assert np.abs(drift[:, range(NOISES), range(NOISES)]).max() < 1e-6  # an image has not drifted from itself
    assert drift.max() > 0


def test_the_baseline_against_itself_raises_few_alarms(pool: Pool) -> None:
    outcome = calibrate(pool, Scenario("null"), 60)
    assert outcome.rate("regression") <= 0.10  # 5 % and two standard errors of 60 resamples


@pytest.mark.parametrize("fresh", [False, True])
def test_a_faint_grid_in_one_image_of_five_is_detected(pool: Pool, fresh: bool) -> None:
    assert calibrate(pool, Scenario("grid", "grid", 0.2, fresh=fresh), 15).rate("regression") >= 0.8


def test_swapped_items_are_detected_by_their_colours(pool: Pool) -> None:
    outcome = calibrate(pool, Scenario("swapped", "swapped", fresh=False), 5)
    assert outcome.outcomes["color_drift"]["regression"] == 5


def test_what_is_worse_by_the_margin_rarely_passes(pool: Pool) -> None:
    outcome = calibrate(pool, Scenario("margin", shift=1.0), 40)
    for name, outcomes in outcome.outcomes.items():
        assert outcomes["pass"] <= 6, name  # 5 % and three standard errors


def test_the_same_images_always_pass(pool: Pool) -> None:
    outcome = calibrate(pool, Scenario("same", fraction=0.0, fresh=False), 3)
    assert outcome.verdicts == {"pass": 3}


def test_arms_are_dealt_disjoint_seeds_and_keep_their_items() -> None:
    # The value of an image names its item, seed and variant; that of a distance its anchor too.
    values = np.empty((len(VARIANTS), ITEMS, NOISES, NOISES))
    for index in np.ndindex(*values.shape):
        values[index] = np.dot(index, [1e6, 1e4, 1e2, 1.0])
    drift = all_metrics()["color_drift"].info
    pool = Pool((drift,), tuple(f"i{i:02}" for i in range(ITEMS)), {"color_drift": values}, {})
    for trial in range(5):
        items, *both = deal(pool, Scenario("x", "cast", 0.25), np.random.default_rng(trial))["color_drift"]
        first, second = (values.astype(int) for values in both)
        assert np.array_equal(items, first // 10_000 % 100) and np.array_equal(items, second // 10_000 % 100)
        seeds = [values // 100 % 100 for values in (first, second)]
        anchors = [values % 100 for values in (first, second)]
        assert np.array_equal(anchors[0], anchors[1])
        for item in range(ITEMS):
            own = slice(item * SEEDS, (item + 1) * SEEDS)
            assert len({*seeds[0][own], *seeds[1][own], *anchors[0][own]}) == 3 * SEEDS
        assert (first // 1_000_000 == VARIANTS.index("cast")).sum() == ITEMS * SEEDS // 4
        assert (second // 1_000_000 == 0).all()


def test_looking_twice_keeps_the_level_and_saves_half_of_what_is_clear(pool: Pool) -> None:
    assert calibrate(pool, Scenario("null"), 60, sequential=True).rate("regression") <= 0.10
    same = calibrate(pool, Scenario("same", fraction=0.0, fresh=False), 3, sequential=True)
    assert (same.verdicts, same.used) == ({"pass": 3}, 0.5)
    swapped = calibrate(pool, Scenario("swapped", "swapped"), 5, sequential=True)
    assert (swapped.verdicts, swapped.used) == ({"regression": 5}, 0.5)
    faint = calibrate(pool, Scenario("grid", "grid", 0.2, fresh=False), 15, sequential=True)
    assert faint.rate("regression") >= 0.8 and 0.5 <= faint.used <= 1


@pytest.mark.parametrize("items", [3, 12, 23, 24, 100])
def test_looks_split_the_level_and_end_with_all_items(items: int) -> None:
    planned = looks(items)
    assert sum(look.alpha for look in planned) == pytest.approx(ALPHA)
    assert planned[-1].items == items and (len(planned) == 1 or planned[0].items >= LEAST_ITEMS)
    assert least_items(8, planned[0].alpha) <= LEAST_ITEMS


@pytest.mark.parametrize(("count", "trials"), [(0, 50), (3, 50), (50, 50), (20, 500)])
def test_intervals_of_fractions_equal_scipys(count: int, trials: int) -> None:
    wanted = stats.binomtest(count, trials).proportion_ci(0.95, "exact")
    assert interval(count, trials) == pytest.approx((wanted.low, wanted.high))


def test_the_page_says_no_where_a_promise_is_broken(pool: Pool) -> None:
    page = gate_page(pool, null_trials=5, trials=2)
    rows = {line.split("|")[1].strip(): line for line in page.splitlines() if line.startswith("| detected")}
    assert rows["detected: grid of 2 grey levels in 20 % of the images"].endswith("| yes |")
    assert page.splitlines()[2].startswith("The gate calls the baseline worse than itself in ")
    blind = {**pool.values, **{name: np.zeros_like(pool.values[name]) for name in pool.values}}
    broken = gate_page(replace(pool, values=blind), null_trials=1, trials=1)
    assert broken.count("**NO**") == 3


def test_images_of_another_suite_are_refused(tmp_path: Path) -> None:
    results = write_images(tmp_path, "0" * 64, seeds=1)
    with pytest.raises(UsageError, match="another version of suite miniature"):
        measure_pool(results, tmp_path, "calibration", MODELS)  # type: ignore[arg-type]


def test_too_few_seeds_are_refused(pool: Pool) -> None:
    few = replace(pool, values={name: values[:, :, :5] for name, values in pool.values.items()})
    with pytest.raises(ValueError, match="5 seeds for each item; 6 are needed"):
        calibrate(few, Scenario("null"), 1)
