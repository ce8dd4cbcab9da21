"""The full-size comparison with the official pipeline, run at tiny sizes on the CPU: it finds equality, and gaps."""

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from blendbench.models.families.z_image.denoiser import ZImageDenoiser


@pytest.fixture
def script(speed_scripts: Path) -> ModuleType:
    import gpu_equal as module

    return module


GUIDED = {"steps": 2, "guidance": 2.0, "negative_prompt": "a red fox", "cfg_normalization": True}


@pytest.mark.parametrize("settings", [{"steps": 2}, GUIDED], ids=["alone", "guided"])
def test_the_staged_path_equals_the_pipeline_and_a_shift_of_one_rounding_shows(
    script: ModuleType, tiny_set: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]
) -> None:
    found = script.compare(tiny_set, "cpu", settings)
    for what in ("text", "latents_batch", "latents_single"):
        assert found[what]["equal"]
        assert found[what]["finite"]
    assert min(found["tokens"]) <= 32 < max(found["tokens"])
    assert set(found["peak_gib"]) == {"text", "load", "denoise_one", "decode_one", "denoise_batch"}

    denoise = ZImageDenoiser.denoise

    def shifted(self: ZImageDenoiser, *given: Any, **named: Any) -> torch.Tensor:
        images = denoise(self, *given, **named)
        return images + torch.finfo(torch.float32).eps * images.abs().max()

    monkeypatch.setattr(ZImageDenoiser, "denoise", shifted)
    found = script.compare(tiny_set, "cpu", settings)
    assert not found["latents_single"]["equal"]
    assert found["latents_single"]["largest_in_roundings"] == pytest.approx(1, abs=0.6)
