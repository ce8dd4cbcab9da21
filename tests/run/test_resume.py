"""What is left of a plan: nothing is done twice, and nothing is forgotten."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from run_outcomes import rows_of
from torch import Tensor

from blendbench.core.suites import load_suite
from blendbench.core.tokens import Tokens
from blendbench.models.sets import ModelSet, load_model_set
from blendbench.registry.strategies import strategy
from blendbench.run.experiments import Grid, load_experiment
from blendbench.run.lock import folder_lock
from blendbench.run.loop import run
from blendbench.run.plan import Plan, make_plan
from blendbench.run.progress import Reporter
from blendbench.run.resume import remaining_work

QUIET = Reporter(quiet=True)


@pytest.fixture(scope="module")
def models(untrained: Path) -> ModelSet:
    return load_model_set(untrained, "cpu", {"steps": 1})


def plan_of(models: ModelSet, *grids: Grid, **changes: object) -> Plan:
    base = replace(load_experiment("smoke"), strategies=grids, items=1, controls=False, metrics=("effect_size",))
    return make_plan(replace(base, **changes), load_suite("miniature"), models)  # type: ignore[arg-type]


def alphas(*values: float) -> Grid:
    return Grid("lerp", (("alpha", values),))


def test_a_finished_run_loads_no_model(untrained: Path, models: ModelSet, tmp_path: Path) -> None:
    plan = plan_of(models, alphas(0.5))
    run(plan, models, tmp_path, QUIET)
    fresh = load_model_set(untrained, "cpu", {"steps": 1})
    assert run(plan_of(fresh, alphas(0.5)), fresh, tmp_path, QUIET).run_id is None
    assert not {"_pipeline", "denoiser", "text", "vision", "clip", "siglip", "probe"} & vars(fresh).keys()


def test_a_metric_that_the_model_set_cannot_measure_is_settled(untrained: Path, tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    for part in untrained.iterdir():
        if part.is_dir():
            (folder / part.name).symlink_to(part)
    text = (untrained / "model_set.toml").read_text().replace('probe = "probe"\n', "")
    (folder / "model_set.toml").write_text(text)
    models = load_model_set(folder, "cpu", {"steps": 1})
    plan = plan_of(models, metrics=("attribute_adherence", "effect_size"))
    done = run(plan, models, tmp_path / "results", QUIET)
    assert (done.ok, done.scored, done.scores_failed) == (1, 2, 0)
    statuses = {r.metric: (r.status, r.error) for r in rows_of(tmp_path / "results", "scores")}
    assert statuses["attribute_adherence"] == ("skipped", "attribute_adherence needs probe")
    assert remaining_work(plan, models, tmp_path / "results").empty


@pytest.fixture
def shaky_baseline() -> dict[str, bool]:
    """A baseline that fails as long as `broken` is set."""
    state = {"broken": True}

    @strategy("shaky", version=1, source="test")
    def shaky(text: Tokens) -> Tensor:
        return text.hidden * (float("nan") if state["broken"] else 1.0)

    return state


def test_paired_metrics_wait_for_their_baseline(
    models: ModelSet, tmp_path: Path, shaky_baseline: dict[str, bool]
) -> None:
    plan = plan_of(models, alphas(0.5), baseline="shaky", metrics=("effect_size", "blockiness"))
    first = run(plan, models, tmp_path, QUIET)
    assert (first.ok, first.failed) == (1, 1)
    assert {r.metric: r.status for r in rows_of(tmp_path, "scores")} == {
        "effect_size": "skipped",
        "blockiness": "ok",
    }
    shaky_baseline["broken"] = False
    second = run(plan, models, tmp_path, QUIET)
    assert (second.ok, second.failed, second.generated) == (2, 0, 1)
    last = {(r.cell_id, r.metric): r.status for r in rows_of(tmp_path, "scores")}
    assert set(last.values()) == {"ok"}
    assert len(last) == 4
    assert remaining_work(plan, models, tmp_path).empty


def test_failed_cells_are_tried_again_and_the_rest_is_left_alone(
    models: ModelSet, tmp_path: Path, shaky_baseline: dict[str, bool]
) -> None:
    plan = plan_of(models, Grid("shaky", ()), alphas(0.5))
    assert run(plan, models, tmp_path, QUIET).failed == 1
    again = run(plan, models, tmp_path, QUIET)
    assert (again.generated, again.failed, again.reused, again.scored) == (0, 1, 2, 0)


def test_the_latest_plan_is_on_record_even_if_all_its_cells_are_there(models: ModelSet, tmp_path: Path) -> None:
    wide, narrow = plan_of(models, alphas(0.2, 0.4)), plan_of(models, alphas(0.2))
    run(wide, models, tmp_path, QUIET)
    for plan in (narrow, wide):
        done = run(plan, models, tmp_path, QUIET)
        assert (done.generated, done.scored) == (0, 0)
        last = max(rows_of(tmp_path, "runs"), key=lambda row: row.sequence)
        assert (json.loads(last.items), json.loads(last.seeds)) == (plan.expected()["items"], [0])
        assert remaining_work(plan, models, tmp_path).empty
    assert run(wide, models, tmp_path, QUIET).run_id is None


def test_an_image_generated_in_one_batch_is_the_same_in_any_other(untrained: Path, tmp_path: Path) -> None:
    grids = (alphas(0.1, 0.2, 0.3), Grid("concatenate", ()), Grid("vision_only", ()))
    models = load_model_set(untrained, "cpu", {"steps": 2, "batch_size": 4})
    whole = plan_of(models, *grids, items=2, seeds=(0, 1))
    run(whole, models, tmp_path / "whole", QUIET)
    for seed in (1, 0):
        for item in (2, 1):
            run(plan_of(models, *grids[::-1], items=item, seeds=(seed,)), models, tmp_path / "parts", QUIET)

    def images(results: Path) -> dict[str, str]:
        return {r.cell_id: r.image_sha256 for r in rows_of(results, "cells")}

    assert len(images(tmp_path / "whole")) == 24
    assert images(tmp_path / "parts") == images(tmp_path / "whole")


def test_times_of_all_stages_are_kept_and_give_an_estimate(models: ModelSet, tmp_path: Path) -> None:
    plan = plan_of(models, alphas(0.5))
    assert remaining_work(plan, models, tmp_path).estimated_seconds is None
    done = run(plan, models, tmp_path, QUIET)
    kept = {r.stage: r.count for r in rows_of(tmp_path, "stage_times")}
    assert kept == {"encode": 2, "blend": 2, "denoise": 2, "save": 2, "measure": 2}
    assert sum(done.stages.values()) <= done.seconds
    more = remaining_work(plan_of(models, alphas(0.5, 0.6), items=3), models, tmp_path).estimated_seconds
    assert more is not None
    assert more > 0


def test_half_written_files_of_a_killed_run_are_swept_away(tmp_path: Path) -> None:
    for folder in ("images/ab", "embeddings"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / f"{'0a' * 16}.partial").write_bytes(b"half")
        (tmp_path / folder / "own.partial").write_bytes(b"not ours")
    with folder_lock(tmp_path):
        assert [path.name for path in tmp_path.rglob("*.partial")] == ["own.partial"] * 2


def test_looking_at_what_is_left_writes_nothing(models: ModelSet, tmp_path: Path) -> None:
    assert len(remaining_work(plan_of(models), models, tmp_path / "none").cells) == 1
    assert not (tmp_path / "none").exists()
