"""Qwen3-VL's hidden states are taken where the next layer reads them."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from blendbench.core.hashing import sha256_json
from blendbench.core.images import image_identity, load_image
from blendbench.core.suites import load_suite
from blendbench.models.sets import ModelSet, load_model_set
from blendbench.models.vision import VisionEncoder
from blendbench.run.embedding_analysis import plan_analysis
from blendbench.run.embeddings import Embeddings
from blendbench.run.experiments import Grid, load_experiment
from blendbench.run.inputs import View
from blendbench.run.plan import make_plan

ITEM = load_suite("miniature").items[0]
STATES, DEEPSTACK = 7, (1, 2)  # of the miniature: six layers, features added behind the first two


@pytest.fixture(scope="module")
def models(untrained: Path) -> ModelSet:
    return load_model_set(untrained, "cpu")


@pytest.fixture(scope="module")
def states(models: ModelSet) -> dict[int, Tensor]:
    encoded = models.vision.encode(ITEM.reference, ITEM.prompt, tuple(range(-STATES, STATES)))
    return {layer: tokens.hidden for layer, tokens in encoded.items()}


def inputs(vision: VisionEncoder) -> dict[str, Tensor]:
    pixels = Image.fromarray(load_image(ITEM.reference).pixels)
    made: dict[str, Tensor] = vision.processor(text=[vision._turn(ITEM.prompt)], images=[pixels], return_tensors="pt")
    return made


def test_a_state_is_what_the_next_layer_reads(models: ModelSet, states: dict[int, Tensor]) -> None:
    language, seen = models.vision.model.model.language_model, {}
    modules = [*language.layers, language.norm]

    def note(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        seen[modules.index(module)] = args[0][0].clone()

    handles = [module.register_forward_pre_hook(note) for module in modules]
    with torch.inference_mode():
        models.vision.model.model(**inputs(models.vision), use_cache=False)
        last = language.norm(seen[STATES - 1])
    for handle in handles:
        handle.remove()
    for layer in range(STATES - 1):
        assert torch.equal(states[layer], seen[layer])
    assert torch.equal(states[STATES - 1], last)  # the last one is behind the final norm
    for layer in range(STATES):
        assert torch.equal(states[layer], states[layer - STATES])


def test_transformers_record_differs_by_the_deepstack_features_alone(
    models: ModelSet, states: dict[int, Tensor]
) -> None:
    model, given = models.vision.model.model, inputs(models.vision)
    with torch.inference_mode():
        recorded = model(**given, output_hidden_states=True, use_cache=False).hidden_states
        features = model.visual(given["pixel_values"], grid_thw=given["image_grid_thw"]).deepstack_features
    assert len(features) == len(DEEPSTACK) == models.facts.deepstack
    image = given["input_ids"][0] == models.vision.model.config.image_token_id
    for layer in range(STATES):
        difference = states[layer] - recorded[layer][0]
        assert models.facts.has_deepstack(layer) == models.facts.has_deepstack(layer - STATES) == (layer in DEEPSTACK)
        if layer in DEEPSTACK:
            assert torch.allclose(difference[image], features[layer - 1], atol=1e-5)
            assert features[layer - 1].abs().max() > 0.01
            assert not difference[~image].any()
        else:
            assert torch.equal(states[layer], recorded[layer][0])


def test_no_hook_stays_and_a_layer_that_is_not_there_is_an_error(models: ModelSet) -> None:
    layers = models.vision.model.model.language_model.layers
    with pytest.raises(IndexError):
        models.vision.encode(ITEM.reference, ITEM.prompt, (STATES,))
    assert not any(layer._forward_pre_hooks for layer in layers)


class ByName(nn.Module):
    """A model whose layers get their input by name."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Identity(), nn.Identity()])

    def forward(self, start: Tensor, use_cache: bool) -> SimpleNamespace:
        assert not use_cache
        for layer in self.layers:
            for hook in layer._forward_pre_hooks.values():
                hook(layer, (), {"hidden_states": start})
            start = start + 1
        return SimpleNamespace(last_hidden_state=start * 10)


def test_layers_may_get_their_input_by_name() -> None:
    model = ByName()
    model.language_model = model
    encoder = VisionEncoder(None, SimpleNamespace(model=model))
    found = encoder._states({"start": torch.zeros(1, 1, 1)}, (0, -2, -1))
    assert {layer: float(state) for layer, state in found.items()} == {0: 0, -2: 1, -1: 20}


def test_what_is_kept_of_other_states_and_cells_that_do_not_read_these_keep_their_identity(
    models: ModelSet, untrained: Path, tmp_path: Path
) -> None:
    """Before, no identity said that deepstack features are part of a state: as if no layer had any."""
    view, embeddings = View(ITEM.prompt, ITEM.reference), Embeddings(tmp_path, models)
    for layer in range(-STATES, STATES):
        before = [models.sha256, "vision", image_identity(ITEM.reference), ITEM.prompt, layer]
        assert (embeddings.key(view, layer) == sha256_json(before)) == (layer % STATES not in DEEPSTACK)
        text = sha256_json([models.sha256, "text", None, ITEM.prompt, layer])
        assert embeddings.key(View(ITEM.prompt), layer) == text

    grids = [
        Grid("lerp", (("layer", (-1, -2, -3, -4, -7, -5, -6, "0.5*-2+0.5*-5")),)),
        Grid("concatenate", (("text_layer", (-3, -6)),)),
    ]
    experiment = replace(load_experiment("core"), strategies=tuple(grids), items=1)
    suite, before_models = load_suite("miniature"), load_model_set(untrained, "cpu")
    before_models.__dict__["facts"] = replace(models.facts, deepstack=0)
    now, old = (make_plan(experiment, suite, chosen).cells for chosen in (models, before_models))
    changed = {a.configuration.label for a, b in zip(now, old, strict=True) if a.cell_id != b.cell_id}
    assert changed == {c.configuration.label for c in now if c.configuration.layers & {-5, -6}}
    assert len(changed) == 4

    def analysis(chosen: ModelSet, layers: tuple[int, ...]) -> str:
        return plan_analysis(chosen, suite, 2, layers).analysis_id

    assert analysis(models, (-1, -2)) == analysis(before_models, (-1, -2))
    assert analysis(models, (-1, -6)) != analysis(before_models, (-1, -6))
