"""What a run asks a results folder before it goes on."""

from pathlib import Path

import pytest
from synthetic_results import (
    CARDS,
    CONFIGURATIONS,
    INCOMPLETE,
    MODELS,
    PAIRED,
    SAMPLER,
    SUITE,
    append,
    cell_row,
    item_name,
    run_rows,
    score_row,
    sha,
    write_results,
)

from blendbench.results import state as state_module
from blendbench.results.state import MetricKey, PlannedScore, open_state

METRICS = [MetricKey(str(card["metric"]), 1, card["metric"] in PAIRED, "") for card in CARDS]
CANARY = cell_row("canary", item_name(0), 0, sha("image", "canary", 0, 0))
BASE = sha("image", "text_only", 0, 0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_results(tmp_path, items=2, images=False)
    return tmp_path


def missing(folder: Path, *cells: PlannedScore, metrics: list[MetricKey] = METRICS) -> list[tuple[str, str]]:
    """Return the scores that are left to measure."""
    with open_state(folder) as state:
        return list(state.missing_scores(cells, metrics))


def test_finished_cells_are_those_of_the_latest_row(folder: Path) -> None:
    failed = cell_row(INCOMPLETE, item_name(1), 0, None)
    with open_state(folder) as state:
        found = state.finished_cells([CANARY.cell_id, failed.cell_id, sha("unknown")])
    assert found.keys() == {CANARY.cell_id, failed.cell_id}
    assert found[CANARY.cell_id] == ("ok", CANARY.image_sha256, CANARY.conditioning_sha256, 2**63, None)
    assert found[failed.cell_id][:3] == ("failed", None, None)
    elsewhere = CANARY.changed(experiment="other", run_id="run2", status="failed", error="x", image_sha256=None)
    append(folder, "run2", *run_rows("run2", "other"), elsewhere)
    with open_state(folder) as state:
        assert state.finished_cells([CANARY.cell_id])[CANARY.cell_id].status == "failed"


def test_cells_of_other_experiments_and_superseded_ones_are_to_be_counted_again(folder: Path) -> None:
    with open_state(folder) as state:
        assert state.outdated_members("core", SUITE, [CANARY.cell_id]) == []
        # Another suite, or another split of this one, takes its cells over.
        assert len(state.outdated_members("core", sha("other suite"), [CANARY.cell_id])) == 1
        row = state.outdated_members("other", SUITE, [CANARY.cell_id, sha("unknown")])
    assert row == [
        {k: v for k, v in CANARY.items() if k != "table"}
        | {"split": "", "environment_sha256": "", "image_tokens": None, "imported": None}
    ]
    twin = CANARY.changed(cell_id=sha("twin"), run_id="run2")
    append(folder, "run2", *run_rows("run2"), twin)
    with open_state(folder) as state:
        assert [r["cell_id"] for r in state.outdated_members("core", SUITE, [CANARY.cell_id, twin.cell_id])] == [
            CANARY.cell_id
        ]
    append(folder, "run3", *run_rows("run3"), CANARY.changed(run_id="run3"))
    with open_state(folder) as state:
        assert [r["cell_id"] for r in state.outdated_members("core", SUITE, [CANARY.cell_id, twin.cell_id])] == [
            twin.cell_id
        ]


def test_nothing_is_missing_of_what_is_settled(folder: Path) -> None:
    # reference_style of the first item is unscorable, probe_margin was skipped.
    assert missing(folder, PlannedScore(CANARY.cell_id, str(CANARY.image_sha256), BASE)) == []


def test_another_image_misses_every_score(folder: Path) -> None:
    found = missing(folder, PlannedScore(CANARY.cell_id, sha("new image"), BASE))
    assert found == [(CANARY.cell_id, metric.name) for metric in METRICS]


@pytest.mark.parametrize("baseline", [sha("new baseline"), ""])
def test_another_baseline_image_misses_the_paired_scores(folder: Path, baseline: str) -> None:
    found = missing(folder, PlannedScore(CANARY.cell_id, str(CANARY.image_sha256), baseline))
    assert found == [(CANARY.cell_id, name) for name in PAIRED]


def test_another_version_or_scorer_misses_that_metric(folder: Path) -> None:
    cell = PlannedScore(CANARY.cell_id, str(CANARY.image_sha256), BASE)
    for change in ({"version": 2}, {"scorer_sha256": sha("weights")}):
        changed = [metric._replace(**change) if metric.name == "clip_cosine" else metric for metric in METRICS]
        assert missing(folder, cell, metrics=changed) == [(CANARY.cell_id, "clip_cosine")]


def test_failed_scores_are_measured_again(folder: Path) -> None:
    append(folder, "run2", score_row(CANARY, "grid_energy", None))
    cell = PlannedScore(CANARY.cell_id, str(CANARY.image_sha256), BASE)
    assert missing(folder, cell) == [(CANARY.cell_id, "grid_energy")]
    append(folder, "run3", score_row(CANARY, "grid_energy", 0.5))
    assert missing(folder, cell) == []


@pytest.mark.parametrize("at_once", [1, 2, 50_000])
def test_missing_scores_come_in_the_order_of_the_plan(
    folder: Path, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state_module, "_AT_ONCE", at_once)
    cells = [PlannedScore(sha("new", index), sha("image", index), BASE) for index in range(3)]
    assert missing(folder, *cells) == [(cell.cell_id, metric.name) for cell in cells for metric in METRICS]
    assert missing(folder) == [] == missing(folder, *cells, metrics=[])


def test_known_images_are_those_of_the_same_settings(folder: Path) -> None:
    with open_state(folder) as state:
        found = {(sha256, seed): image for sha256, seed, image in state.known_images(SAMPLER, MODELS, "float32")}
        assert found[str(CANARY.conditioning_sha256), 2**63] == CANARY.image_sha256
        assert len(found) == 2 * 2 * (len(CONFIGURATIONS) - 1) - 2  # one does nothing, one fails at an item
        for settings in ((sha("x"), MODELS, "float32"), (SAMPLER, sha("x"), "float32"), (SAMPLER, MODELS, "bfloat16")):
            assert state.known_images(*settings) == []


def test_the_last_plan_is_that_of_the_latest_run(folder: Path) -> None:
    append(folder, "run2", *run_rows("run2", items=1, seeds=[5], labels=["canary"], metrics={"clip_cosine": 3}))
    with open_state(folder) as state:
        plan = state.last_plan("core")
        assert state.last_plan("nothing") is None
    assert plan is not None
    assert (plan.suite_sha256, plan.model_set_sha256, plan.dtype) == (SUITE, MODELS, "float32")
    assert (plan.items, plan.seeds, plan.baseline) == (["item-00"], [5], "text_only")
    assert plan.sources == {"canary": sha("source", "canary")}
    assert {name: (card["metric_version"], card["scorer_sha256"]) for name, card in plan.metrics.items()} == {
        "clip_cosine": (3, "")
    }


def test_pace_is_that_of_the_latest_run_that_had_the_stage(folder: Path) -> None:
    row = {"table": "stage_times", "run_id": "run2", "stage": "denoise", "seconds": 3.0, "count": 2}
    with open_state(folder) as state:
        assert state.pace() == {"denoise": 12.5 / (2 * 2 * len(CONFIGURATIONS))}
    append(folder, "run2", *run_rows("run2"), type(CANARY)(row), type(CANARY)(row | {"stage": "save", "count": 0}))
    with open_state(folder) as state:
        assert state.pace() == {"denoise": 1.5}


def test_a_folder_that_holds_nothing_has_no_answers_and_stays_so(tmp_path: Path) -> None:
    with open_state(tmp_path / "none") as state:
        assert state.finished_cells([sha("x")]) == {}
        assert state.known_images("s", "m", "d") == [] and state.pace() == {} and state.last_plan("core") is None
        assert list(state.missing_scores([PlannedScore(sha("x"), sha("p"), "")], METRICS[:1])) == [
            (sha("x"), METRICS[0].name)
        ]
    assert not (tmp_path / "none").exists()
