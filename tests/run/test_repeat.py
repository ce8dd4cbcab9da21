"""Cells generated again: the same pixels are found to be the same, and other pixels to be others."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from run_outcomes import outcome, rows_of
from synthetic_results import white_plots

from blendbench.core.errors import UsageError
from blendbench.core.suites import load_suite
from blendbench.models.sets import ModelSet, load_model_set
from blendbench.results.images import ImageStore
from blendbench.results.merge import merge
from blendbench.results.repeats import read_repeats
from blendbench.results.shards import shard_paths
from blendbench.results.store import open_results
from blendbench.run.engine import Engine, LocalEngine, Task
from blendbench.run.experiments import Grid, load_experiment
from blendbench.run.loop import RunReport, run
from blendbench.run.plan import Plan, make_plan
from blendbench.run.progress import Reporter
from blendbench.run.resume import images_of, remaining_work
from blendbench.run.work import Work, cells_to_repeat

IMAGES = 8  # two of the ten cells share the images of two others


@pytest.fixture
def models(untrained: Path) -> ModelSet:
    return load_model_set(untrained, "cpu", {"batch_size": 4, "steps": 1})


@pytest.fixture
def plan(models: ModelSet) -> Plan:
    grid = Grid("lerp", (("alpha", (0.0, 0.2, 0.5, 0.8)),))  # the first is text_only by another name
    base = replace(load_experiment("smoke"), items=2, controls=False, metrics=("effect_size",), strategies=(grid,))
    return make_plan(base, load_suite("miniature"), models)


def run_of(plan: Plan, models: ModelSet, results: Path, repeat: float) -> RunReport:
    return run(plan, models, results, Reporter(quiet=True), repeat=repeat)


def positioned(models: ModelSet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let an image depend on its place in the batch."""
    generate: Callable[..., Any] = models.denoiser.generate

    def broken(*given: Any) -> Any:
        pixels, finite = generate(*given)
        places = torch.arange(len(pixels), dtype=pixels.dtype).view(-1, 1, 1, 1)
        return pixels // 2 + places, finite

    monkeypatch.setattr(models.denoiser, "generate", broken)


def test_equal_images_are_reported_as_equal_and_change_nothing_else(
    models: ModelSet, plan: Plan, tmp_path: Path
) -> None:
    run_of(plan, models, tmp_path / "plain", 0)
    done = run_of(plan, models, tmp_path / "again", 50)
    assert (done.ok, done.repeated, done.differing, done.repeats_failed) == (10, IMAGES // 2, 0, 0)
    assert outcome(tmp_path / "again") == outcome(tmp_path / "plain")
    rows = rows_of(tmp_path / "again", "repeats")
    assert len({row.image_sha256 for row in rows}) == IMAGES // 2
    assert all(row.again_sha256 == row.image_sha256 and row.batch_size == 4 for row in rows)
    assert rows_of(tmp_path / "plain", "repeats") == []
    # A finished run is repeated too, in a run of its own that generates and scores nothing else.
    later = run_of(plan, models, tmp_path / "again", 100)
    assert (later.generated, later.scored, later.reused, later.repeated, later.differing) == (0, 0, 10, IMAGES, 0)
    assert outcome(tmp_path / "again") == outcome(tmp_path / "plain")
    assert remaining_work(plan, models, tmp_path / "again").empty
    assert read_repeats(open_results(tmp_path / "again"), plan.experiment.name) == (IMAGES, 0)


def test_images_that_depend_on_their_batch_are_found_and_kept(
    models: ModelSet, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    positioned(models, monkeypatch)
    done = run_of(plan, models, tmp_path / "one", 100)
    assert done.repeated >= IMAGES
    assert 0 < done.differing <= done.repeated
    rows = rows_of(tmp_path / "one", "repeats")
    others = {row.again_sha256 for row in rows if row.again_sha256 != row.image_sha256}
    assert sum(row.again_sha256 != row.image_sha256 for row in rows) == done.differing
    assert ImageStore(tmp_path / "one").present(others) == others
    assert {row.image_sha256 for row in rows} <= {row.image_sha256 for row in rows_of(tmp_path / "one", "cells")}
    merge([tmp_path / "one"], tmp_path / "merged")
    assert ImageStore(tmp_path / "merged").present(others) == others
    assert read_repeats(open_results(tmp_path / "merged"), plan.experiment.name) == (done.repeated, done.differing)


def test_what_cannot_be_generated_again_is_no_equal_image(
    models: ModelSet, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_of(plan, models, tmp_path, 0)

    def broken(*_: object) -> None:
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(models.denoiser, "generate", broken)
    done = run_of(plan, models, tmp_path, 50)
    assert (done.ok, done.failed, done.repeated, done.repeats_failed) == (10, 0, 0, IMAGES // 2)
    rows = rows_of(tmp_path, "repeats")
    assert {row.again_sha256 for row in rows} == {None}
    assert all(row.error.startswith("RuntimeError: no such kernel") for row in rows)


def test_cells_are_generated_again_by_a_new_engine_that_knows_nothing(
    models: ModelSet, plan: Plan, tmp_path: Path
) -> None:
    """A cluster's engine is made by the same call."""
    tasks: list[Task] = []

    def engine(task: Task) -> Engine:
        assert not (tasks and (task.images or task.known)), "taken from what exists"
        tasks.append(task)
        return LocalEngine(task)

    remaining = remaining_work(plan, models, tmp_path)
    Work(plan, models, tmp_path, remaining, Reporter(quiet=True), engine, 30).do()
    assert [task.stage for task in tasks] == ["images", "repeat"]
    assert tasks[1].plan.metrics == ()
    assert len(rows_of(tmp_path, "repeats")) == 3  # 2.4, rounded up


def test_the_choice_is_of_different_images_and_grows_with_the_percentage(
    models: ModelSet, plan: Plan, tmp_path: Path
) -> None:
    run_of(plan, models, tmp_path, 0)
    images = images_of(plan, tmp_path)
    assert (len(images), len(set(images.values()))) == (10, IMAGES)
    chosen = [[cell.cell_id for cell in cells_to_repeat(plan, images, percent)] for percent in (0.01, 25, 26, 100)]
    assert [len(cells) for cells in chosen] == [1, 2, 3, IMAGES]
    assert all(chosen[3][: len(cells)] == cells for cells in chosen)
    assert chosen[3] != [cell.cell_id for cell in plan.cells if cell.cell_id in chosen[3]]
    assert cells_to_repeat(plan, {}, 100) == []


def test_an_interrupted_repetition_leaves_what_the_next_run_reads(
    models: ModelSet, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_of(plan, models, tmp_path, 0)
    generate, calls = models.denoiser.generate, []

    def killed(*given: Any) -> Any:
        calls.append(given)
        if len(calls) > 1:
            raise KeyboardInterrupt
        return generate(*given)

    monkeypatch.setattr(models.denoiser, "generate", killed)
    with pytest.raises(KeyboardInterrupt):
        run_of(plan, models, tmp_path, 100)
    assert any('"table":"repeats"' in path.read_text() for path in shard_paths(tmp_path))
    monkeypatch.undo()
    assert run_of(plan, models, tmp_path, 100).repeated == IMAGES


@pytest.mark.parametrize("percent", [-1.0, 100.5, float("nan"), float("inf")])
def test_no_percentage_is_refused(models: ModelSet, plan: Plan, tmp_path: Path, percent: float) -> None:
    with pytest.raises(UsageError, match="write a percentage from 0 to 100"):
        run_of(plan, models, tmp_path, percent)


@pytest.mark.parametrize("value", ["0", "101", "nan", "-2", "many"])
def test_a_wrong_option_is_refused_in_one_line(cli: Any, value: str, tmp_path: Path) -> None:
    done = cli("run", "smoke", "--repeat", value, "--results", tmp_path / "results")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "--repeat" in done.stderr
    assert not (tmp_path / "results").exists()


@white_plots()
def test_the_command_and_the_page_state_what_was_found(
    cli: Any, untrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment, results = tmp_path / "few.toml", tmp_path / "results"
    experiment.write_text(
        'name = "few"\ntitle = "few"\nsuite = "miniature"\nitems = 2\nseeds = [0]\ncontrols = false\n'
        'metrics = ["blockiness"]\nstrategies = [{name = "lerp", alpha = [0.3, 0.6]}]\nsampler = {steps = 1}\n'
    )
    arguments = ("run", experiment, "--models", untrained, "--results", results)
    done = cli(*arguments, "--repeat", "50")
    assert done.returncode == 0
    assert "3 of 3 cells generated again have the same pixels\n" in done.stdout
    assert "generated again" not in cli(*arguments).stdout
    page = ("leaderboard", "few", "--results", results, "--out", tmp_path)
    assert "3 of 3 cells generated again have the same pixels." in cli(*page).stdout
    assert "\n3 of 3 cells generated again have the same pixels.\n" in (tmp_path / "few.md").read_text()

    save = ImageStore.save
    monkeypatch.setattr(ImageStore, "save", lambda store, pixels: save(store, 255 - pixels))
    done = cli(*arguments, "--repeat", "100")
    assert done.returncode == 0
    line = next(line for line in done.stdout.splitlines() if line.startswith("6 of 6 cells"))
    assert line.startswith("6 of 6 cells generated again have other pixels: images depend on their batch or on chance")
    query = line.split("'")[1]
    assert len(json.loads(cli("sql", query, "--format", "json", "--results", results).stdout)) == 6
    summary = json.loads(cli(*arguments, "--repeat", "1", "--json").stdout)
    assert (summary["repeated"], summary["differing"]) == (1, 1)
    stated = " ".join(cli(*page).stdout.split())
    assert "6 of 6 cells generated again have other pixels" in stated
    assert "All checks of the benchmark itself hold" not in stated
