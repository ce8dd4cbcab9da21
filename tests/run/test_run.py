"""Runs: resumable, independent of batches and crashes, honest about failures."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from filelock import FileLock
from run_outcomes import rows_of
from torch import Tensor

from blendbench.core.errors import UsageError
from blendbench.core.suites import load_suite
from blendbench.core.tokens import Kind, Tokens
from blendbench.models.sets import ModelSet, load_model_set
from blendbench.registry.strategies import strategy
from blendbench.results.forget import forget
from blendbench.run.embeddings import Embeddings
from blendbench.run.experiments import Experiment, Grid, load_experiment
from blendbench.run.loop import run
from blendbench.run.plan import CONTROLS, Plan, make_plan, noise_seed
from blendbench.run.progress import Reporter
from blendbench.run.resume import missing_scores, remaining_work
from blendbench.run.sources import SourceReader


@pytest.fixture(scope="module")
def models(untrained: Path) -> ModelSet:
    return load_model_set(untrained, "cpu")


def experiment(*grids: Grid, items: int = 1, **changes: object) -> Experiment:
    base = replace(load_experiment("smoke"), strategies=grids, items=items, controls=False, metrics=("effect_size",))
    return replace(base, **changes)  # type: ignore[arg-type]


def plan_of(models: ModelSet, *grids: Grid, **changes: object) -> Plan:
    return make_plan(experiment(*grids, **changes), load_suite("miniature"), models)  # type: ignore[arg-type]


def outcomes(results: Path) -> tuple[dict[str, tuple[Any, ...]], dict[tuple[str, str], object]]:
    """Final cells and scores of a results folder, without what may differ between runs."""
    cells = {r.cell_id: (r.status, r.conditioning_sha256, r.image_sha256) for r in rows_of(results, "cells")}
    return cells, {(r.cell_id, r.metric): r.value for r in rows_of(results, "scores")}


def test_a_second_run_does_nothing(models: ModelSet, tmp_path: Path) -> None:
    plan = plan_of(models, Grid("lerp", (("alpha", (0.0, 0.5)),)))
    first = run(plan, models, tmp_path, Reporter(quiet=True))
    assert (first.expected, first.ok, first.generated) == (3, 3, 3)
    (stored,) = rows_of(tmp_path, "runs")
    facts = models.facts
    assert (stored.hidden_states, stored.blocks) == (facts.hidden_states, facts.blocks) == (7, 8)
    assert json.loads(stored.trained_to_show) == ["meaning_loss", "survival_loss"]
    read = {(row.strategy, row.image_tokens) for row in rows_of(tmp_path, "cells")}
    assert read == {("text_only", None), ("lerp", 16)}
    again = run(plan, models, tmp_path, Reporter(quiet=True))
    assert (again.generated, again.scored, again.reused, again.run_id) == (0, 0, 3, None)


def test_equal_conditionings_share_one_image(models: ModelSet, tmp_path: Path) -> None:
    plan = plan_of(models, Grid("lerp", (("alpha", (0.0,)),)))
    run(plan, models, tmp_path, Reporter(quiet=True))
    cells, scores = outcomes(tmp_path)
    assert len({cell[1:] for cell in cells.values()}) == 1
    assert set(scores.values()) == {0.0}


def test_a_vanished_image_is_generated_again(models: ModelSet, tmp_path: Path) -> None:
    plan = plan_of(models)
    run(plan, models, tmp_path, Reporter(quiet=True))
    before = outcomes(tmp_path)
    (cell,) = before[0].values()
    next(tmp_path.glob(f"images/*/{cell[2]}.png")).unlink()
    assert run(plan, models, tmp_path, Reporter(quiet=True)).generated == 1
    assert outcomes(tmp_path) == before


def test_a_forgotten_configuration_is_generated_again(models: ModelSet, tmp_path: Path) -> None:
    plan = plan_of(models, Grid("lerp", (("alpha", (0.3,)),)))
    run(plan, models, tmp_path, Reporter(quiet=True))
    assert forget(tmp_path, "lerp:alpha=0.3").images == 1
    report = run(plan, models, tmp_path, Reporter(quiet=True))
    assert (report.ok, report.generated, report.scored) == (2, 1, 0)
    assert remaining_work(plan, models, tmp_path).empty


def test_two_experiments_share_their_cells(models: ModelSet, tmp_path: Path) -> None:
    run(plan_of(models), models, tmp_path, Reporter(quiet=True))
    other = plan_of(models, name="other")
    done = run(other, models, tmp_path, Reporter(quiet=True))
    assert (done.generated, done.reused) == (0, 1)
    assert {r.experiment for r in rows_of(tmp_path, "cells")} == {"smoke", "other"}


@pytest.fixture
def broken_strategies() -> None:
    @strategy("not_a_number", version=1, source="test")
    def not_a_number(text: Tokens) -> Tensor:
        return text.hidden * float("nan")

    @strategy("raises", version=1, source="test")
    def raises(text: Tokens) -> Tensor:
        raise KeyError("my bug")

    @strategy("too_long", version=1, source="test")
    def too_long(text: Tokens) -> Tensor:
        return text.hidden[:1].expand(5000, -1)


@pytest.mark.usefixtures("broken_strategies")
def test_broken_cells_fail_alone_with_their_reason(models: ModelSet, tmp_path: Path) -> None:
    plan = plan_of(models, *(Grid(name, ()) for name in ("not_a_number", "raises", "too_long")))
    done = run(plan, models, tmp_path, Reporter(quiet=True))
    assert (done.ok, done.failed) == (1, 3)
    errors = {r.strategy: r.error for r in rows_of(tmp_path, "cells") if r.error}
    assert "not finite" in str(errors["not_a_number"])
    assert "KeyError: 'my bug'" in str(errors["raises"])
    assert "longer than" in str(errors["too_long"])


def test_an_image_does_not_depend_on_its_place_or_neighbours(models: ModelSet) -> None:
    torch.manual_seed(0)
    rows = [torch.randn(n, 192) for n in (12, 20, 30, 32)]
    latents = torch.stack([models.denoiser.initial_latents(i) for i in range(4)])
    together, finite = models.denoiser.generate([(r,) for r in rows], latents)
    order = [2, 0, 3, 1]
    shuffled, _ = models.denoiser.generate([(rows[i],) for i in order], latents[order])
    alike, _ = models.denoiser.generate([(rows[2],)] * 4, latents[2].expand(4, -1, -1, -1))
    assert finite.all()
    assert np.array_equal(shuffled, together[order])
    assert np.array_equal(alike[3], together[2])


def test_the_cell_id_follows_everything_that_may_change_pixels(models: ModelSet) -> None:
    ids = {
        plan.cells[-1].cell_id
        for plan in (
            plan_of(models, Grid("lerp", (("alpha", (0.1,)),))),
            plan_of(models, Grid("lerp", (("alpha", (0.2,)),))),
            plan_of(models, Grid("lerp", (("alpha", (0.1,)),)), seeds=(1,)),
            plan_of(models, Grid("lerp", (("alpha", (0.1,)),)), items=2),
        )
    }
    assert len(ids) == 4
    other = load_model_set(models.folder, "cpu", {"steps": 3})
    assert make_plan(experiment(), load_suite("miniature"), other).cells[0].cell_id != plan_of(models).cells[0].cell_id


def test_every_strategy_starts_from_the_same_noise(models: ModelSet) -> None:
    plan = plan_of(models, Grid("lerp", (("alpha", (0.1, 0.2)),)), items=2, seeds=(0, 1), controls=True)
    seeds = {
        (c.item.id, c.seed): {d.noise_seed for d in plan.cells if (d.item.id, d.seed) == (c.item.id, c.seed)}
        for c in plan.cells
    }
    assert all(len(found) == 1 for found in seeds.values())
    assert len({s for found in seeds.values() for s in found}) == 4
    assert {c.configuration.strategy.name for c in plan.cells} >= {"text_only", *CONTROLS}
    assert noise_seed("a", 0) == noise_seed("a", 0) != noise_seed("a", 1)


def test_an_unknown_setting_is_reported_before_anything_is_written(models: ModelSet) -> None:
    with pytest.raises(UsageError, match=r"outside 0\.\.1"):
        plan_of(models, Grid("lerp", (("alpha", (2,)),)))


def test_an_unknown_primary_metric_is_named_with_the_suite(models: ModelSet) -> None:
    suite = replace(load_suite("miniature"), primaries=(("gain", "refrence_style"),))
    with pytest.raises(UsageError, match=r"suite miniature: primary\.gain: .*did you mean 'reference_style'"):
        make_plan(load_experiment("smoke"), suite, models)


def test_two_runs_at_once_do_not_mix(models: ModelSet, tmp_path: Path) -> None:
    with FileLock(tmp_path / "run.lock"), pytest.raises(UsageError, match="another run"):
        run(plan_of(models), models, tmp_path, Reporter(quiet=True))


def test_image_tokens_do_not_depend_on_the_prompt_and_text_keeps_its_length(models: ModelSet) -> None:
    item = load_suite("miniature").items[0]
    one = models.vision.encode(item.reference, "a red circle", (-2, -1))
    two = models.vision.encode(item.reference, "something else entirely, a star", (-2,))
    image = one[-2].kinds == Kind.IMAGE
    assert int(image.sum()) == 16
    assert one[-2].grid == (4, 4)
    torch.testing.assert_close(one[-2].hidden[image], two[-2].hidden[two[-2].kinds == Kind.IMAGE])
    text = models.text.encode("a red circle")
    rest = one[-2].kinds[(one[-2].kinds < Kind.MARKER)]
    assert rest.tolist() == text.kinds.tolist()


def test_embeddings_are_computed_once(models: ModelSet, tmp_path: Path) -> None:
    suite = load_suite("miniature")
    plan = plan_of(models, Grid("lerp", ()))
    first = SourceReader(Embeddings(tmp_path, models), suite).read(suite.items[0], plan.configurations[1])
    files = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    again = SourceReader(Embeddings(tmp_path, models), suite).read(suite.items[0], plan.configurations[1])
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == files
    assert first.vision is not None
    assert again.vision is not None
    assert torch.equal(first.vision.hidden, again.vision.hidden)


def test_remaining_work_counts_missing_scores(models: ModelSet, tmp_path: Path) -> None:
    plan = plan_of(models)
    left = remaining_work(plan, models, tmp_path)
    assert (len(left.cells), left.to_score) == (1, 1)
    run(plan, models, tmp_path, Reporter(quiet=True))
    more = plan_of(models, metrics=("effect_size", "blockiness"))
    left = remaining_work(more, models, tmp_path)
    assert (len(left.cells), left.to_score) == (0, 1)
    assert list(missing_scores(more, left.images, tmp_path).values()) == [("blockiness",)]


def test_a_stand_in_for_the_models_identity_names_no_cell(
    models: ModelSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of(models)
    monkeypatch.setitem(vars(models), "provisional", True)
    with pytest.raises(UsageError, match="not all here or not hashed"):
        run(plan, models, tmp_path, Reporter(quiet=True))
    assert not list(tmp_path.iterdir())
