"""Generating loads no library that it does not need: imports take longer than weights."""

import subprocess
import sys
from pathlib import Path

import pytest

_GENERATE = """
import sys
from pathlib import Path
import torch
from blendbench.models.sets import load_model_set
denoiser = load_model_set(Path(sys.argv[1]), "cpu", {"steps": 1}).denoiser
denoiser.generate([(torch.zeros(20, 192),)], denoiser.initial_latents(0)[None])
print(" ".join(name for name in sys.argv[2:] if name in sys.modules))
"""


@pytest.mark.parametrize("modules", [("diffusers.pipelines.pipeline_utils", "open_clip", "timm")])
def test_generating_imports_neither_pipelines_nor_scorers(untrained: Path, modules: tuple[str, ...]) -> None:
    command = [sys.executable, "-c", _GENERATE, str(untrained), *modules]
    called = subprocess.run(command, capture_output=True, text=True, check=True)
    assert called.stdout.split() == []
