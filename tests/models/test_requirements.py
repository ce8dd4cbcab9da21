"""What is refused before anything heavy loads: each line names the file, what is in it, and what was expected."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from blendbench.core.errors import UsageError
from blendbench.models import requirements
from blendbench.models.diagnosis import diagnose
from blendbench.models.families.z_image.denoiser import ZImageDenoiser
from blendbench.models.families.z_image.text import Qwen3TextEncoder
from blendbench.models.sets import load_model_set


@pytest.fixture
def copy(untrained: Path, tmp_path: Path) -> Path:
    """A model set folder that a test may damage."""
    return Path(shutil.copytree(untrained, tmp_path / "copy"))


def rewrite(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def shard(folder: Path, stem: str, parts: int) -> None:
    """Split a network's weights into shards with an index, as large ones are published."""
    weights = load_file(folder / f"{stem}.safetensors")
    (folder / f"{stem}.safetensors").unlink()
    names = sorted(weights)
    index: dict[str, str] = {}
    for part in range(parts):
        file = f"{stem}-{part + 1:05}-of-{parts:05}.safetensors"
        chosen = {name: weights[name] for name in names[part::parts]}
        save_file(chosen, folder / file, metadata={"format": "pt"})
        index |= dict.fromkeys(chosen, file)
    (folder / f"{stem}.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))


@pytest.mark.parametrize(
    ("file", "changes", "message"),
    [
        (
            "pipeline/model_index.json",
            {"_class_name": "FluxPipeline"},
            "_class_name = 'FluxPipeline' is not supported, expected ZIm",
        ),
        (
            "pipeline/transformer/config.json",
            {"_class_name": "FluxTransformer2DModel"},
            "_class_name = 'FluxTransformer2DModel', expected 'ZImageTransformer2DModel'",
        ),
        (
            "pipeline/scheduler/scheduler_config.json",
            {"use_dynamic_shifting": True},
            "use_dynamic_shifting = true is not implemented; only a static `shift` is",
        ),
        (
            "pipeline/scheduler/scheduler_config.json",
            {"shift_terminal": 0.1},
            "shift_terminal = 0.1 is not implemented",
        ),
        ("pipeline/scheduler/scheduler_config.json", {"use_karras_sigmas": True}, "use_karras_sigmas = true is not"),
        ("pipeline/scheduler/scheduler_config.json", {"of_a_later_version": 1}, "of_a_later_version = 1 is not"),
        (
            "pipeline/scheduler/scheduler_config.json",
            {"num_train_timesteps": 500},
            "num_train_timesteps = 500, expected",
        ),
        ("pipeline/vae/config.json", {"_class_name": "Tiny"}, "_class_name = 'Tiny', expected 'AutoencoderKL'"),
        ("pipeline/text_encoder/config.json", {"model_type": "t5"}, "model_type = 't5', expected 'qwen3'"),
        ("vision_language/config.json", {"model_type": "qwen2_vl"}, "model_type = 'qwen2_vl', expected 'qwen3_vl'"),
        ("pipeline/transformer/config.json", {"cap_feat_dim": 2560}, "cap_feat_dim = 2560, expected 192, the "),
        ("pipeline/transformer/config.json", {"in_channels": 4}, "in_channels = 4, expected 16, the latent_channels"),
        (
            "vision_language/config.json",
            {"text_config": {"hidden_size": 2048}},
            "text_config.hidden_size = 2048, expected 192, the hidden_size of",
        ),
        ("pipeline/text_encoder/config.json", {"num_hidden_layers": 0}, "there is no hidden state -2"),
        ("clip/open_clip_config.json", {"model_cfg": {"timm": 1}}, "model_cfg.vision_cfg = None, expected a table"),
    ],
)
def test_another_architecture_or_size_is_one_line_before_loading(
    copy: Path, file: str, changes: dict[str, Any], message: str
) -> None:
    rewrite(copy / file, **changes)
    with pytest.raises(UsageError) as error:
        load_model_set(copy, "cpu").check()
    assert str(copy / file) in str(error.value)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_siglip_where_a_clip_belongs_is_reported(copy: Path) -> None:
    shutil.rmtree(copy / "clip")
    shutil.copytree(copy / "siglip", copy / "clip")
    with pytest.raises(UsageError, match=r"clip.open_clip_config\.json: model_cfg\.init_logit_bias = -10"):
        load_model_set(copy, "cpu").check()


def test_every_missing_file_is_reported_not_the_first_alone(copy: Path) -> None:
    gone = [
        "pipeline/transformer/diffusion_pytorch_model.safetensors",
        "pipeline/vae/config.json",
        "pipeline/tokenizer/tokenizer_config.json",
        "vision_language/chat_template.jinja",
        "siglip/open_clip_config.json",
        "clip/tokenizer.json",
    ]
    for file in gone:
        (copy / file).unlink()
    problems = "\n".join(load_model_set(copy, "cpu").problems())
    lines = [finding.line for finding in diagnose(load_model_set(copy, "cpu")) if finding.fatal]
    for file in gone:
        assert file.split("/", 1)[1] in problems
        assert any(file.split("/", 1)[1] in line for line in lines)


@pytest.mark.parametrize("layout", ["model-00001-of-00003.safetensors", "model.safetensors.index.json"])
def test_a_network_in_shards_is_whole_or_says_which_shard_is_not(copy: Path, layout: str) -> None:
    folder = copy / "pipeline" / "text_encoder"
    before = load_model_set(copy, "cpu").text.encode("a red circle").hidden
    shard(folder, "model", 3)
    models = load_model_set(copy, "cpu")
    models.check()
    assert torch.equal(models.text.encode("a red circle").hidden, before)
    assert len([file for file in models.weight_files() if file.file.startswith("text_encoder/")]) == 3
    (folder / layout).unlink()
    with pytest.raises(UsageError, match="text_encoder/model"):
        load_model_set(copy, "cpu").check()


def test_pickles_are_refused_by_name(copy: Path) -> None:
    folder = copy / "pipeline" / "transformer"
    weights = load_file(folder / "diffusion_pytorch_model.safetensors")
    torch.save(weights, folder / "diffusion_pytorch_model.bin")
    (folder / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(
        UsageError, match=r"only pickled weights \(diffusion_pytorch_model\.bin\), which are never loaded"
    ):
        load_model_set(copy, "cpu").check()
    with pytest.raises(UsageError):
        _ = load_model_set(copy, "cpu").denoiser


@pytest.mark.parametrize("damage", [lambda data: data[:-100], lambda data: b"", lambda data: data + b"0" * 9])
def test_a_damaged_weight_file_is_recognised_by_its_header(copy: Path, damage: Callable[[bytes], bytes]) -> None:
    path = copy / "vision_language" / "model.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UsageError, match=r"vision_language.model\.safetensors is"):
        load_model_set(copy, "cpu").check()


def test_parameters_are_counted_without_loading(untrained: Path) -> None:
    models = load_model_set(untrained, "cpu")
    assert isinstance(models.denoiser, ZImageDenoiser)
    assert isinstance(models.text, Qwen3TextEncoder)
    network = models.denoiser.pipeline.transformer
    counted = requirements.layout("pipeline", untrained / "pipeline").parameters(untrained / "pipeline", "transformer")
    assert counted == sum(p.numel() for p in network.parameters())
    assert models.memory_sizes().weights["text"] == 4 * sum(p.numel() for p in models.text.encoder.parameters())


def test_every_missing_folder_is_reported(copy: Path) -> None:
    for name in ("pipeline", "siglip"):
        shutil.rmtree(copy / name)
    lines = [finding.line for finding in diagnose(load_model_set(copy, "cpu")) if finding.fatal]
    assert len(lines) == 2
    assert "folder 'pipeline' is missing" in lines[0]
    assert "folder 'siglip' is missing" in lines[1]


def test_a_chat_template_may_be_where_older_processors_have_it(copy: Path) -> None:
    folder = copy / "vision_language"
    before = load_model_set(copy, "cpu").vision._turn("a star")
    (folder / "chat_template.json").write_text(
        json.dumps({"chat_template": (folder / "chat_template.jinja").read_text()})
    )
    (folder / "chat_template.jinja").unlink()
    models = load_model_set(copy, "cpu")
    models.check()
    assert models.vision._turn("a star") == before
