"""Encodings: each computed once, for all the layers that are wanted; failures stay with their own item."""

import itertools
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from run_outcomes import rows_of

from blendbench.core.errors import UsageError
from blendbench.core.suites import Suite, load_suite
from blendbench.core.tokens import Kind, Tokens, select
from blendbench.models.sets import ModelSet, load_model_set
from blendbench.registry.strategies import all_strategies, parse_configuration
from blendbench.run.embeddings import Embeddings, EncodingError
from blendbench.run.encode import missing_views
from blendbench.run.experiments import Grid, load_experiment
from blendbench.run.inputs import View
from blendbench.run.loop import run
from blendbench.run.plan import Plan, make_plan
from blendbench.run.progress import Reporter
from blendbench.run.sources import SourceReader


@pytest.fixture(scope="module")
def models(untrained: Path) -> ModelSet:
    return load_model_set(untrained, "cpu", {"steps": 1})


@pytest.fixture(scope="module")
def suite() -> Suite:
    return load_suite("miniature")


def plan_of(models: ModelSet, suite: Suite, *grids: Grid, **changes: object) -> Plan:
    base = replace(load_experiment("smoke"), strategies=grids, items=1, controls=False, metrics=("blockiness",))
    return make_plan(replace(base, **changes), suite, models)  # type: ignore[arg-type]


def test_all_layers_of_an_image_come_from_one_forward_pass(models: ModelSet, suite: Suite, tmp_path: Path) -> None:
    plan = plan_of(models, suite, Grid("lerp", (("layer", (-1, -2, -3)),)), seeds=(0, 1))
    embeddings = Embeddings(tmp_path, models)
    pending = missing_views(plan.cells, embeddings, suite)
    assert len(pending) == 2  # one prompt, one image
    for view, layers in pending.items():
        embeddings.encode(view, layers)
    assert missing_views(plan.cells, embeddings, suite) == {}
    assert len(list(tmp_path.glob("*.safetensors"))) == 4
    reader = SourceReader(embeddings, suite)
    visions = [reader.read(c.item, c.configuration).vision for c in plan.cells if c.seed == 0]
    found = [tokens.hidden for tokens in visions if tokens]
    assert len(found) == 3
    assert not any(torch.equal(a, b) for a, b in itertools.pairwise(found))


def test_what_is_kept_survives_the_process(models: ModelSet, suite: Suite, tmp_path: Path) -> None:
    configuration = parse_configuration("lerp:layer=-3,tokens=full")
    first = SourceReader(Embeddings(tmp_path, models), suite).read(suite.items[0], configuration).vision
    second = SourceReader(Embeddings(tmp_path, models), suite).read(suite.items[0], configuration).vision
    direct = models.vision.encode(suite.items[0].reference, suite.items[0].prompt, (-3,))[-3]
    assert first
    assert second
    for kept in (first, second):
        assert torch.equal(kept.hidden, direct.hidden)
        assert torch.equal(kept.kinds, direct.kinds)


def test_references_feed_what_their_name_says(models: ModelSet, suite: Suite, tmp_path: Path) -> None:
    item, reader = suite.items[0], SourceReader(Embeddings(tmp_path, models), suite)

    def vision(reference: str) -> torch.Tensor:
        tokens = reader.read(item, parse_configuration(f"lerp:reference={reference}")).vision
        assert tokens
        return tokens.hidden

    own, noise = vision("item"), vision("noise")
    assert torch.equal(noise, vision("noise"))
    torch.testing.assert_close(noise.norm(dim=1), own.norm(dim=1))
    assert not torch.equal(own, vision("blank"))
    assert not torch.equal(own, vision("unrelated"))
    text = models.text.encode(item.prompt)
    assert torch.equal(vision("self"), text.hidden[text.kinds == 1])
    neutral = reader.read(item, parse_configuration("style_delta")).neutral
    assert neutral
    assert torch.equal(neutral.hidden, vision("blank"))


def test_a_prompt_that_is_too_long_fails_its_own_item_only(models: ModelSet, suite: Suite, tmp_path: Path) -> None:
    longer = replace(suite.items[0], id="long", prompt="a red circle and " * 60)
    mixed = replace(suite, items=(longer, suite.items[1]))
    with pytest.raises(EncodingError, match="64"):
        SourceReader(Embeddings(tmp_path / "e", models), mixed).read(longer, parse_configuration("text_only"))
    done = run(plan_of(models, mixed, Grid("lerp", ()), items=2), models, tmp_path, Reporter(quiet=True))
    assert (done.ok, done.failed) == (2, 2)
    cells = rows_of(tmp_path, "cells")
    assert {r.item for r in cells if r.status == "failed"} == {"long"}
    assert all("64" in str(r.error) for r in cells if r.status == "failed")


def test_every_input_is_what_its_name_says(models: ModelSet, suite: Suite, tmp_path: Path) -> None:
    item = suite.items[0]
    few = replace(suite, items=suite.items[:2], pairs=suite.pairs[:2])
    reader = SourceReader(Embeddings(tmp_path, models), few)

    def view(image: Path, prompt: str, tokens: str = "image_no_markers") -> torch.Tensor:
        encoded = models.vision.encode(image, prompt, (-2,))[-2]
        return select(Tokens(encoded.hidden, encoded.kinds), tokens).hidden  # type: ignore[arg-type]

    found = reader.read(item, parse_configuration("delta_negative:neutral_picture=mean"))
    assert suite.white is not None
    assert found.other is not None and torch.equal(found.other.hidden, view(item.unrelated, item.prompt))
    blank, white = view(suite.blank, item.prompt), view(suite.white, item.prompt)
    assert found.neutral is not None and torch.allclose(found.neutral.hidden, (blank + white) / 2, atol=1e-6)
    found = reader.read(item, parse_configuration("dual_extraction"))
    assert found.wordless is not None and torch.equal(found.wordless.hidden, view(item.reference, ""))
    found = reader.read(item, parse_configuration("outlier_mask_published"))
    assert found.corpus is not None and len(found.corpus) == 2
    assert torch.equal(found.corpus[1].hidden, models.text.encode(suite.items[1].prompt).hidden)
    found = reader.read(item, parse_configuration("ridge_projection"))
    again = reader.read(suite.items[1], parse_configuration("mlp_projection"))
    assert found.pairs is not None and found.pairs is again.pairs  # one object, so that a fit is made once
    pair = suite.pairs[1]
    assert torch.equal(found.pairs[1].plain.hidden, view(pair.plain, pair.caption))
    assert torch.equal(found.pairs[1].text.hidden, models.text.encode(pair.caption).hidden)
    found = reader.read(item, parse_configuration("timestep_alpha"))
    assert found.denoising is not None and found.denoising.blocks == models.facts.blocks
    assert len(found.denoising.sigmas) == models.sampler_record["transformer_calls"]


def test_image_tokens_do_not_depend_on_the_prompt(models: ModelSet, suite: Suite, tmp_path: Path) -> None:
    """The image comes first and attention is causal: what a prompt says cannot reach the image's tokens."""
    found = SourceReader(Embeddings(tmp_path, models), suite).read(
        suite.items[0], parse_configuration("dual_extraction")
    )
    with_prompt = (
        SourceReader(Embeddings(tmp_path, models), suite).read(suite.items[0], parse_configuration("lerp")).vision
    )
    assert found.wordless is not None and with_prompt is not None
    torch.testing.assert_close(found.wordless.hidden, with_prompt.hidden)


def test_layers_can_be_mixed_and_differ_between_kinds_of_tokens(models: ModelSet, suite: Suite, tmp_path: Path) -> None:
    reader = SourceReader(Embeddings(tmp_path, models), suite)

    def vision(settings: str) -> torch.Tensor:
        tokens = reader.read(suite.items[0], parse_configuration(f"lerp:{settings}")).vision
        assert tokens
        return tokens.hidden

    two, four = vision("layer=-2"), vision("layer=-4")
    torch.testing.assert_close(vision("layer=3*-2+1*-4"), 0.75 * two + 0.25 * four)
    assert parse_configuration("lerp:layer=3*-2+1*-4").label == "lerp:alpha=0.3,layer=0.25*-4+0.75*-2"
    mixed = vision("tokens=full,layer=-4,text_layer=-2")
    image = models.vision.encode(suite.items[0].reference, suite.items[0].prompt, (-2,))[-2].kinds >= int(Kind.MARKER)
    assert torch.equal(mixed[image], vision("tokens=full,layer=-4")[image])
    assert torch.equal(mixed[~image], vision("tokens=full,layer=-2")[~image])
    for wrong in ("x", "0*-2", "-1*-2", "0.5*", "1.5", "nan*-2"):
        with pytest.raises(UsageError, match="neither a layer"):
            parse_configuration(f"lerp:layer={wrong}")


def test_what_is_pending_covers_all_that_the_sources_read(models: ModelSet, suite: Suite, tmp_path: Path) -> None:
    few = replace(suite, items=suite.items[:1], pairs=suite.pairs[:2])
    names = ("delta_mixed", "dual_extraction", "outlier_mask_published", "ridge_projection")
    plan = plan_of(models, few, *(Grid(name, ()) for name in names))
    embeddings = Embeddings(tmp_path, models)
    for view, layers in missing_views(plan.cells, embeddings, few).items():
        embeddings.encode(view, layers)
    reader = SourceReader(embeddings, few)
    kept = set(tmp_path.iterdir())
    for cell in plan.cells:
        reader.read(cell.item, cell.configuration)
    assert set(tmp_path.iterdir()) == kept


def test_a_suite_without_pairs_or_a_white_image_fails_the_cells_that_need_them(
    models: ModelSet, suite: Suite, tmp_path: Path
) -> None:
    bare = replace(suite, items=suite.items[:1], pairs=(), white=None)
    plan = plan_of(models, bare, Grid("mlp_projection", ()), Grid("style_delta", (("neutral_picture", ("white",)),)))
    done = run(plan, models, tmp_path, Reporter(quiet=True))
    assert (done.ok, done.failed) == (1, 2)
    errors = {str(r.error) for r in rows_of(tmp_path, "cells") if r.error}
    assert {"no pairs to fit on" in error or "no white image" in error for error in errors} == {True}


def test_strategies_that_fit_have_pairs_on_the_standard_suite(models: ModelSet, tmp_path: Path) -> None:
    suite = load_suite("standard")
    names = ("activation_steering", "ridge_projection", "mlp_projection")
    plan = plan_of(models, replace(suite, pairs=suite.pairs[:4]), *(Grid(name, ()) for name in names))
    done = run(plan, models, tmp_path, Reporter(quiet=True))
    assert (done.ok, done.failed) == (4, 0)  # and text_only, their baseline


def test_every_registered_strategy_can_be_generated(models: ModelSet, suite: Suite, tmp_path: Path) -> None:
    few = replace(suite, pairs=suite.pairs[:4])
    grids = [Grid(name, ()) for name in all_strategies()]
    plan = plan_of(models, few, *grids)
    done = run(plan, models, tmp_path, Reporter(quiet=True))
    assert (done.ok, done.failed) == (len(grids), 0)
    cells = {r.label: r for r in rows_of(tmp_path, "cells")}
    images = {label: cell.image_sha256 for label, cell in cells.items()}
    assert images["block_injection:alpha=0.3"] not in (images["text_only"], images["lerp:alpha=0.3"])


@pytest.mark.parametrize("damage", ["cut", "swapped", "empty", "renamed", "retyped"])
def test_a_damaged_file_is_encoded_again(damage: str, models: ModelSet, suite: Suite, tmp_path: Path) -> None:
    view = View(suite.items[0].prompt)
    embeddings = Embeddings(tmp_path, models)
    whole = embeddings.tokens(view)
    path = embeddings.path(embeddings.key(view, embeddings.text_layer))
    content = path.read_bytes()
    changed = bytearray(content)
    changed[-5] ^= 1
    damaged = {"cut": content[: len(content) // 2], "swapped": bytes(changed), "empty": b""}
    damaged |= {"renamed": content.replace(b'"kinds"', b'"kin]s"'), "retyped": content.replace(b'"I64"', b'"F64"')}
    assert damaged[damage] != content
    path.write_bytes(damaged[damage])
    assert torch.equal(Embeddings(tmp_path, models).tokens(view).hidden, whole.hidden)
    assert path.read_bytes() == content
