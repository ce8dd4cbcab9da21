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


@pytest.mark.parametrize("libraries", [("diffusers", "transformers", "torchvision", "torch._dynamo", "open_clip")])
def test_generating_eagerly_imports_torch_alone(untrained: Path, libraries: tuple[str, ...]) -> None:
    command = [sys.executable, "-c", _GENERATE, str(untrained), *libraries]
    called = subprocess.run(command, capture_output=True, text=True, check=True)
    assert called.stdout.split() == []
