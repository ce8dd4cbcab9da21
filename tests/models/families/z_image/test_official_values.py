"""Values and conventions of the official pipelines, each pinned by itself: the table in docs/models.md names them.

Sources: Tongyi-MAI/Z-Image (README.md, src/config, src/zimage), the hub repositories' configurations, and the installed
ZImagePipeline.
"""

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import ZImagePipeline, ZImageTransformer2DModel
from diffusers.models.transformers.transformer_z_image import SEQ_MULTI_OF

from blendbench.models.families.base import Facts
from blendbench.models.families.z_image import ZImage
from blendbench.models.families.z_image.denoiser import NO_GUIDANCE, Guidance, ZImageDenoiser
from blendbench.models.families.z_image.text import Qwen3TextEncoder
from blendbench.models.loading import quiet_loading
from blendbench.models.sets import ModelSet, load_model_set

SCALING, SHIFT = 0.3611, 0.1159
ALIKE = {
    "dtype": "bfloat16",
    "text": {"layer": -2, "max_sequence_length": 512},
    "height": 1024,
    "width": 1024,
    "negative_prompt": "",
    "negative": "prompt",
    "cfg_normalization": False,
}
OFFICIAL = {
    "z-image-turbo": {"pipeline": "Tongyi-MAI/Z-Image-Turbo", "steps": 8, "guidance": 0.0},
    "z-image": {"pipeline": "Tongyi-MAI/Z-Image", "steps": 50, "guidance": 4.0, "shift": 6.0, "sigmas": None},
}


@pytest.fixture(scope="module")
def models(untrained: Path) -> ModelSet:
    return load_model_set(untrained, "cpu", {"steps": 3})


@pytest.fixture(scope="module")
def pipeline(untrained: Path) -> Any:
    with quiet_loading():
        return ZImagePipeline.from_pretrained(str(untrained / "pipeline"), dtype=torch.float32)


@pytest.fixture
def denoiser(models: ModelSet) -> ZImageDenoiser:
    loaded = models.denoiser
    assert isinstance(loaded, ZImageDenoiser)
    return ZImageDenoiser(loaded.pipeline, loaded.size, loaded.sigmas)


def guided(denoiser: ZImageDenoiser, guidance: Guidance) -> ZImageDenoiser:
    """The last level is so low that any truncation would show."""
    return ZImageDenoiser(denoiser.pipeline, denoiser.size, (1.0, 0.5, 0.01, 0.0), guidance)


def rows(length: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(length, 192, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def answer(denoiser: ZImageDenoiser, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[dict[str, Any]]]:
    """Give a function that lets the transformer answer constants, and returns the list that its calls go to."""

    def answering(*values: float) -> list[dict[str, Any]]:
        calls: list[dict[str, Any]] = []

        def forward(latents: list[Any], time: Any, captions: list[Any], **_: Any) -> Any:
            calls.append({"latents": latents, "time": time, "captions": captions})
            return ([torch.full_like(x, values[i * len(values) // len(latents)]) for i, x in enumerate(latents)],)

        monkeypatch.setattr(denoiser.pipeline.transformer, "forward", forward)
        return calls

    return answering


@pytest.mark.parametrize("name", OFFICIAL)
def test_shipped_sets_have_the_official_settings(name: str) -> None:
    file = load_model_set(name, "cpu").file
    found = file.model_dump() | file.sampler.model_dump()
    expected = ALIKE | OFFICIAL[name]
    assert {key: found[key] for key in expected} == expected
    call = inspect.signature(ZImagePipeline.__call__).parameters
    assert call["max_sequence_length"].default == expected["text"]["max_sequence_length"]  # type: ignore[index]
    assert call["cfg_normalization"].default is expected["cfg_normalization"]


def test_the_chat_template_and_the_encoder_are_called_as_by_the_pipeline(
    models: ModelSet, pipeline: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, list[Any]] = {"ours": [], "official": []}
    assert isinstance(models.text, Qwen3TextEncoder)
    parts = {
        "ours": (models.text.tokenizer, models.text.encoder),
        "official": (pipeline.tokenizer, pipeline.text_encoder),
    }
    for owner, (tokenizer, encoder) in parts.items():
        template, forward = tokenizer.apply_chat_template, encoder.forward

        def chat(messages: Any, owner: str = owner, template: Any = template, **options: Any) -> Any:
            if messages[0]["content"]:  # ours also asks for the empty prompt, to know the template's length
                seen[owner].append((messages, options))
            return template(messages, **options)

        def encode(*given: Any, owner: str = owner, forward: Any = forward, **named: Any) -> Any:
            seen[owner].append((named["input_ids"].tolist(), named["attention_mask"].tolist()))
            return forward(*given, **named)

        monkeypatch.setattr(tokenizer, "apply_chat_template", chat)
        monkeypatch.setattr(encoder, "forward", encode)
    ours = models.text.encode("a red circle").hidden
    theirs = pipeline.encode_prompt(["a red circle"], do_classifier_free_guidance=False, max_sequence_length=64)[0][0]
    assert torch.equal(ours, theirs.float())
    asked = ([{"role": "user", "content": "a red circle"}],)
    options = {"tokenize": False, "add_generation_prompt": True, "enable_thinking": True}
    assert seen["official"][0] == (*asked, options)
    assert all(each == (*asked, options) for each in seen["ours"][:-1])
    assert seen["ours"][-1] == seen["official"][-1]
    (ids,), (mask,) = seen["ours"][-1]
    assert (len(ids), sum(mask)) == (64, len(ours))  # padded to the longest length, and masked


def test_captions_are_padded_to_the_official_multiple_with_the_pad_token(denoiser: ZImageDenoiser) -> None:
    assert SEQ_MULTI_OF == 32
    noise, pad = denoiser.initial_latents(0)[None], denoiser.pipeline.transformer.cap_pad_token

    def made(length: int) -> torch.Tensor:
        return denoiser.denoise([(rows(length),)], noise)

    before, kept = [made(20), made(32)], pad.data.clone()
    try:
        pad.data += 1
        assert not torch.equal(made(20), before[0])
        assert torch.equal(made(32), before[1])
    finally:
        pad.data.copy_(kept)


def test_positions_are_the_caption_from_1_on_and_then_the_image(
    denoiser: ZImageDenoiser, monkeypatch: pytest.MonkeyPatch
) -> None:
    transformer, asked = denoiser.pipeline.transformer, []
    embedder = transformer.rope_embedder

    def watched(ids: torch.Tensor) -> Any:
        asked.append(ids)
        return embedder(ids)

    monkeypatch.setattr(transformer, "rope_embedder", watched)
    denoiser.denoise([(rows(20),)], denoiser.initial_latents(0)[None])
    image, caption = asked[:2]
    # What diffusers adds behind the padded caption is cut off.
    assert caption[:32].tolist() == [[1 + i, 0, 0] for i in range(32)]
    assert image.tolist() == [[33, y, x] for y in range(8) for x in range(8)]


def test_rotary_axes_and_sizes_are_the_official_ones(tmp_path: Path) -> None:
    """Of transformer/config.json, vae/config.json and Qwen3-VL's config.json, the same in both repositories."""
    configs: dict[str, dict[str, Any]] = {
        "pipeline/transformer": {
            "all_patch_size": [2],
            "axes_dims": [32, 48, 48],
            "axes_lens": [1536, 512, 512],
            "cap_feat_dim": 2560,
            "n_layers": 30,
        },
        "pipeline/vae": {"block_out_channels": [128, 256, 512, 512], "latent_channels": 16},
        "vision_language": {
            "text_config": {"num_hidden_layers": 36},
            "vision_config": {"deepstack_visual_indexes": [5, 11, 17]},
        },
    }
    for place, config in configs.items():
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "config.json").write_text(json.dumps(config))
    facts = ZImage(tmp_path / "pipeline", tmp_path / "vision_language").facts
    assert facts == Facts(16, 1504, SEQ_MULTI_OF, 30, 2560, 37, 3)
    made = inspect.signature(ZImageTransformer2DModel.__init__).parameters
    assert made["axes_dims"].default == configs["pipeline/transformer"]["axes_dims"]
    assert (made["rope_theta"].default, made["t_scale"].default) == (256.0, 1000.0)


def test_the_time_of_a_step_is_1_minus_its_noise_level(
    denoiser: ZImageDenoiser, answer: Callable[..., list[dict[str, Any]]]
) -> None:
    calls = answer(0.0)
    denoiser.denoise([(rows(20),)] * 2, torch.stack([denoiser.initial_latents(0)] * 2))
    assert len(calls) == len(denoiser.sigmas) - 1
    for call, sigma in zip(calls, denoiser.sigmas, strict=False):
        assert call["time"].tolist() == pytest.approx([1 - sigma] * 2, abs=1e-6)


def test_the_transformer_answers_the_velocity_towards_the_image(
    denoiser: ZImageDenoiser, answer: Callable[..., list[dict[str, Any]]]
) -> None:
    """All steps together go from noise level 1 to 0, so a constant answer is added once."""
    answer(0.25)
    noise = denoiser.initial_latents(0)[None]
    torch.testing.assert_close(denoiser.denoise([(rows(20),)], noise), noise + 0.25, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("guidance", "velocity"),
    [
        (Guidance(3.0), 2 + 3 * (2 - 1)),
        (Guidance(0.5), 2 + 0.5 * (2 - 1)),  # src/zimage/pipeline.py has guidance above 1 only
        (Guidance(3.0, normalized=True), 2),
    ],
    ids=["formula", "below 1", "normalized"],
)
def test_guidance_leads_away_from_the_negative_by_the_official_formula(
    denoiser: ZImageDenoiser, answer: Callable[..., list[dict[str, Any]]], guidance: Guidance, velocity: float
) -> None:
    calls = answer(2.0, 1.0)
    noise = torch.stack([denoiser.initial_latents(seed) for seed in (0, 1)])
    conditionings, negatives = [rows(20), rows(50)], [rows(12), rows(33)]
    found = guided(denoiser, guidance).denoise(
        [(each,) for each in conditionings], noise, negatives=[(each,) for each in negatives]
    )
    torch.testing.assert_close(found, noise + velocity, atol=1e-5, rtol=0)
    # One batch, conditionings first, in every step: nothing is truncated.
    assert len(calls) == 3
    for call in calls:
        assert [len(caption) for caption in call["captions"]] == [20, 50, 12, 33]
        assert len(call["latents"]) == len(call["time"]) == 4
        assert torch.equal(call["latents"][0], call["latents"][2])


def test_without_guidance_the_transformer_is_evaluated_once_a_step(
    denoiser: ZImageDenoiser, answer: Callable[..., list[dict[str, Any]]]
) -> None:
    calls = answer(1.0)
    assert denoiser.guidance == NO_GUIDANCE
    denoiser.denoise([(rows(20),)], denoiser.initial_latents(0)[None])
    assert [len(call["latents"]) for call in calls] == [1] * (len(denoiser.sigmas) - 1)


def test_initial_latents_are_the_pipeline_s_for_a_generator_of_the_cpu(denoiser: ZImageDenoiser, pipeline: Any) -> None:
    ours = denoiser.initial_latents(5)
    channels = pipeline.transformer.in_channels
    theirs = pipeline.prepare_latents(1, channels, 128, 128, torch.float32, "cpu", torch.Generator().manual_seed(5))
    assert torch.equal(ours[None], theirs)
    assert (ours.dtype, tuple(ours.shape)) == (torch.float32, (16, 128 // 8, 128 // 8))


def test_networks_compute_in_the_set_s_dtype_and_steps_in_float32(untrained: Path) -> None:
    models = load_model_set(untrained, "cpu", {"steps": 1})
    models.file = models.file.model_copy(update={"dtype": "bfloat16"})
    loaded = models.denoiser
    assert isinstance(loaded, ZImageDenoiser)
    seen = []
    hook = loaded.pipeline.transformer.register_forward_pre_hook(lambda _, given: seen.append(given))
    found = loaded.denoise([(rows(20),)], loaded.initial_latents(0)[None])
    hook.remove()
    ((latents, time, captions),) = seen
    assert (latents[0].dtype, captions[0].dtype, time.dtype) == (torch.bfloat16, torch.bfloat16, torch.float32)
    assert (found.dtype, loaded.pipeline.vae.dtype) == (torch.float32, torch.bfloat16)


def test_latents_are_unscaled_and_decoded_and_rounded_as_officially(tiny_set: Path) -> None:
    """With the factors of vae/config.json, which the set in the published layout has."""
    denoiser = load_model_set(tiny_set, "cpu", {"steps": 1}).denoiser
    assert isinstance(denoiser, ZImageDenoiser)
    latents = 3 * denoiser.initial_latents(0)[None]
    found, finite = denoiser.decode(latents)
    with torch.inference_mode():
        decoded = denoiser.pipeline.vae.decode(latents / SCALING + SHIFT).sample
    expected = ((decoded / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
    assert torch.equal(found, expected.permute(0, 2, 3, 1))
    assert finite.all()
    assert int(found.max()) - int(found.min()) > 50
