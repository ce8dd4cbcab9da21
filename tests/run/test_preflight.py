"""What cannot work is found, recorded and said before anything is loaded."""

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from run_outcomes import rows_of
from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize

from blendbench.core.suites import Suite, load_suite, trial
from blendbench.models.families.z_image import ZImage
from blendbench.models.image_tokens import ImageTokens
from blendbench.models.sets import ModelSet, load_model_set
from blendbench.registry.loading import load_plugin
from blendbench.run.experiments import Grid, load_experiment
from blendbench.run.loop import run
from blendbench.run.plan import Plan, make_plan
from blendbench.run.preflight import obstacles, preflight_lines, refused_cells, unscored
from blendbench.run.progress import Reporter
from blendbench.run.resume import remaining_work

Cli = Callable[..., subprocess.CompletedProcess[str]]
IDEA = """\
from blendbench.blending import strategy, Tokens

@strategy("idea", source="tests", dose="alpha", dose_grid=(0.1, 0.3))
def idea(text: Tokens, vision: Tokens, *, alpha: float = 0.3):
    if alpha in {alphas}:
        raise ValueError("boom")
    return text.hidden * (1 + alpha)
"""


@pytest.fixture
def models(untrained: Path, monkeypatch: pytest.MonkeyPatch) -> ModelSet:
    """A model set that cannot be loaded."""

    def loaded(*_: object, **__: object) -> None:
        raise AssertionError("loaded")

    found = load_model_set(untrained, "cpu", {"batch_size": 4, "steps": 2})
    for name in ("_load_text", "_load_vision", "_load_denoiser", "_load_scorer"):
        monkeypatch.setattr(found, name, loaded)
    return found


@pytest.fixture
def suite() -> Suite:
    return load_suite("miniature")


def plan_of(models: ModelSet, suite: Suite, *grids: Grid, items: int = 2, baseline: str = "text_only") -> Plan:
    base = replace(load_experiment("smoke"), items=items, controls=False, metrics=("effect_size",), baseline=baseline)
    return make_plan(replace(base, strategies=grids), suite, models)


def refused(plan: Plan, models: ModelSet) -> dict[str, set[str]]:
    """Reasons by label of all that cannot be generated."""
    found = refused_cells(plan, models, ())
    reasons: dict[str, set[str]] = {}
    for cell in plan.cells:
        if cell.cell_id in found:
            reasons.setdefault(cell.configuration.label, set()).add(found[cell.cell_id])
    return reasons


def values(**settings: Any) -> tuple[tuple[str, tuple[Any, ...]], ...]:
    return tuple((name, value if isinstance(value, tuple) else (value,)) for name, value in settings.items())


def test_image_tokens_are_counted_as_the_processor_does() -> None:
    generator = np.random.default_rng(0)
    for least, most in ((256**2, 4096**2), (64**2, 64**2), (56**2, 28**2 * 1280)):
        tokens = ImageTokens(32, least, most)
        for height, width in generator.integers(8, 6000, (200, 2)).tolist():
            if max(height, width) > 200 * min(height, width):
                continue
            rows, columns = smart_resize(height, width, 32, least, most)
            assert tokens.grid(height, width) == (rows // 32, columns // 32), (height, width)
    with pytest.raises(ValueError, match="too elongated"):
        tokens.grid(10, 2010)


def test_a_large_reference_is_too_long_for_what_takes_all_its_tokens(
    speed_scripts: Path, tiny_set: Path, tmp_path: Path
) -> None:
    """Without a limit 2048 x 1536 pixels are 3,072 tokens; the published transformer has room for 1,504."""
    processor, settings = tiny_set / "vision_language" / "processor_config.json", tiny_set / "model_set.toml"
    before, set_before = processor.read_text(), settings.read_text()
    config = json.loads(before)
    config["image_processor"]["size"] = {"longest_edge": 4096**2, "shortest_edge": 256**2}
    Image.new("RGB", (2048, 1536), "red").save(tmp_path / "large.png")
    try:
        processor.write_text(json.dumps(config))
        settings.write_text(f"{set_before}\n[vision]\nmax_pixels = {4096**2}\n")
        models = load_model_set(tiny_set, "cpu")
        one = trial(load_suite("standard"), None, tmp_path / "large.png")
        plan = plan_of(
            models,
            one,
            Grid("lerp", ()),
            Grid("vision_only", values(tokens=("image_no_markers", "text"))),
            Grid("concatenate", values(share=(0.25, 0.5))),
            items=1,
        )
        found = refused(plan, models)
    finally:
        processor.write_text(before)
        settings.write_text(set_before)
    longer = "tokens is longer than the 1504 that the model has room for"
    assert found.pop("vision_only") == {f"a conditioning of 3072 {longer}"}
    ((label, (reason,)),) = found.items()
    assert label == "concatenate:share=0.5"
    assert reason.endswith(longer)


def test_what_cannot_work_is_recorded_without_loading_anything(
    models: ModelSet, suite: Suite, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = replace(suite, pairs=(), white=None)
    grids = (
        Grid("activation_steering", values(alpha=(0.1, 0.3))),
        Grid("style_delta", values(neutral_picture="white")),
        Grid("lerp", values(layer=(-99,))),
        Grid("dimension_ablation", values(dimension=4000)),
        Grid("row_count", values(count=4000)),
    )
    plan = plan_of(models, bare, *grids, baseline="activation_steering")
    done = run(plan, models, tmp_path, Reporter())
    assert (done.ok, done.failed, done.generated) == (0, 12, 0)
    errors = {row.label: row.error for row in rows_of(tmp_path, "cells")}
    assert errors == {
        "activation_steering:alpha=0.1": "suite miniature has no pairs to fit on",
        "activation_steering:alpha=0.3": "suite miniature has no pairs to fit on",
        "style_delta:alpha=0.3,neutral_picture=white": "suite miniature has no white image",
        "lerp:alpha=0.3,layer=-99": "layer = -99 is outside -7..6, what miniature has",
        "dimension_ablation:alpha=0.3,dimension=4000": errors["dimension_ablation:alpha=0.3,dimension=4000"],
        "row_count:count=4000": "a conditioning of 4000 tokens is longer than the 992 that the model has room for",
    }
    assert "dimension 4000 of 192" in errors["dimension_ablation:alpha=0.3,dimension=4000"]
    printed = capsys.readouterr().err.splitlines()
    assert printed[0] == (
        "4 of 12 cells cannot be generated: suite miniature has no pairs to fit on: activation_steering:alpha=0.3,"
        " activation_steering:alpha=0.1"
    )
    assert sum("cannot be generated" in line for line in printed) == 5
    again = run(plan, models, tmp_path, Reporter())
    assert (again.run_id, again.ok, again.failed) == (None, 0, 12)


def test_a_plugin_that_raises_fails_before_anything_is_loaded(models: ModelSet, suite: Suite, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text(IDEA.format(alphas="(0.1, 0.3)"))
    load_plugin(tmp_path / "broken.py")
    plan = plan_of(models, suite, Grid("lerp", ()), Grid("idea", values(dose="grid")))
    boom = {"ValueError: boom (broken.py:6)"}
    assert refused(plan, models) == {"idea:alpha=0.1": boom, "idea:alpha=0.3": boom}


def test_every_dose_of_a_plugin_is_tried(models: ModelSet, suite: Suite, tmp_path: Path) -> None:
    (tmp_path / "half.py").write_text(IDEA.format(alphas="(0.1,)"))
    load_plugin(tmp_path / "half.py")
    plan = plan_of(models, suite, Grid("idea", values(dose="grid")))
    assert refused(plan, models) == {"idea:alpha=0.1": {"ValueError: boom (half.py:6)"}}


def test_what_a_family_lacks_is_refused(models: ModelSet, suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of(models, suite, Grid("lerp", ()), Grid("block_injection", ()), Grid("img2img", ()), items=1)
    assert refused(plan, models) == {}
    monkeypatch.setattr(ZImage, "capabilities", frozenset())
    assert refused(plan, models) == {
        "block_injection:alpha=0.3": {"ZImagePipeline cannot show a caption to some blocks only"},
        "img2img": {"ZImagePipeline cannot start from an image"},
    }


def test_a_prompt_of_more_words_than_tokens_is_refused(models: ModelSet, suite: Suite) -> None:
    longer = replace(suite.items[0], id="long", prompt="a red circle and " * 60)
    plan = plan_of(models, replace(suite, items=(longer, suite.items[1])), Grid("lerp", ()))
    assert {
        plan.cells[i].item.id for i, cell in enumerate(plan.cells) if cell.cell_id in refused_cells(plan, models, ())
    } == {"long"}


def test_what_a_finished_cell_shows_to_work_is_not_tried(
    models: ModelSet, suite: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of(models, suite, Grid("lerp", ()))
    finished = {cell.cell_id for cell in plan.cells if cell.item == plan.items[0]}
    monkeypatch.setattr("blendbench.run.trial.Trial._reason", lambda *_: pytest.fail("tried"))
    assert refused_cells(plan, models, finished) == {}
    with pytest.raises(pytest.fail.Exception):
        refused_cells(plan, models, ())


def test_metrics_that_cannot_be_scored_are_named_once(tiny_set: Path) -> None:
    models = load_model_set(tiny_set, "cpu")
    base = replace(load_experiment("smoke"), items=1, controls=False)
    plan = make_plan(base, load_suite("standard"), models)
    found = {obstacle.reason: obstacle.labels for obstacle in unscored(plan, models)}
    assert found == {"the model set has no probe": ("attribute_adherence", "reference_style")}
    assert preflight_lines(plan, models, {}) == [
        "1 of 1 items cannot be scored: the model set has no probe: attribute_adherence, reference_style"
    ]


def test_reasons_that_differ_in_numbers_are_one(models: ModelSet, suite: Suite) -> None:
    plan = plan_of(models, suite, Grid("row_count", values(count=(3000, 4000))), Grid("lerp", values(layer=(-99, -98))))
    found = obstacles(plan, refused_cells(plan, models, ()))
    assert [(obstacle.count, len(obstacle.labels)) for obstacle in found] == [(4, 2), (4, 2)]


def test_a_dry_run_states_what_cannot_work(cli: Cli, untrained: Path, tmp_path: Path) -> None:
    arguments = ("run", "smoke", "--models", untrained, "--results", tmp_path, "--strategy", "row_count:count=4000")
    found = json.loads(cli(*arguments, "--dry-run", "--json").stdout)
    assert found["cells"] == found["to_generate"] + 2
    (refusal,) = found["cannot_generate"]
    assert (refusal["count"], refusal["of"], refusal["labels"]) == (2, found["cells"], ["row_count:count=4000"])
    lines = cli(*arguments, "--dry-run").stdout.splitlines()
    assert lines[0].startswith(f"2 of {found['cells']} cells cannot be generated: a conditioning of 4000 tokens")


def test_check_stops_at_a_broken_idea(cli: Cli, untrained: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text(IDEA.format(alphas="(0.1, 0.3)"))
    done = cli("check", tmp_path / "broken.py", "--models", untrained, "--results", tmp_path / "r", "--items", 2)
    assert (done.returncode, done.stderr) == (2, "blendbench: idea:alpha=0.3: ValueError: boom (broken.py:6)\n")
    assert not list((tmp_path / "r").glob("images/**/*.png"))


def test_a_run_with_nothing_to_do_tries_nothing(
    cli: Cli, untrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("run", "smoke", "--models", untrained, "--results", tmp_path, "--quick")
    assert cli(*arguments).returncode == 0
    monkeypatch.setattr("blendbench.run.trial.Trial.failures", lambda *_: pytest.fail("tried"))
    assert cli(*arguments).returncode == 0
    models = load_model_set(untrained, "cpu")
    plan = make_plan(load_experiment("smoke").quick(), load_suite("miniature"), models)
    assert remaining_work(plan, models, tmp_path).empty
