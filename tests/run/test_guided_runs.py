"""Guidance in a run: which negative a cell is led away from, and what it is known by."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from run_outcomes import rows_of
from safetensors.torch import load_file

from blendbench.core.images import load_image
from blendbench.core.suites import Suite, load_suite
from blendbench.models.sets import ModelSet, load_model_set
from blendbench.registry.strategies import all_strategies, get_strategy
from blendbench.results.images import ImageStore
from blendbench.results.store import open_results
from blendbench.run.blend import Blender, BlendFailedError, Job
from blendbench.run.embeddings import Embeddings
from blendbench.run.encode import missing_views
from blendbench.run.experiments import Grid, load_experiment
from blendbench.run.inputs import View
from blendbench.run.loop import run
from blendbench.run.plan import Cell, Plan, make_plan
from blendbench.run.progress import Reporter
from blendbench.run.sources import SourceReader

NEGATIVE = "a red circle"
LERP = Grid("lerp", (("alpha", (0.3,)),))


def models_of(folder: Path, **sampler: object) -> ModelSet:
    guided = {"guidance": 3.0, "negative_prompt": NEGATIVE}
    return load_model_set(folder, "cpu", {"steps": 2, "batch_size": 2} | guided | sampler)


@pytest.fixture(scope="module")
def suite() -> Suite:
    found = load_suite("miniature")
    return replace(found, items=found.items[:2], pairs=found.pairs[:2])


def plan_of(models: ModelSet, suite: Suite, *grids: Grid) -> Plan:
    base = replace(load_experiment("smoke"), items=1, seeds=(0,), controls=False, metrics=("blockiness",))
    return make_plan(replace(base, strategies=grids), suite, models)


def blended(models: ModelSet, suite: Suite, folder: Path, strategy: str) -> Job:
    cell = Cell("", get_strategy(strategy).bind(), suite.items[0], 0, 5)
    return Blender(Embeddings(folder, models), suite, models).blend(cell)


def go(models: ModelSet, suite: Suite, results: Path, *grids: Grid, keep: bool = False) -> Plan:
    plan = plan_of(models, suite, *grids)
    done = run(plan, models, results, Reporter(quiet=True), keep)
    assert (done.ok, done.failed) == (len(plan.cells), 0)
    return plan


def test_every_part_of_guidance_is_part_of_a_cell_and_without_guidance_nothing_is(
    untrained: Path, suite: Suite
) -> None:
    def ids(**sampler: object) -> frozenset[str]:
        return frozenset(cell.cell_id for cell in plan_of(models_of(untrained, **sampler), suite, LERP).cells)

    changes: tuple[dict[str, object], ...] = (
        {},
        {"guidance": 2.0},
        {"negative_prompt": "b"},
        {"negative": "blend"},
        {"cfg_normalization": True},
    )
    kinds = [ids(**change) for change in changes]
    assert len(frozenset().union(*kinds)) == len(kinds) * 2
    without = load_model_set(untrained, "cpu", {"steps": 2})
    assert ids(guidance=0.0) == frozenset(cell.cell_id for cell in plan_of(without, suite, LERP).cells)


def test_the_negative_prompt_s_own_rows_are_led_away_from(untrained: Path, suite: Suite, tmp_path: Path) -> None:
    models = models_of(untrained)
    # What acts in some blocks, steps or from an image on has the same negative.
    others = (Grid("block_injection", ()), Grid("timestep_alpha", ()), Grid("img2img", ()))
    plan = go(models, suite, tmp_path, LERP, *others, keep=True)
    files = open_results(tmp_path).query("SELECT label, stage, path FROM embedding_files")
    paths = {(row.label.split(":")[0], row.stage): tmp_path / row.path for row in files.itertuples()}
    assert {stage for _, stage in paths} == {"text", "vision", "negative_text", "conditioning"}
    rows = models.text.encode(NEGATIVE).hidden
    assert torch.equal(load_file(paths["lerp", "negative_text"])["hidden"], rows)
    found = {row.label.split(":")[0]: row.image_sha256 for row in rows_of(tmp_path, "cells")}
    assert not any("negative_steps" in load_file(paths[name, "conditioning"]) for name, _ in paths)
    for cell in plan.cells:
        name = cell.configuration.strategy.name
        conditioning = load_file(paths[name, "conditioning"])
        if name in ("block_injection", "img2img"):
            continue
        noise = torch.stack([models.denoiser.initial_latents(cell.noise_seed)] * 2)
        expected, _ = models.denoiser.generate([tuple(conditioning["steps"])] * 2, noise, negatives=[(rows,)] * 2)
        assert (load_image(ImageStore(tmp_path).path(found[name])).pixels == expected[0].numpy()).all()


def test_a_blended_negative_is_what_the_strategy_makes_of_the_negative_prompt(
    untrained: Path, suite: Suite, tmp_path: Path
) -> None:
    models = models_of(untrained, negative="blend")
    plan = go(models, suite, tmp_path, LERP, Grid("block_injection", ()), Grid("timestep_alpha", ()), keep=True)
    kept = open_results(tmp_path).query("SELECT label, path FROM embedding_files WHERE stage = 'conditioning'")
    files = {row.label.split(":")[0]: load_file(tmp_path / row.path) for row in kept.itertuples()}
    reader = SourceReader(Embeddings(tmp_path / "other", models), suite)
    for cell in plan.cells:
        for prompt, prefix in ((cell.item.prompt, ""), (NEGATIVE, "negative_")):
            sources = reader.read(replace(cell.item, prompt=prompt), cell.configuration)
            expected = cell.configuration.blend(sources, seed=cell.noise_seed)
            found = files[cell.configuration.strategy.name]
            assert torch.equal(found[f"{prefix}steps"], torch.stack(expected.steps))
            assert (expected.injected is None) == (f"{prefix}injected" not in found)
            if expected.injected is not None:
                assert torch.equal(found[f"{prefix}injected"], expected.injected)
    assert "negative_injected" in files["block_injection"]
    assert len(files["timestep_alpha"]["negative_steps"]) == 2


def test_blending_the_negative_changes_the_blend_and_not_the_text_alone(
    untrained: Path, suite: Suite, tmp_path: Path
) -> None:
    found: dict[str, dict[str, tuple[str, str]]] = {}
    for negative in ("prompt", "blend"):
        go(models_of(untrained, negative=negative), suite, tmp_path / negative, LERP)
        found[negative] = {
            row.label.split(":")[0]: (row.conditioning_sha256, row.image_sha256)
            for row in rows_of(tmp_path / negative, "cells")
        }
    images = {label: {kind: rows[label][1] for kind, rows in found.items()} for label in ("text_only", "lerp")}
    assert images["text_only"]["prompt"] == images["text_only"]["blend"]
    assert images["lerp"]["prompt"] != images["lerp"]["blend"]
    assert found["prompt"]["lerp"][0] != found["blend"]["lerp"][0]


@pytest.mark.parametrize("negative", ["prompt", "blend"])
def test_what_the_negative_is_made_from_is_encoded_ahead(
    untrained: Path, suite: Suite, tmp_path: Path, negative: str
) -> None:
    models = models_of(untrained, negative=negative)
    plan, embeddings = plan_of(models, suite, LERP), Embeddings(tmp_path, models)
    for view, layers in missing_views(plan.cells, embeddings, suite).items():
        embeddings.encode(view, layers)
    files = sorted(tmp_path.iterdir())
    blender = Blender(embeddings, suite, models)
    for cell in plan.cells:
        blender.blend(cell)
    assert sorted(tmp_path.iterdir()) == files
    assert embeddings.missing_layers(View(NEGATIVE), (-2,)) == ()


def test_every_strategy_blends_an_empty_negative(untrained: Path, suite: Suite, tmp_path: Path) -> None:
    models = models_of(untrained, negative="blend", negative_prompt="")
    blender = Blender(Embeddings(tmp_path, models), suite, models)
    for strategy in all_strategies():
        job = blender.blend(Cell("", get_strategy(strategy).bind(), suite.items[0], 0, 5))
        assert job.negative is not None, strategy
        assert job.sha256 != job.conditioning.sha256(), strategy


def test_jobs_share_a_batch_only_if_their_negatives_have_one_shape(
    untrained: Path, suite: Suite, tmp_path: Path
) -> None:
    models = models_of(untrained, negative="blend")
    short, long = (blended(models, suite, tmp_path, name) for name in ("lerp", "row_count"))
    same = replace(long, conditioning=short.conditioning, sha256="")
    assert same.batch_key != short.batch_key
    assert replace(short, negative=None).batch_key != short.batch_key


def test_a_negative_prompt_that_is_too_long_fails_with_its_name(untrained: Path, suite: Suite, tmp_path: Path) -> None:
    models = models_of(untrained, negative_prompt="a red circle and " * 60)
    with pytest.raises(BlendFailedError, match=r"EncodingError: negative prompt: the prompt has .* tokens"):
        blended(models, suite, tmp_path, "text_only")
