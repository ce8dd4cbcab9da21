"""The staged path is the official pipeline: prompts to latents, bit for bit on one device."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import ZImagePipeline

from blendbench.models.loading import quiet_loading
from blendbench.models.sets import ModelSet, load_model_set

# One word, and so many that the padded lengths of 32 and 64 tokens are both there.
PROMPTS = ["star", "two blue stars on a green background, striped", "a red circle " * 9]


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def both(request: pytest.FixtureRequest, untrained: Path) -> tuple[ModelSet, Any]:
    models = load_model_set(untrained, "cpu", {"steps": 4})
    models.file = models.file.model_copy(update={"dtype": request.param})
    with quiet_loading():
        pipeline = ZImagePipeline.from_pretrained(str(untrained / "pipeline"), dtype=models.torch_dtype)
    pipeline.set_progress_bar_config(disable=True)
    return models, pipeline


def official(pipeline: Any, prompts: list[str], latents: torch.Tensor, kind: str) -> Any:
    return pipeline(
        prompt=list(prompts),
        latents=latents.clone(),
        height=128,
        width=128,
        num_inference_steps=4,
        guidance_scale=0.0,
        max_sequence_length=64,
        output_type=kind,
    ).images


def test_text_is_encoded_as_the_pipeline_does(both: tuple[ModelSet, Any]) -> None:
    models, pipeline = both
    with torch.inference_mode():
        rows, _ = pipeline.encode_prompt(list(PROMPTS), do_classifier_free_guidance=False, max_sequence_length=64)
    encoded = [models.text.encode(prompt) for prompt in PROMPTS]
    assert len({len(each.hidden) for each in encoded}) == len(PROMPTS)
    for ours, theirs in zip(encoded, rows, strict=True):
        assert torch.equal(ours.hidden, theirs.float())
        assert len(ours.kinds) == len(ours.hidden)


@pytest.mark.parametrize("batch", [1, 3])
def test_latents_from_prompts_are_the_pipelines_own(both: tuple[ModelSet, Any], batch: int) -> None:
    models, pipeline = both
    latents = torch.stack([models.denoiser.initial_latents(seed) for seed in range(batch)])
    schedules: list[tuple[torch.Tensor, ...]] = [(models.text.encode(prompt).hidden,) for prompt in PROMPTS[:batch]]
    theirs = official(pipeline, PROMPTS[:batch], latents, "latent")
    assert theirs.isfinite().all()
    assert torch.equal(models.denoiser.denoise(schedules, latents), theirs)


@pytest.mark.parametrize("both", ["float32"], indirect=True)  # bfloat16 convolutions take minutes on a CPU
def test_images_are_the_pipelines_own(both: tuple[ModelSet, Any]) -> None:
    models, pipeline = both
    latents = torch.stack([models.denoiser.initial_latents(seed) for seed in (5, 6)])
    images, finite = models.denoiser.generate([(models.text.encode(p).hidden,) for p in PROMPTS[:2]], latents)
    assert finite.all()
    assert np.array_equal(images, (official(pipeline, PROMPTS[:2], latents, "np") * 255).round().astype(np.uint8))
