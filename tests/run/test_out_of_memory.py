"""Running out of memory: smaller batches first, and then a failure of its own for each cell."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from run_outcomes import rows_of

from blendbench.core.suites import load_suite
from blendbench.models.sets import ModelSet, load_model_set
from blendbench.results.store import open_results
from blendbench.run.experiments import Grid, load_experiment
from blendbench.run.loop import run
from blendbench.run.plan import Plan, make_plan
from blendbench.run.progress import Reporter


@pytest.fixture
def models(untrained: Path) -> ModelSet:
    return load_model_set(untrained, "cpu", {"batch_size": 4, "steps": 2})


def plan_of(models: ModelSet) -> Plan:
    grid = Grid("lerp", (("alpha", (0.0, 0.2, 0.4, 0.6, 0.8)),))
    base = replace(load_experiment("smoke"), items=1, controls=False, metrics=("effect_size",))
    return make_plan(replace(base, strategies=(grid,)), load_suite("miniature"), models)


def limited(monkeypatch: pytest.MonkeyPatch, models: ModelSet, most: int) -> list[int]:
    """Let the model set's denoiser run out of memory above `most` images; the sizes it was asked for."""
    asked: list[int] = []
    generate: Callable[..., Any] = models.denoiser.generate

    def small(schedules: list[Any], *rest: Any) -> Any:
        asked.append(len(schedules))
        if len(schedules) > most:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return generate(schedules, *rest)

    monkeypatch.setattr(models.denoiser, "generate", small)
    return asked


def cells_of(results: Path) -> list[Any]:
    return rows_of(results, "cells")


def test_a_batch_that_does_not_fit_is_halved_and_so_are_all_later_ones(
    models: ModelSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = run(plan_of(models), models, tmp_path / "whole", Reporter(quiet=True))
    asked = limited(monkeypatch, models, most=2)
    done = run(plan_of(models), models, tmp_path / "halved", Reporter(events=True))
    assert (done.ok, done.failed, done.images) == (whole.ok, 0, 5)
    assert asked == [4, 2, 2, 2]
    assert '"event": "note", "text": "out of memory: batches hold 2 from here on"' in capsys.readouterr().err
    images = [{c.cell_id: c.image_sha256 for c in cells_of(tmp_path / name)} for name in ("whole", "halved")]
    assert images[0].keys() == images[1].keys()


def test_one_image_that_does_not_fit_fails_its_cells_only(
    models: ModelSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        limited(patch, models, most=0)
        done = run(plan_of(models), models, tmp_path, Reporter(quiet=True))
    assert (done.ok, done.failed) == (0, done.expected)
    assert {record.error for record in cells_of(tmp_path)} == {"out of memory, even with one image a batch"}
    again = run(plan_of(models), models, tmp_path, Reporter(quiet=True))
    assert (again.ok, again.failed) == (again.expected, 0)


def test_memory_is_given_back_before_the_next_attempt(
    models: ModelSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    limited(monkeypatch, models, most=2)
    generate = models.denoiser.generate
    monkeypatch.setattr(models, "release_cache", lambda: order.append("released"))

    def noted(*given: Any) -> Any:
        order.append("generated")
        return generate(*given)

    monkeypatch.setattr(models.denoiser, "generate", noted)
    run(plan_of(models), models, tmp_path, Reporter(quiet=True))
    assert order[:3] == ["generated", "released", "generated"]


def test_each_cell_says_with_how_many_its_image_was_generated(
    models: ModelSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limited(monkeypatch, models, most=2)
    done = run(plan_of(models), models, tmp_path, Reporter(quiet=True))
    rows = open_results(tmp_path).query("SELECT batch_size FROM cells JOIN cell_batches USING (cell_id)")
    assert done.batch_size == 2
    assert rows["batch_size"].tolist() == [2] * done.expected


def test_a_reference_that_does_not_fit_fails_the_cells_that_read_it(
    models: ModelSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(models.vision, "encode", full)
    done = run(plan_of(models), models, tmp_path, Reporter(quiet=True))
    # Only the baseline reads no image.
    assert (done.ok, done.failed) == (1, done.expected - 1)
    assert {c.error for c in cells_of(tmp_path) if c.error} == {"EncodingError: out of memory while encoding"}
