"""Noise levels are resolved once for each request, and every image starts at the first of them."""

import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from blendbench.models.families.z_image.denoiser import ZImageDenoiser
from blendbench.models.families.z_image.pipeline import cache_timesteps
from blendbench.models.sets import load_model_set


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Requests that the scheduler itself had to resolve."""
    requests: list[dict[str, Any]] = []
    resolve = FlowMatchEulerDiscreteScheduler.set_timesteps

    @functools.wraps(resolve)
    def noted(self: Any, **request: Any) -> None:
        requests.append(request)
        resolve(self, **request)

    monkeypatch.setattr(FlowMatchEulerDiscreteScheduler, "set_timesteps", noted)
    return requests


def test_a_request_is_resolved_once_and_left_as_it_was(asked: list[dict[str, Any]]) -> None:
    scheduler, fresh = (FlowMatchEulerDiscreteScheduler(shift=3.0) for _ in range(2))
    cache_timesteps(scheduler)
    for sigmas in ([1.0, 0.5], [1.0, 0.75, 0.25], [1.0, 0.5]):
        scheduler.set_timesteps(sigmas=sigmas, device="cpu")
        FlowMatchEulerDiscreteScheduler.set_timesteps(fresh, sigmas=sigmas, device="cpu")
        assert torch.equal(scheduler.sigmas, fresh.sigmas)
        assert torch.equal(scheduler.timesteps, fresh.timesteps)
        assert (scheduler.num_inference_steps, scheduler.step_index, scheduler.begin_index) == (len(sigmas), None, None)
        scheduler.set_begin_index(0)
        for moment in scheduler.timesteps:  # which moves its index
            scheduler.step(torch.ones(1), moment, torch.ones(1))
    assert len(asked) == 2 + 3


def test_a_second_batch_asks_for_nothing_and_starts_at_the_first_level(
    untrained: Path, asked: list[dict[str, Any]]
) -> None:
    denoiser = load_model_set(untrained, "cpu", {"steps": 2}).denoiser
    assert isinstance(denoiser, ZImageDenoiser)
    rows = torch.randn(20, denoiser.pipeline.transformer.config.cap_feat_dim)
    noise = denoiser.initial_latents(0)[None]
    first = denoiser.denoise([(rows,)], noise)
    before = len(asked)
    assert torch.equal(denoiser.denoise([(rows,)], noise), first)
    assert len(asked) == before
