"""The random model set has the published layout and loads by the normal path; the plain loop generates the same."""

from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from blendbench.core.images import load_image
from blendbench.models.sets import load_model_set
from blendbench.results.images import ImageStore
from blendbench.results.state import open_state
from blendbench.run.experiments import load_experiment
from blendbench.run.loop import run
from blendbench.run.planning import plan_on_models
from blendbench.run.progress import Reporter


@pytest.fixture
def full_size(speed_scripts: Path) -> ModuleType:
    import full_size as module

    return module


def test_the_full_sizes_are_the_published_ones(full_size: ModuleType) -> None:
    """Billions of parameters as the model cards give them; nothing is allocated on the meta device."""
    sizes = full_size.full()
    with torch.device("meta"):
        networks = {
            "transformer": full_size.transformer(sizes),
            "text": full_size.text_encoder(sizes),
            "vision": full_size.vision_language(sizes),
            "vae": full_size.vae(sizes),
            "clip": full_size.scorer(sizes.clip),
            "siglip": full_size.scorer(sizes.siglip),
        }
    counts = {name: sum(p.numel() for p in network.parameters()) / 1e9 for name, network in networks.items()}
    expected = {"transformer": 6.155, "text": 4.022, "vision": 4.438, "vae": 0.084, "clip": 0.428, "siglip": 1.136}
    assert counts == pytest.approx(expected, abs=6e-4)


def test_special_tokens_have_their_published_ids(full_size: ModuleType) -> None:
    tokenizer = full_size.build_tokenizer(151643)
    ids = {
        "<|endoftext|>": 151643,
        "<|im_start|>": 151644,
        "<|im_end|>": 151645,
        "<|vision_start|>": 151652,
        "<|image_pad|>": 151655,
        "<think>": 151667,
    }
    assert {token: tokenizer.convert_tokens_to_ids(token) for token in ids} == ids
    assert len(tokenizer) == 151669
    words = "A calm bay at sunset with a sailing boat, naïve 船"
    assert tokenizer.decode(tokenizer(words).input_ids) == words


def test_the_layout_is_the_repositories(tiny_set: Path) -> None:
    for file in (
        "model_set.toml",
        "pipeline/model_index.json",
        "pipeline/tokenizer/tokenizer.json",
        "pipeline/scheduler/scheduler_config.json",
        "pipeline/vae/diffusion_pytorch_model.safetensors",
        "pipeline/transformer/diffusion_pytorch_model.safetensors",
        "pipeline/text_encoder/model.safetensors",
        "vision_language/model.safetensors",
        "vision_language/chat_template.jinja",
        "clip/open_clip_config.json",
        "clip/open_clip_model.safetensors",
        "siglip/open_clip_model.safetensors",
        "siglip/tokenizer.json",
    ):
        assert (tiny_set / file).is_file(), file
    load_model_set(tiny_set, "cpu").check()


def test_engine_and_plain_loop_generate_the_same_images(speed_scripts: Path, tiny_set: Path, tmp_path: Path) -> None:
    """The peer that speed is measured against does the same work."""
    import plain_loop

    experiment = replace(load_experiment(speed_scripts / "speed.toml"), items=1, suite="standard")
    plan, models = plan_on_models(experiment, str(tiny_set), "cpu")
    done = run(plan, models, tmp_path / "engine", Reporter(quiet=True))
    assert (done.ok, done.images, done.scores_failed) == (6, 6, 0)
    plain = plain_loop.run_plain(plan, plain_loop.load(models), tmp_path / "plain")
    assert plain["cells"] == 6
    with open_state(tmp_path / "engine") as state:
        cells = state.finished_cells([cell.cell_id for cell in plan.cells])
    for cell in plan.cells:
        ours = ImageStore(tmp_path / "engine").load(str(cells[cell.cell_id].image_sha256))
        theirs = load_image(tmp_path / "plain" / f"{cell.cell_id}.png").pixels
        assert np.abs(ours.astype(np.int16) - theirs).max() <= 1
    assert len((tmp_path / "plain" / "results.csv").read_text().splitlines()) == 7


def test_the_plain_loop_stops_when_its_time_is_over(speed_scripts: Path, tiny_set: Path, tmp_path: Path) -> None:
    import plain_loop

    plan, models = plan_on_models(replace(load_experiment(speed_scripts / "speed.toml"), items=1), str(tiny_set), "cpu")
    loaded = plain_loop.load(models)
    assert plain_loop.run_plain(plan, loaded, tmp_path / "two", cells=2)["cells"] == 2
    assert plain_loop.run_plain(plan, loaded, tmp_path / "none", budget=1e-9)["cells"] == 1
