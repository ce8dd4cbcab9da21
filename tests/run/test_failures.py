"""What raises in the pipeline fails its own cells, with file and line; what fails everywhere stops the run."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from run_outcomes import rows_of

from blendbench.core.errors import UsageError
from blendbench.core.suites import load_suite
from blendbench.models.sets import ModelSet, load_model_set
from blendbench.run.experiments import Grid, load_experiment
from blendbench.run.failures import Failures, StoppedError
from blendbench.run.loop import run
from blendbench.run.plan import Plan, make_plan
from blendbench.run.progress import Reporter


@pytest.fixture
def models(untrained: Path) -> ModelSet:
    return load_model_set(untrained, "cpu", {"batch_size": 4, "steps": 2})


def plan_of(models: ModelSet, alphas: int = 5, items: int = 1) -> Plan:
    grid = Grid("lerp", (("alpha", tuple(i / alphas for i in range(1, alphas))),))
    base = replace(load_experiment("smoke"), items=items, controls=False, metrics=("effect_size", "grid_severity"))
    return make_plan(replace(base, strategies=(grid,)), load_suite("miniature"), models)


def errors_of(results: Path) -> set[str]:
    return {str(row.error) for row in rows_of(results, "cells") if row.error}


def patched(
    monkeypatch: pytest.MonkeyPatch, models: ModelSet, fails: Callable[[list[Any]], bool], error: Exception
) -> list[int]:
    """Let the denoiser raise for some batches; the sizes of all that it was asked for."""
    asked: list[int] = []
    generate: Callable[..., Any] = models.denoiser.generate

    def broken(schedules: list[Any], *rest: Any) -> Any:
        asked.append(len({id(schedule[0]) for schedule in schedules}))
        if fails(schedules):
            raise error
        return generate(schedules, *rest)

    monkeypatch.setattr(models.denoiser, "generate", broken)
    return asked


def test_an_exception_in_a_batch_fails_the_job_that_raises_it_alone(
    models: ModelSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(plan_of(models), models, tmp_path / "whole", Reporter(quiet=True))
    text = models.text.encode(plan_of(models).items[0].prompt).hidden

    def is_text(schedules: list[Any]) -> bool:
        return any(torch.equal(schedule[0], text) for schedule in schedules)

    asked = patched(monkeypatch, models, is_text, RuntimeError("a shape\nthat nobody expected"))
    done = run(plan_of(models), models, tmp_path / "broken", Reporter(quiet=True))
    assert (whole.ok, done.ok, done.failed, done.stopped) == (5, 4, 1, None)
    assert asked == [4, 1, 1, 1, 1, 1]
    (error,) = errors_of(tmp_path / "broken")
    assert error.startswith("RuntimeError: a shape that nobody expected (blendbench/run/generate.py:")
    images = {row.cell_id: row.image_sha256 for row in rows_of(tmp_path / "whole", "cells")}
    kept = [row for row in rows_of(tmp_path / "broken", "cells") if row.status == "ok"]
    assert len(kept) == 4
    assert all(images[row.cell_id] == row.image_sha256 for row in kept)


def test_an_exception_while_decoding_fails_its_cells(
    models: ModelSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decode(_: Any) -> Any:
        raise RuntimeError("no such layer")

    monkeypatch.setattr(models.denoiser, "decode", decode)
    done = run(plan_of(models), models, tmp_path, Reporter(quiet=True))
    assert (done.ok, done.failed, done.stopped) == (0, 5, None)
    (error,) = errors_of(tmp_path)
    assert error.startswith("RuntimeError: no such layer (blendbench/models/families/z_image/denoiser.py:")


@pytest.mark.parametrize(("part", "failed"), [("vision", 4), ("text", 5)])
def test_an_exception_while_encoding_fails_the_cells_that_read_it(
    models: ModelSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str, failed: int
) -> None:
    def encode(*_: object) -> None:
        raise IndexError("list index out of range")

    monkeypatch.setattr(getattr(models, part), {"vision": "encode", "text": "encode_layers"}[part], encode)
    done = run(plan_of(models), models, tmp_path, Reporter(quiet=True))
    assert (done.ok, done.failed, done.scored, done.stopped) == (5 - failed, failed, 2 * (5 - failed), None)
    (error,) = errors_of(tmp_path)
    assert error.startswith("EncodingError: IndexError: list index out of range (blendbench/run/embeddings.py:")


def test_an_exception_while_scoring_fails_scores_and_not_the_run(
    models: ModelSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def batch(*_: object) -> None:
        raise RuntimeError("stack expects each tensor to be equal size")

    with monkeypatch.context() as patch:
        patch.setattr("blendbench.run.score.Scorer._batch", batch)
        done = run(plan_of(models), models, tmp_path, Reporter(quiet=True))
    assert (done.ok, done.failed, done.scores_failed) == (5, 0, 10)
    again = run(plan_of(models), models, tmp_path, Reporter(quiet=True))
    assert (again.generated, again.scored, again.scores_failed) == (0, 10, 0)


def test_a_device_that_is_lost_stops_the_run(models: ModelSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lost = RuntimeError("CUDA error: device-side assert triggered\nCUDA kernel errors might be reported later")
    asked = patched(monkeypatch, models, lambda _: True, lost)
    done = run(plan_of(models, alphas=50), models, tmp_path, Reporter(quiet=True))
    assert len(asked) < 8
    assert done.stopped is not None
    assert done.stopped.startswith("RuntimeError: CUDA error: device-side assert triggered CUDA kernel errors")
    assert (done.ok, done.failed, done.untried, done.scores_failed) == (0, 3, 47, 0)
    assert done.failed + done.untried == done.expected
    assert len(rows_of(tmp_path, "cells")) == 3
    monkeypatch.undo()
    again = run(plan_of(models, alphas=50), models, tmp_path, Reporter(quiet=True))
    assert (again.ok, again.stopped) == (again.expected, None)


def test_what_always_fails_stops_the_run_and_what_sometimes_works_does_not() -> None:
    failures = Failures()
    for _ in range(7):
        failures.add(["out of memory"])
    with pytest.raises(StoppedError, match="out of memory"):
        failures.add(["out of memory", "out of memory"])
    failures = Failures()
    failures.add([None, "not finite"])
    for _ in range(100):
        failures.add(["out of memory"])
    mixed = Failures()
    for i in range(100):
        mixed.add([f"error {i}"])


def test_what_cannot_be_compiled_stops_the_run(
    models: ModelSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def warm_up(_: int) -> None:
        raise RuntimeError("no C compiler found")

    monkeypatch.setattr(models.denoiser, "is_cold", lambda _: True)
    monkeypatch.setattr(models.denoiser, "warm_up", warm_up)
    done = run(plan_of(models), models, tmp_path, Reporter(quiet=True))
    assert done.stopped is not None
    assert done.stopped.startswith("compiling the networks failed: RuntimeError: no C compiler found (")
    assert (done.ok, done.failed, done.untried) == (0, 0, 5)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_what_ends_the_program_ends_the_run(
    models: ModelSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    def end(*_: object) -> None:
        raise error

    monkeypatch.setattr(models.vision, "encode", end)
    with pytest.raises(error):
        run(plan_of(models), models, tmp_path, Reporter(quiet=True))


def test_a_pipeline_that_cannot_be_loaded_is_one_line(
    models: ModelSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load() -> None:
        raise UsageError("model_set.toml: pipeline cannot be loaded")

    monkeypatch.setattr(models, "_load_denoiser", load)
    with pytest.raises(UsageError, match="cannot be loaded"):
        run(plan_of(models), models, tmp_path, Reporter(quiet=True))
