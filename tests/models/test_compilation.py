"""Compiled graphs are kept between processes, and never used for anything else."""

import itertools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from blendbench.models.compilation import Compiled

# The networks as a folder's configuration makes them, where diffusers fills in what it lacks.
_NETWORKS = """
import json, sys
import torch
from diffusers import AutoencoderKL, ZImageTransformer2DModel
from pathlib import Path
from blendbench.models.families.z_image import fast

folder, traced = Path(sys.argv[1]), []
mark = torch._dynamo.maybe_mark_dynamic
torch._dynamo.maybe_mark_dynamic = lambda *given: traced.append(1) or mark(*given)
torch.manual_seed(0)
sizes = {"dim": 64, "n_layers": 2, "n_refiner_layers": 1, "n_heads": 2, "n_kv_heads": 2, "cap_feat_dim": 64}
lengths = {"axes_dims": [8, 12, 12], "axes_lens": [1536, 64, 64]}
transformer = ZImageTransformer2DModel.from_config({**sizes, **lengths})
levels = {"block_out_channels": (8,), "norm_num_groups": 4, "latent_channels": 16, "mid_block_add_attention": False}
vae = AutoencoderKL.from_config(levels)
for network in (transformer, vae):
    network.eval().requires_grad_(False)
fast.rearrange(transformer)
fast.compile_blocks(transformer, folder)
fast.compile_decoder(vae, folder)
found = []
with torch.inference_mode():
    for tokens in (64, 96, 70):  # the last is padded within the network, and has other strides
        caption, latents = torch.linspace(-1, 1, tokens * 64).reshape(tokens, 64), torch.full((16, 1, 8, 8), 0.3)
        found.append(transformer([latents], torch.full((1,), 0.5), [caption], return_dict=False)[0][0])
    traced_blocks = len(traced)
    found.append(vae.decode(torch.linspace(-1, 1, 16 * 64).reshape(1, 16, 8, 8), return_dict=False)[0])
print(json.dumps([traced_blocks, [x.double().sum().item() for x in found], len(list(folder.glob("*.graph")))]))
"""


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="torch compiles for a CPU with g++")
def test_networks_are_compiled_once_and_give_the_same_bits_in_the_next_process(tmp_path: Path) -> None:
    found = []
    for seed in ("1", "2"):  # of hashes: the order of a set is another one
        command = [sys.executable, "-c", _NETWORKS, str(tmp_path)]
        settings = os.environ | {"PYTHONHASHSEED": seed}
        called = subprocess.run(command, capture_output=True, text=True, check=True, env=settings)
        assert "cannot be kept" not in called.stderr
        found.append(json.loads(called.stdout))
    (first, bits, kept), (second, again, in_all) = found
    assert first == 4  # two tensors of each graph of blocks, once
    assert (second, again) == (0, bits)
    assert kept == in_all == 3  # blocks with and without modulation, for captions of any length, and the decoder


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="torch compiles for a CPU with g++")
def test_a_damaged_graph_is_removed_and_not_used(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    layers = [nn.Linear(8, 8).requires_grad_(False) for _ in range(2)]

    def graphs() -> list[Path]:
        return list(tmp_path.glob("*.graph"))

    def bits(identity: str = "one", folder: Path | None = tmp_path) -> list[Tensor]:
        kept, found = Compiled(doubled, (1, 2), identity, folder), []
        with torch.inference_mode():
            for layer, tokens in itertools.product(layers, (16, 24)):
                x = torch.linspace(-1, 1, 2 * tokens * 8).reshape(2, tokens, 8)
                found.append(kept(layer, x, None))
                torch.testing.assert_close(found[-1], doubled(layer, x, None), atol=1e-6, rtol=0)
        return found

    first = bits()
    (path,) = graphs()  # for both layers, and for any number of tokens
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert all(map(torch.equal, bits(), first))
    assert graphs() == []
    assert "damaged, it was removed" in capfd.readouterr().err
    assert all(map(torch.equal, bits(), first))
    assert graphs() == [path]
    bits("two")
    assert len(graphs()) == 2  # of other code or another configuration
    assert all(map(torch.equal, bits(folder=None), first))
    assert capfd.readouterr().err == ""


def doubled(layer: nn.Module, x: Tensor, mask: Tensor | None) -> Tensor:
    out: Tensor = layer(x).relu() * (2 if mask is None else mask)
    return out
