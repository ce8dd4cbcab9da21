"""Encoding, storing and scoring overlap with generation and change no result.

The CPU stands in for such a device: what is launched is done at once, but everything happens in the order of a GPU.
"""

import json
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from run_outcomes import outcome, rows_of

from blendbench.core.suites import load_suite
from blendbench.metrics import measure
from blendbench.models.residency import Residency
from blendbench.models.sets import ModelSet, load_model_set
from blendbench.results.images import ImageStore
from blendbench.run import score
from blendbench.run.experiments import Grid, load_experiment
from blendbench.run.loop import RunReport, run
from blendbench.run.plan import Plan, make_plan
from blendbench.run.progress import Reporter

GRIDS = (Grid("lerp", (("alpha", (0.2, 0.4, 0.6)),)), Grid("concatenate", ()))


@pytest.fixture
def unloaded(untrained: Path) -> ModelSet:
    return load_model_set(untrained, "cpu", {"batch_size": 2, "steps": 1})


@pytest.fixture(scope="module")
def models(untrained: Path) -> ModelSet:
    """Open a model set whose networks stay loaded from one test to the next."""
    return load_model_set(untrained, "cpu", {"batch_size": 2, "steps": 1})


def plan_of(models: ModelSet, items: int = 3) -> Plan:
    base = replace(load_experiment("smoke"), items=items, controls=False, metrics=("effect_size", "clip_cosine"))
    return make_plan(replace(base, strategies=GRIDS), load_suite("miniature"), models)


def overlapping(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ModelSet, "asynchronous", True)
    monkeypatch.setattr(score, "_BATCH", {"cpu": 4})


def watched(monkeypatch: pytest.MonkeyPatch, models: ModelSet) -> list[str]:
    """Record events in order: text, vision, generate, score; in brackets what goes to the stream beside generation."""
    seen: list[str] = []
    beside = threading.local()

    def note(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*given: Any, **named: Any) -> Any:
            seen.append(f"({name})" if getattr(beside, "on", False) else name)
            return call(*given, **named)

        return noted

    class Beside(nullcontext[None]):
        def __enter__(self) -> None:
            beside.on = True

        def __exit__(self, *_: object) -> None:
            beside.on = False

    monkeypatch.setattr(ModelSet, "beside", lambda _: Beside())
    models.load("clip")  # by a thread, some time after the first batch, if it were not here
    monkeypatch.setattr(models.text, "encode_layers", note("text", models.text.encode_layers))
    monkeypatch.setattr(models.vision, "encode", note("vision", models.vision.encode))
    monkeypatch.setattr(models.denoiser, "generate", note("generate", models.denoiser.generate))
    monkeypatch.setattr(score, "measure", note("score", measure))
    return seen


def go(models: ModelSet, results: Path, items: int = 3) -> RunReport:
    return run(plan_of(models, items), models, results, Reporter(quiet=True))


def test_the_outcome_is_that_of_one_stage_after_the_other(
    models: ModelSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = go(models, tmp_path / "one")
    overlapping(monkeypatch)
    other = go(models, tmp_path / "other")
    expected, found = outcome(tmp_path / "one"), outcome(tmp_path / "other")
    assert [found[what] for what in ("cells", "batches")] == [expected[what] for what in ("cells", "batches")]
    # Scored in batches of another size, which may round otherwise.
    scores = [{(cell, metric): value for cell, metric, value, _ in out["scores"]} for out in (expected, found)]
    assert scores[1] == pytest.approx(scores[0], abs=1e-5)
    assert (other.ok, other.images, other.scored) == (one.ok, one.images, one.scored) == (15, 15, 30)


def test_the_next_batch_is_encoded_and_the_last_is_scored_during_generation(
    models: ModelSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overlapping(monkeypatch)
    seen = watched(monkeypatch, models)
    go(models, tmp_path)
    # Nothing is generated before its prompt is encoded; only the rest is scored at the end.
    assert seen[0] == "(text)"
    assert seen.count("(text)") == seen.count("(vision)") == 3
    assert seen.index("(score)") < len(seen) - 1 - seen[::-1].index("generate")
    assert set(seen[len(seen) - seen[::-1].index("generate") :]) <= {"(score)", "score"}
    assert "vision" not in seen and "text" not in seen


def test_scorers_are_loaded_beside_generation(
    unloaded: ModelSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = unloaded
    overlapping(monkeypatch)
    monkeypatch.setattr(ModelSet, "beside", lambda _: nullcontext())
    load, generate = models._load_scorer, models.denoiser.generate
    loaded, names, batches = threading.Event(), [], [0]

    def loading(name: str) -> Any:
        names.append(threading.current_thread().name)
        scorer = load(name)
        loaded.set()
        return scorer

    def counted(*given: Any) -> Any:
        batches[0] += 1
        if batches[0] == 5:  # some are generated before the scorer is there, and some after
            assert loaded.wait(60)
        return generate(*given)

    monkeypatch.setattr(models, "_load_scorer", loading)
    monkeypatch.setattr(models.denoiser, "generate", counted)
    assert go(models, tmp_path).scored == 30
    assert names == ["loader_0"]


def test_no_encoder_is_loaded_where_all_embeddings_are_kept(
    models: ModelSet, untrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go(models, tmp_path)
    again = load_model_set(untrained, "cpu", {"batch_size": 2, "steps": 1})
    for part in ("_load_text", "_load_vision"):
        monkeypatch.setattr(again, part, None)
    new = replace(load_experiment("smoke"), items=3, controls=False, metrics=("effect_size",))
    plan = make_plan(replace(new, strategies=(Grid("lerp", (("alpha", (0.5,)),)),)), load_suite("miniature"), again)
    done = run(plan, again, tmp_path, Reporter(quiet=True))
    assert (done.failed, done.generated) == (0, 3)
    assert again._loaded.keys() == {"denoiser"}


def test_generation_goes_on_while_an_image_is_encoded(
    models: ModelSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overlapping(monkeypatch)
    encode, generate = models.vision.encode, models.denoiser.generate
    generated, batches, passes = threading.Condition(), [0], [0]

    def encoded(*given: Any) -> Any:
        passes[0] += 1
        if passes[0] == 2:  # the second item's image, begun before the first batch: two are generated meanwhile
            with generated:
                assert generated.wait_for(lambda: batches[0] >= 2, timeout=60)
        return encode(*given)

    def counted(*given: Any) -> Any:
        with generated:
            batches[0] += 1
            generated.notify_all()
        return generate(*given)

    monkeypatch.setattr(models.vision, "encode", encoded)
    monkeypatch.setattr(models.denoiser, "generate", counted)
    assert go(models, tmp_path).ok == 15
    assert passes[0] == 3


def test_nothing_that_holds_for_all_threads_is_changed_while_an_image_is_encoded(
    models: ModelSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overlapping(monkeypatch)
    under_way, during = threading.Event(), {"generate": 0, "score": 0, "warm_up": 0}

    def noted(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def called(*given: Any) -> Any:
            during[name] += under_way.is_set()
            return call(*given)

        return called

    encode = models.vision.encode

    def slowly(*given: Any) -> Any:
        under_way.set()
        time.sleep(0.3)
        found = encode(*given)
        under_way.clear()
        return found

    monkeypatch.setattr(models.vision, "encode", slowly)
    monkeypatch.setattr(models.denoiser, "generate", noted("generate", models.denoiser.generate))
    monkeypatch.setattr(score, "measure", noted("score", measure))
    cold = iter([True, False, False, False])  # again later, as when memory is too small for a batch
    monkeypatch.setattr(models.denoiser, "is_cold", lambda _: next(cold, True))
    monkeypatch.setattr(models.denoiser, "warm_up", noted("warm_up", lambda _: None))
    assert go(models, tmp_path, items=6).ok == 30
    assert during.pop("generate") > 0
    assert during == {"score": 0, "warm_up": 0}


def test_an_encoder_that_loses_the_device_stops_the_run(
    models: ModelSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overlapping(monkeypatch)

    def broken(*_: object) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(models.vision, "encode", broken)
    done = go(models, tmp_path)
    assert "illegal memory access" in str(done.stopped)
    assert done.untried == done.expected - done.ok - done.failed > 0


def test_an_encoder_that_cannot_be_loaded_fails_its_cells_before_anything_is_generated(
    models: ModelSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overlapping(monkeypatch)
    seen = watched(monkeypatch, models)

    def lost(_: ModelSet) -> None:
        seen.append("lost")
        raise ValueError("weights are missing")

    monkeypatch.setattr(ModelSet, "vision", property(lost))
    done = go(models, tmp_path)
    assert (done.ok, done.failed) == (3, 12)  # text_only reads no image
    first = seen.index("generate")
    assert seen[:first].count("lost") == 4 and "lost" not in seen[first:]


def test_without_memory_for_it_stages_take_turns_and_no_network_comes_twice(
    models: ModelSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overlapping(monkeypatch)
    seen = watched(monkeypatch, models)
    monkeypatch.setattr(models, "residency", Residency("resident", 0, None, roomy=False))
    go(models, tmp_path)
    turns = [name for i, name in enumerate(seen) if i == 0 or seen[i - 1] != name]
    assert turns == ["text", "vision", "generate", "score"]


def test_a_batch_under_way_keeps_the_size_it_was_generated_with(
    models: ModelSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overlapping(monkeypatch)
    generate, calls = models.denoiser.generate, [0]

    def second_too_large(schedules: list[Any], *rest: Any) -> Any:
        calls[0] += 1
        if len(schedules) == 2 and calls[0] > 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return generate(schedules, *rest)

    monkeypatch.setattr(models.denoiser, "generate", second_too_large)
    done = go(models, tmp_path, items=1)
    sizes = sorted(size for _, size in outcome(tmp_path)["batches"])
    assert (done.ok, done.batch_size, sizes) == (5, 1, [1, 1, 1, 2, 2])


def test_memory_that_recordings_take_is_given_back_before_batches_are_made_smaller(
    models: ModelSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overlapping(monkeypatch)
    generate, asked = models.denoiser.generate, []

    def stopped() -> bool:
        asked.append(True)
        return len(asked) == 1

    def full_with_recordings(*given: Any) -> Any:
        if not asked:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return generate(*given)

    monkeypatch.setattr(models.denoiser, "stop_replays", stopped)
    monkeypatch.setattr(models.denoiser, "generate", full_with_recordings)
    done = go(models, tmp_path, items=1)
    assert (done.ok, done.batch_size, asked) == (5, 2, [True])


def test_an_interrupted_run_has_an_image_for_every_row_and_goes_on_to_the_same_end(
    models: ModelSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overlapping(monkeypatch)
    go(models, tmp_path / "whole")
    generate, calls = models.denoiser.generate, [0]

    def interrupted(*given: Any) -> Any:
        calls[0] += 1
        if calls[0] == 5:
            raise KeyboardInterrupt
        return generate(*given)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(models.denoiser, "generate", interrupted)
        go(models, tmp_path / "stopped")
    kept = outcome(tmp_path / "stopped")["cells"]
    assert len(kept) == 4  # of four batches of two, the last two were still being generated or stored
    stored = {path.stem for path in (tmp_path / "stopped").glob("images/*/*.png")}
    assert {image for _, _, image, _ in kept} <= stored
    go(models, tmp_path / "stopped")
    assert outcome(tmp_path / "stopped") == outcome(tmp_path / "whole")


def test_an_image_that_cannot_be_stored_stops_the_run(
    models: ModelSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overlapping(monkeypatch)

    def full(*_: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ImageStore, "save", full)
    with pytest.raises(OSError, match="No space left"):
        go(models, tmp_path, items=1)
    monkeypatch.undo()
    assert not outcome(tmp_path)["cells"]


def test_compiling_is_a_stage_of_its_own_once_for_each_batch_size(
    models: ModelSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    warm: list[int] = []
    monkeypatch.setattr(models.denoiser, "is_cold", lambda images: images not in warm)
    monkeypatch.setattr(models.denoiser, "warm_up", warm.append)
    done = run(plan_of(models, items=2), models, tmp_path, Reporter(events=True))
    assert warm == [2]
    assert done.stages["warm_up"] >= 0
    kept = {r.stage: r.count for r in rows_of(tmp_path, "stage_times")}
    assert (kept["warm_up"], kept["denoise"]) == (1, 10)
    events = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [e["done"] for e in events if e.get("stage") == "warm-up"] == [0, 1]


def test_a_judge_that_cannot_stay_beside_the_others_scores_in_the_end(
    models: ModelSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of(models)
    plan = make_plan(replace(plan.experiment, metrics=("clip_cosine", "facts_vqa")), plan.suite, models)
    together = run(plan, models, tmp_path / "together", Reporter(quiet=True))
    overlapping(monkeypatch)
    monkeypatch.setattr(ModelSet, "share", lambda *_: False)
    seen = watched(monkeypatch, models)
    apart = run(plan, models, tmp_path / "apart", Reporter(quiet=True))
    assert "(score)" in seen  # what needs no judge is scored while images are generated
    assert (apart.ok, apart.scored) == (together.ok, together.scored) == (15, 30)
    scores = [
        {(cell, metric): value for cell, metric, value, _ in outcome(tmp_path / name)["scores"]}
        for name in ("together", "apart")
    ]
    assert scores[1] == pytest.approx(scores[0], abs=1e-5)
