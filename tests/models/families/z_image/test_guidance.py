"""Classifier-free guidance is the official pipeline's, bit for bit, with schedules, injections and starting images."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import ZImagePipeline

from blendbench.models.families.base import Injection, Start
from blendbench.models.families.z_image import denoiser as denoiser_module
from blendbench.models.families.z_image.denoiser import Guidance, ZImageDenoiser
from blendbench.models.loading import quiet_loading
from blendbench.models.sets import ModelSet, load_model_set

# Padded lengths of 32 and 64 tokens, among the prompts and between them and the negative.
PROMPTS = ["star", "two blue stars on a green background, striped", "a red circle " * 9]
NEGATIVE = "a red circle " * 8
SCALE = 3.5


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def both(request: pytest.FixtureRequest, untrained: Path) -> tuple[ModelSet, Any]:
    models = load_model_set(untrained, "cpu", {"steps": 3, "guidance": SCALE})
    models.file = models.file.model_copy(update={"dtype": request.param})
    with quiet_loading():
        pipeline = ZImagePipeline.from_pretrained(str(untrained / "pipeline"), dtype=models.torch_dtype)
    pipeline.set_progress_bar_config(disable=True)
    return models, pipeline


@pytest.fixture(scope="module")
def guided(untrained: Path) -> ZImageDenoiser:
    found = load_model_set(untrained, "cpu", {"steps": 3, "guidance": SCALE}).denoiser
    assert isinstance(found, ZImageDenoiser)
    assert found.guidance == Guidance(SCALE, normalized=False)
    return found


def rows(seed: int, length: int) -> torch.Tensor:
    return torch.randn(length, 192, generator=torch.Generator().manual_seed(seed))


CAPTIONS, NEGATIVES = [rows(1, 20), rows(2, 50)], [rows(3, 12), rows(4, 40)]


def constant(captions: list[torch.Tensor]) -> list[tuple[torch.Tensor, ...]]:
    return [(caption,) for caption in captions]


@pytest.fixture(scope="module")
def noise(guided: ZImageDenoiser) -> torch.Tensor:
    return torch.stack([guided.initial_latents(seed) for seed in (1, 2)])


@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize("batch", [1, 3])
def test_guided_latents_from_prompts_are_the_pipelines_own(
    both: tuple[ModelSet, Any], batch: int, normalized: bool
) -> None:
    models, pipeline = both
    assert isinstance(models.denoiser, ZImageDenoiser)
    loaded = models.denoiser
    denoiser = ZImageDenoiser(loaded.pipeline, loaded.size, loaded.sigmas, Guidance(SCALE, normalized))
    latents = torch.stack([denoiser.initial_latents(seed) for seed in range(batch)])
    theirs = pipeline(
        prompt=PROMPTS[:batch],
        negative_prompt=[NEGATIVE] * batch,
        latents=latents.clone(),
        height=128,
        width=128,
        num_inference_steps=3,
        guidance_scale=SCALE,
        cfg_normalization=normalized,
        max_sequence_length=64,
        output_type="latent",
    ).images
    conditionings = [models.text.encode(prompt).hidden for prompt in PROMPTS[:batch]]
    negatives = constant([models.text.encode(NEGATIVE).hidden] * batch)
    assert theirs.isfinite().all()
    assert torch.equal(denoiser.denoise(constant(conditionings), latents, negatives=negatives), theirs)
    unguided = ZImageDenoiser(loaded.pipeline, loaded.size, loaded.sigmas)
    assert not torch.equal(unguided.denoise(constant(conditionings), latents), theirs)


def test_the_default_negative_is_the_empty_prompt_as_in_the_pipeline(both: tuple[ModelSet, Any]) -> None:
    models, pipeline = both
    with torch.inference_mode():
        _, (theirs,) = pipeline.encode_prompt(["star"], do_classifier_free_guidance=True, max_sequence_length=64)
    assert models.file.sampler.negative_prompt == ""
    assert torch.equal(models.text.encode(models.file.sampler.negative_prompt).hidden, theirs.float())


def test_another_negative_gives_another_image_and_none_is_an_error(guided: ZImageDenoiser, noise: torch.Tensor) -> None:
    one = guided.denoise(constant(CAPTIONS), noise, negatives=constant(NEGATIVES))
    assert not torch.equal(one, guided.denoise(constant(CAPTIONS), noise, negatives=constant(CAPTIONS)))
    with pytest.raises(ValueError, match="guidance needs negatives"):
        guided.denoise(constant(CAPTIONS), noise)


def test_each_call_reads_its_own_step_of_both_schedules(
    guided: ZImageDenoiser, noise: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    transformer, seen = guided.pipeline.transformer, []
    forward = transformer.forward

    def watched(x: Any, t: Any, captions: list[torch.Tensor], **rest: Any) -> Any:
        seen.append([caption.clone() for caption in captions])
        return forward(x, t, captions, **rest)

    monkeypatch.setattr(transformer, "forward", watched)
    schedules = [tuple(caption + step for step in range(3)) for caption in CAPTIONS]
    against = [tuple(caption - step for step in range(3)) for caption in NEGATIVES[:1]] + constant(NEGATIVES[1:])
    guided.denoise(schedules, noise, negatives=against)
    assert len(seen) == 3
    for step, captions in enumerate(seen):
        expected = [schedule[min(step, len(schedule) - 1)] for schedule in (*schedules, *against)]
        assert all(map(torch.equal, captions, expected))


def test_captions_are_injected_into_both_halves_of_the_batch(guided: ZImageDenoiser, noise: torch.Tensor) -> None:
    others, against = [rows(5, 20), rows(6, 50)], [rows(7, 12), rows(8, 40)]
    blocks = tuple(range(len(guided.pipeline.transformer.layers)))

    def made(conditionings: list[torch.Tensor], negatives: list[torch.Tensor], *injected: torch.Tensor) -> torch.Tensor:
        injection = Injection(list(injected), blocks) if injected else None
        return guided.denoise(constant(conditionings), noise, injection, negatives=constant(negatives))

    def close(a: torch.Tensor, b: torch.Tensor) -> bool:
        return torch.allclose(a, b, atol=1e-3)

    base = made(CAPTIONS, NEGATIVES)
    assert close(made(CAPTIONS, NEGATIVES, *others, *against), made(others, against))
    # A negative that is injected as it is reads what it read before.
    assert close(made(CAPTIONS, NEGATIVES, *others, *NEGATIVES), made(others, NEGATIVES))
    assert close(made(CAPTIONS, NEGATIVES, *CAPTIONS, *NEGATIVES), base)
    for different in (made(others, against), made(others, NEGATIVES)):
        assert not close(different, base)


def test_a_starting_image_is_one_for_both_halves(guided: ZImageDenoiser, noise: torch.Tensor) -> None:
    images = np.random.default_rng(0).integers(0, 255, (2, 128, 128, 3), dtype=np.uint8)
    plain, started = (
        guided.denoise(constant(CAPTIONS), noise, start=start, negatives=constant(NEGATIVES))
        for start in (None, Start(images, 1.0))
    )
    assert torch.equal(plain, started)
    partly = guided.denoise(constant(CAPTIONS), noise, start=Start(images, 0.4), negatives=constant(NEGATIVES))
    assert partly.isfinite().all()
    assert not torch.allclose(partly, plain, atol=1e-2)


def test_warming_up_takes_one_step_with_and_without_a_mask(
    guided: ZImageDenoiser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(denoiser_module, "_WARM_UP_TOKENS", (40,))
    seen: list[list[int]] = []

    def noted(_: Any, given: tuple[Any, ...]) -> None:
        seen.append([len(caption) for caption in given[2]])

    hook = guided.pipeline.transformer.register_forward_pre_hook(noted)
    before = guided.sigmas
    guided.warm_up(1)
    hook.remove()
    assert seen == [[40, 40], [40, 1]]
    assert guided.sigmas == before
