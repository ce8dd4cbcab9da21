"""Compiled graphs are kept between processes, and never used for anything else."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

_COMPILED = """
import json, sys
import torch
from torch import nn
from pathlib import Path
from blendbench.models.compilation import Compiled

def double(layer, x, mask):
    return layer(x).relu() * 2 if mask is None else layer(x).relu() * mask

identity, folder = sys.argv[1], Path(sys.argv[2])
traced = []
if len(sys.argv) > 3:
    mark = torch._dynamo.maybe_mark_dynamic
    torch._dynamo.maybe_mark_dynamic = lambda *given: traced.append(1) or mark(*given)
torch.manual_seed(0)
layers = [nn.Linear(8, 8).requires_grad_(False) for _ in range(2)]
kept = Compiled(double, (1, 2), identity, folder)
plain = Compiled(double, (1, 2), identity, None)
found = []
with torch.inference_mode():
    for layer in layers:
        for tokens in (16, 24):
            x = torch.linspace(-1, 1, 2 * tokens * 8).reshape(2, tokens, 8)
            found.append(kept(layer, x, None))
            if not traced:
                assert torch.allclose(found[-1], double(layer, x, None), atol=1e-6)
    calls = len(traced)
    assert torch.equal(plain(layer, x, None), found[-1])
print(json.dumps([calls, [x.double().sum().item() for x in found], len(list(folder.glob("*.graph")))]))
"""


def compiled(identity: str, folder: Path, *more: str) -> Any:
    command = [sys.executable, "-c", _COMPILED, identity, str(folder), *more]
    called = subprocess.run(command, capture_output=True, text=True, check=False)
    assert called.returncode == 0, called.stderr
    assert "cannot be kept" not in called.stderr
    return json.loads(called.stdout)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="torch compiles for a CPU with g++")
def test_a_graph_is_made_once_and_gives_the_same_bits_in_the_next_process(tmp_path: Path) -> None:
    _, first, kept = compiled("one", tmp_path)
    assert kept == 1  # for both layers, and for any number of tokens
    traced, second, kept = compiled("one", tmp_path, "counting")
    assert (traced, second, kept) == (0, first, 1)
    *_, kept = compiled("two", tmp_path)
    assert kept == 2  # of other code or another configuration


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="torch compiles for a CPU with g++")
def test_a_damaged_graph_is_removed_and_not_used(tmp_path: Path) -> None:
    _, first, _ = compiled("one", tmp_path)
    (path,) = tmp_path.glob("*.graph")
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    command = [sys.executable, "-c", _COMPILED, "one", str(tmp_path)]
    called = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "damaged, it was removed" in called.stderr
    _, again, kept = json.loads(called.stdout)
    assert (again, kept) == (first, 0)
    assert compiled("one", tmp_path)[1:] == [first, 1]
