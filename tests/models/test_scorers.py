"""models/scorers.py: what it loads, what it refuses, and how it reads texts and images."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from timm.layers.attention import Attention

from blendbench.core.errors import UsageError
from blendbench.models.scorers import HalfAttention, load_encoder
from miniature import recognition


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seeded random CLIP and SigLIP in open_clip's folder layout."""
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    recognition.write_scaffold(folder)
    for name in ("clip", "siglip"):
        recognition.save_weights(folder, name, recognition.network(name))
    return folder


@pytest.fixture
def broken(models: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    return Path(shutil.copytree(models, tmp_path / "models"))


def configure(folder: Path, section: str, **changes: object) -> None:
    path = folder / "open_clip_config.json"
    config = json.loads(path.read_text())
    target = config["preprocess_cfg"] if section == "preprocess_cfg" else config["model_cfg"][section]
    target.update(changes)
    path.write_text(json.dumps(config))


@pytest.mark.parametrize("name", ["clip", "siglip"])
def test_embeddings_equal_open_clips_own(models: Path, name: str) -> None:
    encoder = load_encoder(models / name, False)
    model, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{models / name}")
    image = np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    with torch.inference_mode():
        expected = model.eval().encode_image(preprocess(Image.fromarray(image))[None], normalize=True)
        tokens = open_clip.get_tokenizer(f"local-dir:{models / name}")(["a red star"])
        expected_text = model.encode_text(tokens, normalize=True)
    found = encoder.encode_images(torch.from_numpy(image).permute(2, 0, 1)[None])
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(encoder.encode_texts(["a red star"]), expected_text, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", ["clip", "siglip"])
@pytest.mark.parametrize("size", [(300, 451), (77, 60), (128, 128)])
def test_images_are_prepared_as_open_clip_prepares_them(models: Path, name: str, size: tuple[int, int]) -> None:
    encoder = load_encoder(models / name, False)
    _, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{models / name}")
    small = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    image = np.asarray(Image.fromarray(small).resize(size[::-1], Image.Resampling.BICUBIC))
    found = encoder._prepared(torch.from_numpy(image.copy()).permute(2, 0, 1)[None])[0]
    apart = (found - preprocess(Image.fromarray(image))).abs() * 255 / 2
    # Pillow and torch round single 8-bit values differently, and clip the overshoot of an enlargement in another order.
    assert apart.mean() < 0.3
    assert (apart > 1.01).float().mean() < 0.002


@pytest.mark.parametrize("name", ["clip", "siglip"])
def test_embeddings_are_unit_rows_and_do_not_depend_on_the_batch(models: Path, name: str) -> None:
    encoder = load_encoder(models / name, False)
    images = torch.randint(0, 256, (7, 3, 128, 128), dtype=torch.uint8)
    texts = ["a red star", "two blue rings", "a red star on white"]
    rows, words = encoder.encode_images(images), encoder.encode_texts(texts)
    assert rows.dtype == words.dtype == torch.float32
    torch.testing.assert_close(rows.norm(dim=-1), torch.ones(7))
    single = torch.cat([encoder.encode_images(image[None]) for image in images])
    torch.testing.assert_close(rows, single, atol=1e-6, rtol=0)
    other = load_encoder(models / name, False)
    torch.testing.assert_close(words, torch.cat([other.encode_texts([text]) for text in texts]), atol=1e-6, rtol=0)


def test_texts_keep_their_places_when_some_are_repeated(models: Path) -> None:
    encoder = load_encoder(models / "clip", False)
    a, b = encoder.encode_texts(["a red star"]), encoder.encode_texts(["two blue rings"])
    torch.testing.assert_close(
        encoder.encode_texts(["two blue rings", "a red star", "two blue rings"]), torch.cat([b, a, b])
    )


def test_every_text_is_padded_to_the_context(models: Path) -> None:
    encoder = load_encoder(models / "siglip", False)
    assert encoder.tokens(["red", "a red star " * 40]).shape == (2, encoder.context_length)


def test_a_long_text_keeps_its_end_token(models: Path) -> None:
    short, long = load_encoder(models / "clip", False).tokens(["a red star", "a red star " * 40])
    assert long[-1] == short.max()


@pytest.mark.parametrize("name", ["clip", "siglip"])
def test_case_and_punctuation_do_not_matter(models: Path, name: str) -> None:
    rows = load_encoder(models / name, False).encode_texts(["A red STAR, on white.", "a red star on white"])
    torch.testing.assert_close(rows[0], rows[1])


def test_missing_weights_are_refused(broken: Path) -> None:
    (broken / "clip" / "open_clip_model.safetensors").unlink()
    with pytest.raises(UsageError, match="weights are missing"):
        load_encoder(broken / "clip", False)


def test_a_missing_tensor_is_refused_and_not_left_random(broken: Path) -> None:
    path = broken / "clip" / "open_clip_model.safetensors"
    weights = load_file(path)
    del weights["text_projection"]
    save_file(weights, path)
    with pytest.raises(UsageError, match="no usable open_clip model"):
        load_encoder(broken / "clip", False)


@pytest.mark.parametrize("content", [b"", b"version https://git-lfs.github.com/spec/v1\n", b"PK\x03\x04", b"hello"])
def test_damaged_weights_are_refused_in_one_line(broken: Path, content: bytes) -> None:
    (broken / "clip" / "open_clip_model.safetensors").write_bytes(content)
    with pytest.raises(UsageError, match="no usable open_clip model") as error:
        load_encoder(broken / "clip", False)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(broken: Path, value: float) -> None:
    path = broken / "siglip" / "open_clip_model.safetensors"
    weights = load_file(path)
    weights["text_projection.weight"][3, 4] = value
    save_file(weights, path)
    with pytest.raises(UsageError, match=r"text_projection.weight.*not finite"):
        load_encoder(broken / "siglip", False)


@pytest.mark.parametrize("file", ["tokenizer.json", "tokenizer_config.json"])
def test_a_tokenizer_that_is_no_tokenizer_is_refused_in_one_line(broken: Path, file: str) -> None:
    (broken / "clip" / file).write_text("[]")
    with pytest.raises(UsageError) as error:
        load_encoder(broken / "clip", False)
    assert str(broken / "clip") in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("content", ["{", "{}", '{"model_cfg": {"embed_dim": 64}}'])
def test_a_bad_configuration_is_refused(broken: Path, content: str) -> None:
    (broken / "clip" / "open_clip_config.json").write_text(content)
    with pytest.raises(UsageError, match="clip"):
        load_encoder(broken / "clip", False)


def test_a_folder_without_configuration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"open_clip_config\.json is missing"):
        load_encoder(tmp_path, False)


def test_siglip_without_canonicalised_texts_is_refused(broken: Path) -> None:
    configure(broken / "siglip", "text_cfg", tokenizer_kwargs={"clean": "whitespace"})
    with pytest.raises(UsageError, match="canonicalize"):
        load_encoder(broken / "siglip", False)


def test_a_tokenizer_that_drops_the_end_token_is_refused(broken: Path) -> None:
    path = broken / "clip" / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    tokenizer["post_processor"] = None
    path.write_text(json.dumps(tokenizer))
    with pytest.raises(UsageError, match="end token"):
        load_encoder(broken / "clip", False)


def test_an_unknown_way_of_resizing_is_refused(broken: Path) -> None:
    configure(broken / "clip", "preprocess_cfg", resize_mode="longest")
    with pytest.raises(UsageError, match="resize_mode"):
        load_encoder(broken / "clip", False)


def test_a_folder_of_pickles_is_refused_and_not_opened(broken: Path) -> None:
    folder = broken / "clip"
    torch.save(load_file(folder / "open_clip_model.safetensors"), folder / "open_clip_pytorch_model.bin")
    (folder / "open_clip_model.safetensors").unlink()
    with pytest.raises(UsageError, match="pickles are never read"):
        load_encoder(folder, False)


@pytest.mark.parametrize("quick", [True, False])
def test_weights_get_the_activation_function_that_is_asked_for(models: Path, quick: bool) -> None:
    kinds = {type(part).__name__ for part in load_encoder(models / "clip", quick)._model.modules()}
    assert ("QuickGELU" in kinds) is quick
    assert ("GELU" in kinds) is not quick


@pytest.mark.parametrize("name", ["clip", "siglip"])
def test_tokens_are_counted_before_the_text_is_cut(models: Path, name: str) -> None:
    encoder = load_encoder(models / name, False)
    one, two, long = encoder.token_counts(["red", "red red", "red " * 200])
    assert two == one + 1 and long == one + 199 > encoder.context_length


def test_attention_in_half_precision_rounds_as_much_as_it_says() -> None:
    torch.manual_seed(0)
    block, rows = Attention(32, num_heads=2).eval(), torch.randn(2, 9, 32)
    with torch.inference_mode():
        exact = block(rows)
        with HalfAttention():
            rounded = block(rows)
    assert rounded.dtype == exact.dtype
    assert 0 < (rounded - exact).abs().max() < 1e-3


def test_attention_in_half_precision_takes_masks_and_leaves_other_functions_alone() -> None:
    query, key, value = torch.randn(3, 1, 2, 5, 8).unbind()
    mask = torch.full((5, 5), -torch.inf).triu(1)
    exact = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    with HalfAttention():
        found = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        assert torch.equal(query @ key.mT, torch.matmul(query, key.mT))
    torch.testing.assert_close(found, exact, atol=5e-3, rtol=0)
    assert not torch.equal(found, exact)


def test_nothing_is_sampled_for_weights_that_are_read(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create = open_clip.create_model_from_pretrained

    def watched(*args: Any, **kwargs: Any) -> Any:
        before = torch.get_rng_state()
        torch.nn.MultiheadAttention(8, 2)
        torch.nn.Embedding(8, 2)
        torch.nn.init.trunc_normal_(torch.empty(4, 4))
        assert torch.equal(torch.get_rng_state(), before)
        return create(*args, **kwargs)

    monkeypatch.setattr(open_clip, "create_model_from_pretrained", watched)
    kept = load_file(models / "siglip" / "open_clip_model.safetensors")
    weights = load_encoder(models / "siglip", False)._model.state_dict()
    assert all(torch.equal(weights[name], value.float()) for name, value in kept.items())
