"""Qwen3-VL's official values, each pinned by itself: the table in docs/models.md names these tests.

Sources: chat template, config.json and preprocessor_config.json of Qwen/Qwen3-VL-4B-Instruct, `get_rope_index` of
transformers, and `to_rgb` of qwen-vl-utils.
"""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional as vision_functional
from transformers import Qwen3VLConfig

from blendbench.core.tokens import Kind
from blendbench.models.families.z_image import ZImage
from blendbench.models.image_tokens import ImageTokens, image_tokens
from blendbench.models.sets import ModelSet, load_model_set
from blendbench.models.vision import VisionEncoder

PROMPT = "a red circle"
# preprocessor_config.json
PREPROCESSOR = {
    "size": {"longest_edge": 16777216, "shortest_edge": 65536},
    "patch_size": 16,
    "temporal_patch_size": 2,
    "merge_size": 2,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
    "processor_class": "Qwen3VLProcessor",
    "image_processor_type": "Qwen2VLImageProcessorFast",
}
# config.json, as far as it decides what the encoder computes
CONFIG = {
    "image_token_id": 151655,
    "tie_word_embeddings": True,
    "vision_start_token_id": 151652,
    "vision_end_token_id": 151653,
    "text_config": {"num_hidden_layers": 36, "hidden_size": 2560, "tie_word_embeddings": True},
    "vision_config": {
        "deepstack_visual_indexes": [5, 11, 17],
        "patch_size": 16,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "out_hidden_size": 2560,
    },
}


@pytest.fixture(scope="module")
def folder(untrained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model set whose images are prepared as those of Qwen3-VL-4B-Instruct."""
    made = Path(shutil.copytree(untrained, tmp_path_factory.mktemp("official") / "set"))
    (made / "vision_language" / "processor_config.json").unlink()
    (made / "vision_language" / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR))
    return made


@pytest.fixture(scope="module")
def models(folder: Path) -> ModelSet:
    return load_model_set(folder, "cpu")


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """288 x 320 pixels: 9 rows and 10 columns of image tokens."""
    path = tmp_path / "image.png"
    pixels = np.random.default_rng(0).integers(0, 256, (288, 320, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def processed(models: ModelSet, pixels: Image.Image) -> Any:
    """What the encoder's own processor makes of an image."""
    return models.vision.processor(text=[models.vision._turn(PROMPT)], images=[pixels], return_tensors="pt")


def test_a_turn_is_the_official_template_of_an_image_before_the_prompt(models: ModelSet) -> None:
    asked: list[Any] = []

    def template(chat: list[Any], **options: Any) -> str:
        asked.append((chat, options))
        return ""

    VisionEncoder(SimpleNamespace(apply_chat_template=template), None)._turn(PROMPT)
    content = [{"type": "image"}, {"type": "text", "text": PROMPT}]
    options = {"tokenize": False, "add_generation_prompt": True}
    assert asked == [([{"role": "user", "content": content}], options)]
    # No system turn, and nothing between the marker and the prompt.
    assert models.vision._turn(PROMPT) == (
        f"<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>{PROMPT}<|im_end|>\n<|im_start|>assistant\n"
    )


def test_markers_stand_around_the_image_tokens_and_are_neither_image_nor_prompt(models: ModelSet, image: Path) -> None:
    kinds = models.vision.encode(image, PROMPT, (-2,))[-2].kinds.tolist()
    first, last = kinds.index(Kind.MARKER), len(kinds) - 1 - kinds[::-1].index(Kind.MARKER)
    assert kinds[first + 1 : last] == [Kind.IMAGE] * 90
    assert kinds.count(Kind.MARKER) == 2
    assert kinds.count(Kind.IMAGE) == 90
    config, own = Qwen3VLConfig(), models.vision.model.config
    for name in ("image_token_id", "vision_start_token_id", "vision_end_token_id"):
        assert getattr(config, name) == CONFIG[name]
    decoded = models.vision.processor.tokenizer.decode
    assert decoded([own.vision_start_token_id, own.image_token_id, own.vision_end_token_id]) == (
        "<|vision_start|><|image_pad|><|vision_end|>"
    )


@pytest.mark.parametrize(
    ("width", "height", "tokens"), [(1024, 1024, 1024), (1000, 872, 837), (512, 512, 256), (100, 100, 64)]
)
def test_an_image_has_a_token_for_each_32_pixels_square(models: ModelSet, width: int, height: int, tokens: int) -> None:
    made = processed(models, Image.new("RGB", (width, height)))
    assert int((made["input_ids"] == models.vision.model.config.image_token_id).sum()) == tokens
    # A row is a patch of 16 x 16 pixels in 3 colours, twice for the two frames of a step in time.
    assert made["pixel_values"].shape == (4 * tokens, 3 * 2 * 16 * 16)


def test_the_processor_has_the_official_limits_of_pixels(folder: Path, models: ModelSet) -> None:
    assert image_tokens(folder / "vision_language") == ImageTokens(32, 256 * 256, 4096 * 4096)
    assert models.vision.processor.image_processor.size == {"shortest_edge": 256 * 256, "longest_edge": 1024 * 1024}


def test_images_are_resized_bicubically_with_antialiasing_and_scaled_to_plus_and_minus_1(models: ModelSet) -> None:
    """The processor is the one of the folder: its defaults would be another mean and standard deviation."""
    pixels = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (3, 500, 700), np.uint8))
    made = processed(models, Image.fromarray(pixels.permute(1, 2, 0).numpy()))
    rows, columns = made["image_grid_thw"][0, 1:].tolist()
    assert (rows, columns) == (32, 44)
    bicubic = vision_functional.InterpolationMode.BICUBIC
    resized = vision_functional.resize(pixels, [rows * 16, columns * 16], bicubic, antialias=True)
    # Patches come merge by merge: 2 x 2 of them are an image token.
    patches = made["pixel_values"].reshape(rows // 2, columns // 2, 2, 2, 3, 2, 16, 16)
    restored = patches[:, :, :, :, :, 0].permute(4, 0, 2, 5, 1, 3, 6).reshape(3, rows * 16, columns * 16)
    torch.testing.assert_close(restored, resized.float() / 255 * 2 - 1, atol=1e-5, rtol=0)
    assert torch.equal(patches[..., 0, :, :], patches[..., 1, :, :])


def test_positions_of_image_tokens_are_their_rows_and_columns(models: ModelSet, image: Path) -> None:
    """Interleaved M-RoPE: an image counts as one moment, and the text goes on behind its longer side."""
    seen: list[Tensor] = []
    rotary = models.vision.model.model.language_model.rotary_emb
    handle = rotary.register_forward_pre_hook(lambda _, args: seen.append(args[1]))
    kinds = models.vision.encode(image, PROMPT, (-2,))[-2].kinds
    handle.remove()
    positions, shown = seen[0][:, 0], kinds == int(Kind.IMAGE)
    start, rows, columns = int(shown.nonzero()[0]), 9, 10
    assert torch.equal(positions[:, :start], torch.arange(start).expand(3, -1))
    grid = torch.stack(torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")).flatten(1)
    expected = torch.cat([torch.zeros(1, rows * columns, dtype=grid.dtype), grid]) + start
    assert torch.equal(positions[:, shown], expected)
    after = torch.arange(len(kinds) - start - rows * columns) + start + max(rows, columns)
    assert torch.equal(positions[:, start + rows * columns :], after.expand(3, -1))


def test_features_of_three_layers_of_the_vision_tower_are_added_behind_the_first_three(tmp_path: Path) -> None:
    for place, config in {
        "pipeline/transformer": {"axes_lens": [1536], "all_patch_size": [2], "n_layers": 30, "cap_feat_dim": 2560},
        "pipeline/vae": {"block_out_channels": [128, 256, 512, 512]},
        "vision_language": CONFIG,
    }.items():
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "config.json").write_text(json.dumps(config))
    facts = ZImage(tmp_path / "pipeline", tmp_path / "vision_language").facts
    assert [layer for layer in range(37) if facts.has_deepstack(layer)] == [1, 2, 3]
    assert [layer for layer in range(-37, 0) if facts.has_deepstack(layer)] == [-36, -35, -34]


def test_the_tied_head_is_no_weight_of_its_own_and_is_not_run(models: ModelSet, image: Path) -> None:
    model, called = models.vision.model, []
    assert model.lm_head.weight is model.get_input_embeddings().weight
    handle = model.lm_head.register_forward_hook(lambda *_: called.append(1))
    models.vision.encode(image, PROMPT, (-1,))
    handle.remove()
    assert not called


def test_networks_compute_in_the_set_s_dtype_and_states_are_float32(folder: Path, image: Path, tmp_path: Path) -> None:
    for name in ("z-image-turbo", "z-image"):
        assert load_model_set(name, "cpu").dtype == "bfloat16"
    copy = Path(shutil.copytree(folder, tmp_path / "bf16"))
    file = copy / "model_set.toml"
    file.write_text(file.read_text().replace('dtype = "float32"', 'dtype = "bfloat16"'))
    vision = load_model_set(copy, "cpu").vision
    assert {parameter.dtype for parameter in vision.model.parameters()} == {torch.bfloat16}
    hidden = vision.encode(image, PROMPT, (-2,))[-2].hidden
    assert hidden.dtype == torch.float32
    assert torch.equal(hidden, hidden.bfloat16().float())


def test_what_is_transparent_is_white_and_what_is_turned_is_upright(
    models: ModelSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clear, turned = tmp_path / "clear.png", tmp_path / "turned.jpg"
    pixels = np.zeros((64, 96, 4), np.uint8)
    pixels[:, :, 0], pixels[:32, :, 3] = 255, 255
    Image.fromarray(pixels).save(clear)
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn to the right makes it upright
    Image.new("RGB", (96, 64), "blue").save(turned, exif=exif)
    given: list[Image.Image] = []
    prepare = models.vision.processor.image_processor.preprocess

    def noted(images: list[Image.Image], **options: Any) -> Any:
        given.extend(images)
        return prepare(images, **options)

    monkeypatch.setattr(models.vision.processor.image_processor, "preprocess", noted)
    for path in (clear, turned):
        models.vision.encode(path, PROMPT, (-2,))
    seen = np.asarray(given[0])
    assert seen[:32].reshape(-1, 3).tolist() == [[255, 0, 0]] * (32 * 96)
    assert (seen[32:] == 255).all()
    assert given[1].size == (64, 96)
