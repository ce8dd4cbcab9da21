"""What a run stores of its models: which files their weights came from, and how memory was shared."""

import gc
import hashlib
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from blendbench.core.suites import load_suite
from blendbench.models.sets import ModelSet, load_model_set
from blendbench.results.store import open_results
from blendbench.run.experiments import Grid, load_experiment
from blendbench.run.loop import run
from blendbench.run.plan import Plan, make_plan
from blendbench.run.progress import Reporter

TINY_BUDGET = 0.001  # GiB: less than any plan needs, so that the one with the least is taken


def plan_of(models: ModelSet, items: int = 1, metrics: tuple[str, ...] = ("effect_size", "clip_cosine")) -> Plan:
    base = replace(load_experiment("smoke"), items=items, controls=False, metrics=metrics)
    return make_plan(replace(base, strategies=(Grid("lerp", ()),)), load_suite("miniature"), models)


def test_every_weight_file_is_stored_with_its_hash(untrained: Path, tmp_path: Path) -> None:
    models = load_model_set(untrained, "cpu", {"steps": 1})
    run(plan_of(models), models, tmp_path, Reporter(quiet=True))
    rows = open_results(tmp_path).query("SELECT DISTINCT w.* FROM weight_files w JOIN runs USING (model_set_sha256)")
    stored = {(row["component"], row["file"]): (row["bytes"], row["sha256"]) for row in rows.to_dict("records")}
    folders = {name: Path(str(models.component(name))) for name in models.places}
    expected = {
        (name, path.relative_to(folder).as_posix()): (
            path.stat().st_size,
            hashlib.sha256(path.read_bytes()).hexdigest(),
        )
        for name, folder in folders.items()
        for path in folder.rglob("*.safetensors")
    }
    assert stored == expected
    assert len(stored) == 8


def test_the_memory_plan_is_reported_and_stored(
    untrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = load_model_set(untrained, "cpu", {"steps": 1}, memory_budget=TINY_BUDGET)
    done = run(plan_of(models), models, tmp_path, Reporter(events=True))
    assert done.residency == "staged"
    assert '"text": "memory plan staged: one group of networks after the other' in capsys.readouterr().err
    (row,) = open_results(tmp_path).query("FROM memory_plans").to_dict("records")
    assert (row["run_id"], row["residency"]) == (done.run_id, "staged")
    assert row["needed_bytes"] > row["budget_bytes"] == int(TINY_BUDGET * 1024**3)


def test_staged_groups_leave_before_the_next_one_comes_and_change_no_image(
    untrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive: dict[str, Any] = {}
    seen: list[tuple[str, list[str]]] = []

    def watch(models: ModelSet, name: str, method: str, network: str) -> None:
        load = getattr(models, method)

        def loading(*given: Any) -> Any:
            # The order of a run: what is still alive when this part begins to load?
            gc.collect()
            seen.append((name, [other for other, network in alive.items() if network() is not None]))
            part = load(*given)
            held = part
            for step in network.split("."):
                held = getattr(held, step)
            alive[given[0] if given else name] = weakref.ref(held)
            return part

        monkeypatch.setattr(models, method, loading)

    models = load_model_set(untrained, "cpu", {"steps": 1}, memory_budget=TINY_BUDGET)
    watch(models, "text", "_load_text", "encoder")
    watch(models, "vision", "_load_vision", "model")
    watch(models, "generate", "_load_denoiser", "pipeline.transformer")
    watch(models, "score", "_load_scorer", "_model")
    watch(models, "judge", "_load_judge", "model")
    plan = plan_of(models, 3, ("clip_cosine", "facts_vqa"))
    # More cells than a batch of scores holds: the judge must not take turns with the others batch by batch.
    monkeypatch.setattr("blendbench.run.score._BATCH", {"cpu": 2})
    run(plan, models, tmp_path / "staged", Reporter(quiet=True))
    assert seen == [("text", []), ("vision", []), ("generate", []), ("score", []), ("judge", [])]
    statuses = open_results(tmp_path / "staged").query("SELECT metric, status, count(*) AS n FROM scores GROUP BY ALL")
    assert {(row.metric, row.status) for row in statuses.itertuples()} == {("clip_cosine", "ok"), ("facts_vqa", "ok")}
    assert set(statuses["n"]) == {len(plan.cells)} and len(plan.cells) > 4

    together = load_model_set(untrained, "cpu", {"steps": 1})
    run(plan_of(together, 3, ("clip_cosine", "facts_vqa")), together, tmp_path / "together", Reporter(quiet=True))
    hashes = [
        open_results(tmp_path / name).query("SELECT image_sha256 FROM cells ORDER BY cell_id")["image_sha256"]
        for name in ("staged", "together")
    ]
    assert hashes[0].tolist() == hashes[1].tolist()
