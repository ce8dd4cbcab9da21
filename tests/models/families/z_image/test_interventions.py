"""Interventions in the sampling: schedules, injections and starting images, against the cases with a known answer."""

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

import blendbench.models as models_package
from blendbench.core.errors import UsageError
from blendbench.core.suites import load_suite
from blendbench.models.families.base import Injection, Start
from blendbench.models.families.z_image.injection import refined
from blendbench.models.sets import ModelSet, load_model_set


@pytest.fixture(scope="module")
def models(untrained: Path) -> ModelSet:
    return load_model_set(untrained, "cpu", {"steps": 3})


@pytest.fixture(scope="module")
def captions(models: ModelSet) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    width = models.facts.caption_width
    generator = torch.Generator().manual_seed(0)
    rows = [torch.randn(20, width, generator=generator) for _ in range(4)]
    return rows[:2], rows[2:]


@pytest.fixture(scope="module")
def latents(models: ModelSet) -> torch.Tensor:
    return torch.stack([models.denoiser.initial_latents(seed) for seed in (1, 2)])


def constant(rows: list[torch.Tensor]) -> list[tuple[torch.Tensor, ...]]:
    return [(row,) for row in rows]


def gap(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a.int() - b.int()).abs().max())


def test_a_schedule_of_one_conditioning_is_that_conditioning(models, captions, latents) -> None:  # type: ignore[no-untyped-def]
    calls = models.sampler_record["transformer_calls"]
    plain, _ = models.denoiser.generate(constant(captions[0]), latents)
    repeated, _ = models.denoiser.generate([(row,) * calls for row in captions[0]], latents)
    assert np.array_equal(plain, repeated)


def test_each_call_reads_its_own_step_of_a_schedule(models, captions, latents, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    transformer, seen = models.denoiser.pipeline.transformer, []
    forward = transformer.forward

    def watched(x, t, rows, **rest):  # type: ignore[no-untyped-def]
        seen.append([row.clone() for row in rows])
        return forward(x, t, rows, **rest)

    monkeypatch.setattr(transformer, "forward", watched)
    calls = models.sampler_record["transformer_calls"]
    schedule = [tuple(row + step for step in range(calls)) for row in captions[0]]
    models.denoiser.generate(schedule, latents)
    assert len(seen) == calls
    for step, rows in enumerate(seen):
        assert all(torch.equal(row, given[step]) for row, given in zip(rows, schedule, strict=True))


def test_injected_into_all_blocks_a_caption_replaces_the_other_and_into_some_it_lies_between(  # type: ignore[no-untyped-def]
    models, captions, latents
) -> None:
    text, other = captions
    denoiser = models.denoiser
    base, replaced = (denoiser.generate(constant(rows), latents)[0] for rows in captions)
    everywhere, _ = denoiser.generate(constant(text), latents, Injection(other, tuple(range(models.facts.blocks))))
    assert gap(everywhere, replaced) <= 1  # a grey level of rounding
    assert gap(everywhere, base) > 1
    some, _ = denoiser.generate(constant(text), latents, Injection(other, (0, 2)))
    assert gap(some, base) > 1
    assert gap(some, replaced) > 1
    itself, _ = denoiser.generate(constant(text), latents, Injection(text, (0, 1)))
    assert gap(itself, base) <= 1
    after, _ = denoiser.generate(constant(text), latents)
    assert np.array_equal(after, base)  # no hook is left behind


def test_the_refined_caption_does_not_depend_on_the_image(models, captions, latents) -> None:  # type: ignore[no-untyped-def]
    transformer = models.denoiser.pipeline.transformer
    with torch.inference_mode():
        one = refined(transformer, captions[0], latents)
        two = refined(transformer, captions[0], torch.zeros_like(latents))
    assert torch.equal(one, two)
    assert one.shape == (2, 32, transformer.config.dim)


def test_img2img_starts_where_the_scheduler_s_own_noising_puts_it(models, captions, latents, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    denoiser, calls = models.denoiser, []
    images = np.random.default_rng(0).integers(0, 255, (2, 128, 128, 3), dtype=np.uint8)

    def watched(given, time, _captions, **_):  # type: ignore[no-untyped-def]
        calls.append((torch.stack(given).squeeze(2), time))
        return (list(torch.zeros_like(torch.stack(given))),)

    monkeypatch.setattr(denoiser.pipeline.transformer, "forward", watched)
    denoiser.denoise(constant(captions[0]), latents, start=Start(images, 0.6))
    assert len(calls) == 3 - int(3 - 3 * 0.6)
    scheduler = FlowMatchEulerDiscreteScheduler(shift=1.0)
    scheduler.set_timesteps(sigmas=list(models.sigmas[:-1]))
    with torch.inference_mode():
        vae = denoiser.pipeline.vae
        mean = vae.encoder(torch.from_numpy(images).permute(0, 3, 1, 2) / 127.5 - 1).chunk(2, 1)[0]
        clean = (mean - vae.config.shift_factor) * vae.config.scaling_factor
    expected = scheduler.scale_noise(clean, scheduler.timesteps[1:2].expand(2), latents)
    assert torch.allclose(calls[0][0], expected, atol=1e-5)
    assert torch.equal(calls[0][1], (1000 - scheduler.timesteps[1:2].expand(2)) / 1000)


def test_img2img_at_full_strength_ignores_the_image(models, captions, latents) -> None:  # type: ignore[no-untyped-def]
    black, white = np.zeros((2, 128, 128, 3), np.uint8), np.full((2, 128, 128, 3), 255, np.uint8)
    images = [models.denoiser.generate(constant(captions[0]), latents, start=Start(p, 1.0))[0] for p in (black, white)]
    assert np.array_equal(*images)
    assert np.array_equal(images[0], models.denoiser.generate(constant(captions[0]), latents)[0])
    apart = [models.denoiser.generate(constant(captions[0]), latents, start=Start(p, 0.5))[0] for p in (black, white)]
    assert not np.array_equal(*apart)


@pytest.mark.trained
def test_planted_activations_are_in_the_text_and_not_in_the_image_nor_in_what_is_generated() -> None:
    """The shipped variant for outlier experiments: as in Qwen3-4B, one token carries nearly all of two dimensions."""
    plain, planted = (
        load_model_set("miniature", "cpu", {"steps": 1}),
        load_model_set("miniature-planted", "cpu", {"steps": 1}),
    )
    suite = load_suite("miniature")
    item = suite.items[0]
    assert planted.sha256 != plain.sha256
    assert planted.file.planted is not None
    dimensions, values = planted.file.planted.dimensions, planted.file.planted.values
    rows = [models.text.encode(item.prompt).hidden for models in (plain, planted)]
    assert torch.equal(rows[0][1:], rows[1][1:])
    assert (rows[1] - rows[0])[0, dimensions].tolist() == pytest.approx(values)
    seen = [models.vision.encode(item.reference, item.prompt, (-2,))[-2] for models in (plain, planted)]
    assert torch.equal(seen[0].hidden[1:], seen[1].hidden[1:])
    assert (seen[1].hidden - seen[0].hidden)[0, dimensions].tolist() == pytest.approx(values)
    everything = torch.cat([planted.text.encode(each.prompt).hidden for each in suite.items]).square().sum(0)
    assert everything[dimensions].sum() / everything.sum() == pytest.approx(0.977, abs=0.02)
    noise = plain.denoiser.initial_latents(0)[None]
    cleared = rows[0].clone()
    cleared[0, dimensions] = 0
    images = planted.denoiser.generate([(rows[1],)], noise)[0]
    assert np.array_equal(images, plain.denoiser.generate([(cleared,)], noise)[0])


def test_a_plant_of_unequal_lists_is_refused(tmp_path: Path) -> None:
    shipped = (Path(models_package.__file__).parent / "miniature_planted" / "model_set.toml").read_text()
    (tmp_path / "model_set.toml").write_text(shipped.replace("[4, 96]", "[4]"))
    with pytest.raises(UsageError, match="equally many"):
        load_model_set(tmp_path)
