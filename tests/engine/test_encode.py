"""Encodings: each computed once, for all the layers that are wanted; failures stay with their own item."""

import itertools
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from blendbench.blending import parse_configuration
from blendbench.engine.encode import Embeddings, EncodingError
from blendbench.engine.plan import Plan, make_plan
from blendbench.engine.progress import Reporter
from blendbench.engine.run import run
from blendbench.errors import UsageError
from blendbench.experiments import Grid, load_experiment
from blendbench.models.sets import ModelSet, load_model_set
from blendbench.results.records import CellRecord
from blendbench.results.shards import read_shards
from blendbench.suites import Suite, load_suite


@pytest.fixture(scope="module")
def models(untrained: Path) -> ModelSet:
    return load_model_set(untrained, "cpu", {"steps": 1})


@pytest.fixture(scope="module")
def suite() -> Suite:
    return load_suite("miniature")


def plan_of(models: ModelSet, suite: Suite, *grids: Grid, **changes: object) -> Plan:
    base = replace(load_experiment("smoke"), strategies=grids, items=1, controls=False, metrics=("blockiness",))
    return make_plan(replace(base, **changes), suite, models)  # type: ignore[arg-type]


def test_all_layers_of_a_picture_come_from_one_forward_pass(models: ModelSet, suite: Suite, tmp_path: Path) -> None:
    plan = plan_of(models, suite, Grid("lerp", (("layer", (-1, -2, -3)),)), seeds=(0, 1))
    embeddings = Embeddings(tmp_path, models, suite)
    pending = embeddings.pending(plan.cells)
    assert len(pending) == 2  # one prompt, one picture
    for encode in pending:
        encode()
    assert embeddings.pending(plan.cells) == []
    assert len(list(tmp_path.glob("*.safetensors"))) == 4
    layers = [embeddings.sources(c.item, c.configuration).vision for c in plan.cells if c.seed == 0]
    found = [tokens.hidden for tokens in layers if tokens]
    assert len(found) == 3
    assert not any(torch.equal(a, b) for a, b in itertools.pairwise(found))


def test_what_is_kept_survives_the_process(models: ModelSet, suite: Suite, tmp_path: Path) -> None:
    configuration = parse_configuration("lerp:layer=-3,tokens=full")
    first = Embeddings(tmp_path, models, suite).sources(suite.items[0], configuration).vision
    second = Embeddings(tmp_path, models, suite).sources(suite.items[0], configuration).vision
    direct = models.vision.encode(suite.items[0].reference, suite.items[0].prompt, (-3,))[-3]
    assert first
    assert second
    for kept in (first, second):
        assert torch.equal(kept.hidden, direct.hidden)
        assert torch.equal(kept.kinds, direct.kinds)


def test_references_feed_what_their_name_says(models: ModelSet, suite: Suite, tmp_path: Path) -> None:
    item, embeddings = suite.items[0], Embeddings(tmp_path, models, suite)

    def vision(reference: str) -> torch.Tensor:
        tokens = embeddings.sources(item, parse_configuration(f"lerp:reference={reference}")).vision
        assert tokens
        return tokens.hidden

    own, noise = vision("item"), vision("noise")
    assert torch.equal(noise, vision("noise"))
    torch.testing.assert_close(noise.norm(dim=1), own.norm(dim=1))
    assert not torch.equal(own, vision("blank"))
    assert not torch.equal(own, vision("unrelated"))
    text = models.text.encode(item.prompt)
    assert torch.equal(vision("self"), text.hidden[text.kinds == 1])
    neutral = embeddings.sources(item, parse_configuration("style_delta")).neutral
    assert neutral
    assert torch.equal(neutral.hidden, vision("blank"))


def test_a_prompt_that_is_too_long_fails_its_own_item_only(models: ModelSet, suite: Suite, tmp_path: Path) -> None:
    longer = replace(suite.items[0], id="long", prompt="a red circle and " * 60)
    mixed = replace(suite, items=(longer, suite.items[1]))
    with pytest.raises(EncodingError, match="64"):
        Embeddings(tmp_path / "e", models, mixed).sources(longer, parse_configuration("text_only"))
    done = run(plan_of(models, mixed, Grid("lerp", ()), items=2), models, tmp_path, Reporter(quiet=True))
    assert (done.ok, done.failed) == (2, 2)
    cells = [r for r in read_shards(tmp_path).records if isinstance(r, CellRecord)]
    assert {r.item for r in cells if r.status == "failed"} == {"long"}
    assert all("64" in str(r.error) for r in cells if r.status == "failed")


def test_a_layer_that_is_not_there_is_told_before_anything_is_loaded(models: ModelSet, suite: Suite) -> None:
    with pytest.raises(UsageError, match=r"layer = -99 is outside"):
        plan_of(models, suite, Grid("lerp", (("layer", (-99,)),)))
