"""Kept embeddings: from a cell by SQL to the very arrays that its image was made from."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from blendbench.core.conditioning import Conditioning
from blendbench.core.suites import Suite, load_suite
from blendbench.models.sets import ModelSet, load_model_set
from blendbench.results.store import open_results
from blendbench.run.blend import Blender
from blendbench.run.experiments import Grid, load_experiment
from blendbench.run.loop import RunReport, run
from blendbench.run.plan import Plan, make_plan
from blendbench.run.progress import Reporter

LERP = Grid("lerp", (("alpha", (0.3,)), ("layer", (-3,))))
SCHEDULE = Grid("timestep_alpha", ())


@pytest.fixture(scope="module")
def models(untrained: Path) -> ModelSet:
    return load_model_set(untrained, "cpu", {"steps": 3, "batch_size": 2})


@pytest.fixture(scope="module")
def suite() -> Suite:
    return load_suite("miniature")


def plan_of(models: ModelSet, suite: Suite, *grids: Grid, items: int = 1) -> Plan:
    base = load_experiment("smoke")
    return make_plan(
        replace(base, strategies=grids, items=items, seeds=(0,), controls=False, metrics=("blockiness",)), suite, models
    )


def run_of(models: ModelSet, results: Path, plan: Plan, keep: bool) -> RunReport:
    return run(plan, models, results, Reporter(quiet=True), keep)


@pytest.fixture(scope="module")
def kept(models: ModelSet, suite: Suite, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kept")
    done = run_of(models, folder, plan_of(models, suite, LERP), keep=True)
    assert (done.ok, done.kept) == (2, 2)
    return folder


def files_of(results: Path, label: str) -> dict[str, Path]:
    rows = open_results(results).query("SELECT stage, path FROM embedding_files WHERE label LIKE ?", [f"{label}%"])
    return {row.stage: results / row.path for row in rows.itertuples()}


def test_a_query_leads_from_a_cell_to_its_text_vision_and_conditioning(
    kept: Path, models: ModelSet, suite: Suite
) -> None:
    files = files_of(kept, "lerp")
    assert set(files) == {"text", "vision", "conditioning"}
    item = suite.items[0]
    assert torch.equal(load_file(files["text"])["hidden"], models.text.encode(item.prompt).hidden)
    vision = models.vision.encode(item.reference, item.prompt, (-3,))[-3]
    assert torch.equal(load_file(files["vision"])["hidden"], vision.hidden)
    row = open_results(kept).query("SELECT layer, prompt FROM embedding_files WHERE stage = 'vision'")
    assert row.values.tolist() == [[-3, item.prompt]]


def test_a_conditioning_can_be_found_by_its_hash_and_has_it(kept: Path) -> None:
    rows = open_results(kept).query(
        "SELECT DISTINCT c.conditioning_sha256, e.path, d.tokens FROM cells c JOIN conditionings d"
        " USING (conditioning_sha256) JOIN embedding_files e ON e.sha256 = c.conditioning_sha256"
    )
    assert len(rows) == 2
    for row in rows.itertuples():
        steps = load_file(kept / row.path)["steps"]
        assert steps.shape[:2] == (1, row.tokens)
        assert Conditioning(tuple(steps)).sha256() == row.conditioning_sha256


def test_text_only_reads_no_vision_and_its_conditioning_is_the_text(kept: Path) -> None:
    files = files_of(kept, "text_only")
    assert set(files) == {"text", "conditioning"}
    assert torch.equal(load_file(files["conditioning"])["steps"][0], load_file(files["text"])["hidden"])


def test_a_finished_run_can_be_given_its_files_later(models: ModelSet, suite: Suite, tmp_path: Path) -> None:
    plan = plan_of(models, suite, LERP)
    run_of(models, tmp_path, plan, keep=False)
    assert files_of(tmp_path, "lerp") == {}
    later = run_of(models, tmp_path, plan, keep=True)
    assert (later.generated, later.kept) == (0, 2)
    files = files_of(tmp_path, "lerp")
    assert run_of(models, tmp_path, plan, keep=True).kept == 0
    for lost in (files["conditioning"], files["vision"]):
        lost.unlink()
        assert run_of(models, tmp_path, plan, keep=True).kept == 1
        assert lost.is_file()


def test_a_schedule_keeps_every_step(models: ModelSet, suite: Suite, tmp_path: Path) -> None:
    plan = plan_of(models, suite, SCHEDULE)
    run_of(models, tmp_path, plan, keep=True)
    calls = models.sampler_record["transformer_calls"]
    path = files_of(tmp_path, SCHEDULE.name)["conditioning"]
    steps = load_file(path)["steps"]
    assert len(steps) == calls > 1
    assert Conditioning(tuple(steps)).sha256() == path.stem


def test_what_is_injected_or_started_from_is_kept_too(models: ModelSet, suite: Suite, tmp_path: Path) -> None:
    plan = plan_of(models, suite, Grid("block_injection", ()), Grid("img2img", ()))
    assert run_of(models, tmp_path, plan, keep=True).kept == 3
    injection = files_of(tmp_path, "block_injection")["conditioning"]
    with safe_open(injection, "pt") as file:
        blocks = tuple(int(n) for n in file.metadata()["blocks"].split(","))
        found = Conditioning(tuple(file.get_tensor("steps")), file.get_tensor("injected"), blocks)
    assert found.sha256() == injection.stem
    start = files_of(tmp_path, "img2img")["conditioning"]
    with safe_open(start, "pt") as file:
        metadata = file.metadata()
        found = Conditioning(tuple(file.get_tensor("steps")), strength=float(metadata["strength"]))
    assert found.sha256(metadata["start_sha256"]) == start.stem


def test_a_conditioning_that_is_not_the_recorded_one_is_not_kept(
    models: ModelSet, suite: Suite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of(models, suite, LERP)
    run_of(models, tmp_path, plan, keep=False)
    blend = Blender.blend
    monkeypatch.setattr(Blender, "blend", lambda blender, cell: replace(blend(blender, cell), sha256="0" * 64))
    assert run_of(models, tmp_path, plan, keep=True).kept == 0
    assert files_of(tmp_path, "lerp") == {}
