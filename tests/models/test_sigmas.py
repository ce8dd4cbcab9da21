"""Noise levels equal diffusers' own, bit for bit."""

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.pipelines.z_image.pipeline_z_image import get_default_z_image_sigmas

from blendbench.models import sigmas
from blendbench.models.sets import load_model_set

OFFICIAL = [1.0, 0.95454544, 0.9, 0.8333333, 0.75, 0.64285713, 0.5, 0.3, 0.0]


def scheduled(steps: int, shift: float) -> torch.Tensor:
    scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
    scheduler.set_timesteps(sigmas=get_default_z_image_sigmas(steps))
    found: torch.Tensor = scheduler.sigmas
    return found


@pytest.mark.parametrize(("steps", "shift"), [(9, 3.0), (8, 3.0), (1, 3.0), (4, 1.7), (28, 6.0), (50, 1.0)])
def test_levels_are_those_of_the_scheduler(steps: int, shift: float) -> None:
    found = torch.tensor(sigmas.resolve(steps, shift), dtype=torch.float32)
    assert torch.equal(found, scheduled(steps, shift))


def test_explicit_levels_are_not_shifted_and_a_recorded_list_gives_the_same_record() -> None:
    levels = sigmas.resolve(9, 3.0)
    assert sigmas.resolve(9, 3.0, levels[:-1]) == levels
    assert sigmas.resolve(2, 3.0, [1.0, 0.3]) == (1.0, 0.3, 0.0)


def test_the_turbo_model_set_gets_the_eight_official_levels() -> None:
    """Source: the official inference code, s = 3 u / (1 + 2 u) for u = 1, 7/8 ... 1/8."""
    models = load_model_set("z-image-turbo", "cpu")
    assert models.file.sampler.sigmas is not None
    levels = sigmas.resolve(models.file.sampler.steps, 1.0, models.file.sampler.sigmas)
    assert list(levels) == OFFICIAL
    assert torch.equal(torch.tensor(levels, dtype=torch.float32), scheduled(8, 3.0))
    u = np.arange(8, 0, -1) / 8
    assert levels[:-1] == pytest.approx(3 * u / (1 + 2 * u), abs=1e-7)


def test_the_base_model_set_gets_its_fifty_official_levels() -> None:
    """Source: scheduler/scheduler_config.json and the same formula, s = 6 u / (1 + 5 u) for u = 1, 49/50 ... 1/50."""
    sampler = load_model_set("z-image", "cpu").file.sampler
    assert (sampler.steps, sampler.shift, sampler.sigmas) == (50, 6.0, None)
    levels = sigmas.resolve(50, 6.0)
    assert torch.equal(torch.tensor(levels, dtype=torch.float32), scheduled(50, 6.0))
    u = np.arange(50, 0, -1) / 50
    assert levels[:-1] == pytest.approx(6 * u / (1 + 5 * u), abs=2e-7)
    assert [round(level, 4) for level in (*levels[:3], *levels[-3:])] == [1.0, 0.9966, 0.9931, 0.2, 0.1091, 0.0]


def test_the_miniature_keeps_its_nine_steps() -> None:
    models = load_model_set("miniature", "cpu")
    assert torch.equal(torch.tensor(models.sigmas, dtype=torch.float32), scheduled(9, 3.0))
    assert models.sampler_record["transformer_calls"] == 9


def test_other_steps_replace_explicit_levels(untrained: Path, tmp_path: Path) -> None:
    text = (untrained / "model_set.toml").read_text()
    for name in ("pipeline", "vision_language", "clip", "siglip", "judge", "probe"):
        (tmp_path / name).symlink_to(untrained / name)
    (tmp_path / "model_set.toml").write_text(text.replace("steps = 9", "steps = 2\nsigmas = [1.0, 0.3]"))
    assert load_model_set(tmp_path, "cpu").sigmas == (1.0, 0.3, 0.0)
    assert load_model_set(tmp_path, "cpu", {"height": 64}).sigmas == (1.0, 0.3, 0.0)
    assert load_model_set(tmp_path, "cpu", {"steps": 3}).sigmas == load_model_set(untrained, "cpu", {"steps": 3}).sigmas
