"""The full-size comparison with the official pipeline, run at tiny sizes on the CPU: it finds equality, and gaps."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from blendbench.models.denoiser import Denoiser

BENCH = Path(__file__).parents[1] / "bench" / "speed"


@pytest.fixture(scope="module")
def script() -> Iterator[ModuleType]:
    sys.path.insert(0, str(BENCH))
    import gpu_equal as module

    yield module
    sys.path.remove(str(BENCH))


@pytest.fixture(scope="module")
def folder(script: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    import full_size

    out = tmp_path_factory.mktemp("models") / "tiny"
    full_size.write_model_set(out, full_size.tiny(), "cpu")
    return out


def test_the_staged_path_equals_the_pipeline_and_a_shift_of_one_rounding_shows(
    script: ModuleType, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = script.compare(folder, "cpu", {"steps": 2})
    for what in ("text", "latents_batch", "latents_single"):
        assert found[what]["equal"]
        assert found[what]["finite"]
    assert min(found["tokens"]) <= 32 < max(found["tokens"])
    assert set(found["peak_gib"]) == {"text", "load", "denoise_one", "decode_one", "denoise_batch"}

    denoise = Denoiser.denoise

    def shifted(self: Denoiser, *given: Any) -> torch.Tensor:
        drawn = denoise(self, *given)
        return drawn + torch.finfo(torch.float32).eps * drawn.abs().max()

    monkeypatch.setattr(Denoiser, "denoise", shifted)
    found = script.compare(folder, "cpu", {"steps": 2})
    assert not found["latents_single"]["equal"]
    assert found["latents_single"]["largest_in_roundings"] == pytest.approx(1, abs=0.6)
