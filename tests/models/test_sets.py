"""Model sets: identity, early refusals, and the same numbers as the official pipeline."""

import json
import shutil
import threading
from pathlib import Path

import pytest
import torch

from blendbench.core.errors import UsageError
from blendbench.models.families.z_image import ZImage
from blendbench.models.families.z_image.denoiser import ZImageDenoiser
from blendbench.models.families.z_image.text import Qwen3TextEncoder
from blendbench.models.sets import ModelSet, list_model_sets, load_model_set

PROMPTS = ["a red circle", "two blue stars on a green background, striped"]


@pytest.fixture(scope="module")
def models(untrained: Path) -> ModelSet:
    return load_model_set(untrained, "cpu")


@pytest.fixture
def copy(untrained: Path, tmp_path: Path) -> Path:
    """A model set folder that a test may damage."""
    return Path(shutil.copytree(untrained, tmp_path / "copy"))


def edit(folder: Path, old: str, new: str) -> Path:
    path = folder / "model_set.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    return folder


def test_the_kinds_of_text_tokens_mark_the_prompt(models: ModelSet) -> None:
    assert isinstance(models.text, Qwen3TextEncoder)
    encoded, ids = models.text.encode(PROMPTS[0]), models.text._ids(PROMPTS[0])
    words = [token for token, kind in zip(ids, encoded.kinds.tolist(), strict=True) if kind == 1]
    assert models.text.tokenizer.decode(words).strip() == PROMPTS[0]


def test_the_kinds_of_vision_tokens_mark_image_and_prompt(models: ModelSet, tmp_path: Path) -> None:
    from PIL import Image

    path = tmp_path / "p.png"
    Image.new("RGB", (128, 128), "red").save(path)
    encoded = models.vision.encode(path, PROMPTS[1], (-2,))[-2]
    processor = models.vision.processor
    with Image.open(path) as image:
        inputs = processor(text=[models.vision._turn(PROMPTS[1])], images=[image], return_tensors="pt")
    ids = inputs["input_ids"][0]
    assert processor.tokenizer.decode(ids[encoded.kinds == 1]).strip() == PROMPTS[1]
    assert (encoded.kinds == 2).sum() == 2
    assert encoded.grid is not None
    assert (encoded.kinds == 3).sum() == encoded.grid[0] * encoded.grid[1]
    first_image = int((encoded.kinds == 3).nonzero()[0])
    assert first_image < int((encoded.kinds == 1).nonzero()[0])


def test_the_record_of_the_sampler_is_what_happens(untrained: Path) -> None:
    models = load_model_set(untrained, "cpu", {"steps": 4, "shift": 1.7})
    denoiser, calls = models.denoiser, []
    assert isinstance(denoiser, ZImageDenoiser)
    handle = denoiser.pipeline.transformer.register_forward_hook(lambda *_: calls.append(1))
    rows = models.text.encode(PROMPTS[0]).hidden
    denoiser.generate([(rows,)], denoiser.initial_latents(0)[None])
    handle.remove()
    record = models.sampler_record
    assert record["transformer_calls"] == len(calls)
    assert torch.equal(torch.tensor(record["sigmas"]), denoiser.pipeline.scheduler.sigmas)
    assert record["sigmas"] != load_model_set(untrained, "cpu", {"steps": 4}).sampler_record["sigmas"]
    assert json.loads(json.dumps(record)) == record


def test_sizes_known_without_loading_agree_with_the_loaded_models(untrained: Path, models: ModelSet) -> None:
    cold = load_model_set(untrained, "cpu")
    assert isinstance(models.denoiser, ZImageDenoiser)
    pipeline, config = models.denoiser.pipeline, models.denoiser.pipeline.transformer.config
    facts = cold.facts
    assert facts.patch_grid == pipeline.vae_scale_factor * config.all_patch_size[0] == 16
    assert facts.longest_caption % facts.caption_bucket == 0
    assert facts.longest_caption + 1 < config.axes_lens[0]
    assert facts.hidden_states == models.vision.model.config.text_config.num_hidden_layers + 1
    assert facts.blocks == len(pipeline.transformer.layers)
    assert facts.caption_width == config.cap_feat_dim
    assert not cold._loaded


def test_latents_do_not_depend_on_torchs_default_dtype(models: ModelSet) -> None:
    expected = models.denoiser.initial_latents(3)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)  # as for a moment while an encoder is loaded
    try:
        found = models.denoiser.initial_latents(3)
    finally:
        torch.set_default_dtype(before)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)


def test_parts_are_loaded_by_the_thread_that_asks(untrained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Libraries that two threads import at once fail now and then, and loading changes settings of the process.
    threads = []

    def seen(method: str) -> None:
        load = getattr(ModelSet, method)

        def noted(self: ModelSet) -> object:
            threads.append(threading.current_thread())
            return load(self)

        monkeypatch.setattr(ModelSet, method, noted)

    for method in ("_load_text", "_load_denoiser"):
        seen(method)
    assert load_model_set(untrained, "cpu").load("text", "denoiser")
    assert threads == [threading.current_thread()] * 2


def test_latents_belong_to_their_seed(models: ModelSet) -> None:
    first = models.denoiser.initial_latents(1)
    assert torch.equal(first, models.denoiser.initial_latents(1))
    assert not torch.equal(first, models.denoiser.initial_latents(2))
    assert first.shape == (16, 16, 16)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("steps = 9", "stepps = 9", "sampler.stepps: unknown key; did you mean 'steps'?"),
        ('dtype = "float32"', 'dtype = "float8"', "dtype"),
        ('clip = "clip"', 'clip = "clop"', "clip: folder 'clop' is missing"),
        ("height = 128", "height = 100", "height = 100 is not a multiple of 16"),
        ("guidance = 0.0", 'negative_prompt = "blurry"', "negative_prompt has no effect without guidance"),
        ("guidance = 0.0", 'negative = "blend"', "negative has no effect without guidance; leave it out"),
        ("guidance = 0.0", "cfg_normalization = true", "cfg_normalization has no effect without guidance"),
        (
            "guidance = 0.0",
            'guidance = 4.0\nnegative = "image"',
            "sampler.negative: Input should be 'prompt' or 'blend'",
        ),
        ("steps = 9", "steps = 2\nsigmas = [1.0]", "sigmas has 1 values, expected one for each of the 2 steps"),
        ("steps = 9", "steps = 2\nsigmas = [0.5, 1.0]", "sigmas must fall from step to step"),
        ("steps = 9", "steps = 1\nsigmas = [1.5]", "sampler.sigmas.0: Input should be less than or equal to 1"),
        ("steps = 9", "steps = 1\nsigmas = [1.0]\nshift = 3.0", "give either sigmas or shift"),
    ],
)
def test_mistakes_in_the_file_are_reported_with_their_field(copy: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        load_model_set(edit(copy, old, new)).check()
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_guidance_is_refused_where_the_family_has_none(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ZImage, "capabilities", frozenset())
    with pytest.raises(UsageError, match=r"guidance = 4.0 is not supported for ZImagePipeline; set it to 0"):
        load_model_set(edit(copy, "guidance = 0.0", "guidance = 4.0")).check()


def test_the_record_holds_the_negative_where_there_is_guidance_and_is_what_it_was_where_there_is_none(
    untrained: Path,
) -> None:
    record = load_model_set(untrained, "cpu").sampler_record
    assert list(record) == ["height", "width", "guidance", "sigmas", "transformer_calls"]
    guided = load_model_set(untrained, "cpu", {"guidance": 4.0, "negative_prompt": "blurry"}).sampler_record
    negative = {"guidance": 4.0, "negative_prompt": "blurry", "negative": "prompt", "cfg_normalization": False}
    assert guided == {**record, **negative}


@pytest.mark.parametrize(
    "gone", ["pipeline/vae/config.json", "vision_language/config.json", "pipeline/model_index.json"]
)
def test_a_missing_file_is_named_before_anything_is_loaded(copy: Path, gone: str) -> None:
    (copy / gone).unlink()
    with pytest.raises(UsageError) as error:
        load_model_set(copy).check()
    assert gone.split("/", 1)[1] in str(error.value)


@pytest.mark.parametrize(
    ("part", "use"),
    [
        ("pipeline/transformer/diffusion_pytorch_model.safetensors", lambda m: m.denoiser),
        ("pipeline/text_encoder/model.safetensors", lambda m: m.text),
        ("vision_language/model.safetensors", lambda m: m.vision),
        ("clip/open_clip_model.safetensors", lambda m: m.clip),
        ("probe/probe.safetensors", lambda m: m.probe),
    ],
)
@pytest.mark.parametrize("damage", ["removed", "truncated"])
def test_missing_or_broken_weights_are_one_line(copy: Path, part: str, use: object, damage: str) -> None:
    path = copy / part
    data = path.read_bytes()
    path.unlink()
    if damage == "truncated":
        path.write_bytes(data[: len(data) // 2])
    with pytest.raises(UsageError) as error:
        use(load_model_set(copy, "cpu"))  # type: ignore[operator]
    assert "\n" not in str(error.value)
    assert part.split("/", maxsplit=1)[0] in str(error.value)


@pytest.mark.parametrize(
    ("part", "use"),
    [
        ("pipeline/transformer/diffusion_pytorch_model.safetensors", lambda m: m.denoiser),
        ("pipeline/vae/diffusion_pytorch_model.safetensors", lambda m: m.denoiser),
        ("pipeline/text_encoder/model.safetensors", lambda m: m.text),
        ("vision_language/model.safetensors", lambda m: m.vision),
    ],
)
def test_weights_that_lack_a_tensor_are_refused(
    copy: Path, part: str, use: object, capfd: pytest.CaptureFixture[str]
) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(copy / part)
    gone = sorted(weights)[len(weights) // 2]
    del weights[gone]
    save_file(weights, copy / part, metadata={"format": "pt"})
    with pytest.raises(UsageError) as error:
        use(load_model_set(copy, "cpu"))  # type: ignore[operator]
    assert f"1 weights are missing, {gone} first" in str(error.value)
    assert capfd.readouterr().err == ""


def test_compiled_networks_are_another_sampler_and_uncompiled_ones_are_the_same_as_ever(untrained: Path) -> None:
    plain, asked, compiled = (load_model_set(untrained, "cpu", {"compile": ask}) for ask in (False, True, True))
    vars(compiled)["device"] = "cuda"
    assert not asked.compiled  # on a CPU nothing is
    assert asked.sampler_record == plain.sampler_record
    assert compiled.sampler_record == {**plain.sampler_record, "compiled": True}
    assert asked.sha256 == compiled.sha256 == plain.sha256


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_reported(untrained: Path) -> None:
    with pytest.raises(UsageError, match="--device cpu"):
        _ = load_model_set(untrained, "cuda").device
    assert load_model_set(untrained).device == "cpu"


def test_shipped_sets_open_without_the_network() -> None:
    for name in list_model_sets():
        models = load_model_set(name)
        assert models.name == name
        assert len(models.sha256) == 64
        assert all(place.local or place.commit for place in models.places.values())
        if all(place.local for place in models.places.values()):
            models.check()
