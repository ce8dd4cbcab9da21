"""Load networks: only safetensors, no remote code, no random weights."""

import json
import re
import sys
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from blendbench.models.fp8 import Fp8Linear, quantised, require_fp8
from blendbench.models.layout import header, weight_shards

# Threads that read weights: enough to keep a disk and the way to a GPU busy.
_READERS = 8


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Silence transformers, diffusers (where it is loaded) and the hub client within the context."""
    import_module("transformers.utils.logging")
    names = ("transformers.utils.logging", "diffusers.utils.logging")
    libraries = [sys.modules[name] for name in names if name in sys.modules]
    before = [(library, library.is_progress_bar_enabled(), library.get_verbosity()) for library in libraries]
    for library in libraries:
        library.disable_progress_bar()
        library.set_verbosity_error()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"huggingface_hub\.")
            yield
    finally:
        for library, shown, verbosity in before:
            library.set_verbosity(verbosity)
            if shown:
                library.enable_progress_bar()


def read_network(
    folder: Path, dtype: torch.dtype, device: str, fp8: re.Pattern[str] | None = None
) -> dict[str, Tensor]:
    """Read the weights of one of diffusers' networks from its folder to the device.

    Those whose whole names match `fp8` are rounded to it as they come; their scales are named NAME.scale.
    Errors: ValueError for a GPU without fp8.
    """
    if fp8 is not None:
        require_fp8(device)
    return read_weights(weight_shards(folder, ("diffusion_pytorch_model",)), dtype, device, fp8)


def assemble(kind: Any, folder: Path, weights: dict[str, Tensor]) -> Any:
    """Build a network of diffusers' class `kind` by the folder's configuration around weights that were read.

    Nothing is initialised first. Errors: ValueError if a weight is missing or of another shape.
    """
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    with torch.device("meta"):
        network = kind.from_config(config)
    expected = network.state_dict()
    if missing := sorted(expected.keys() - weights.keys()):
        raise ValueError(f"{kind.__name__}: {len(missing)} weights are missing, {missing[0]} first")
    for name, weight in expected.items():
        if weight.shape != weights[name].shape:
            shapes = tuple(weights[name].shape), tuple(weight.shape)
            raise ValueError(f"{kind.__name__}: {name} has shape {shapes[0]}, expected {shapes[1]}")
    network.requires_grad_(False)
    network.load_state_dict({name: weights[name] for name in expected}, assign=True)
    for name in expected:
        if (scale := weights.get(f"{name}.scale")) is not None:
            network.set_submodule(name.removesuffix(".weight"), Fp8Linear(weights[name], scale))
    return network.eval()


def read_weights(
    files: list[Path], dtype: torch.dtype | None, device: str, fp8: re.Pattern[str] | None = None
) -> dict[str, Tensor]:
    """Read weights of safetensors files to a device, several at a time.

    `dtype`: what floating-point weights are cast to; None leaves them as they are. `device`: "cpu" or "cuda". `fp8`:
    names of weights that become fp8, as `read_network` returns them.
    """
    sizes = {
        (path, name): entry["data_offsets"][1] - entry["data_offsets"][0]
        for path in files
        for name, entry in header(path).items()
    }
    # The largest first, dealt out in turn: every reader gets about as many bytes.
    order = sorted(sizes, key=lambda key: (-sizes[key], key))
    readers = min(_READERS, len(order)) or 1
    with ThreadPoolExecutor(readers, "reader") as pool:
        parts = pool.map(lambda keys: _read(keys, dtype, device, fp8), [order[i::readers] for i in range(readers)])
    found = {name: weight for part in parts for name, weight in part.items()}
    return found


def _read(
    keys: list[tuple[Path, str]], dtype: torch.dtype | None, device: str, fp8: re.Pattern[str] | None
) -> dict[str, Tensor]:
    opened: dict[Path, Any] = {}
    found: dict[str, Tensor] = {}
    for path, name in keys:
        if path not in opened:
            opened[path] = safe_open(path, "pt")
        weight = opened[path].get_tensor(name)
        cast = dtype if weight.is_floating_point() else None
        # On the CPU a weight must not stay a view of the file, which may change.
        weight = weight.to(device, cast, copy=device == "cpu")
        if fp8 is not None and fp8.fullmatch(name):
            weight, found[f"{name}.scale"] = quantised(weight)
        found[name] = weight
    return found


def load_complete(kind: Any, folder: Path, dtype: torch.dtype, device: str) -> Any:
    """Load a network of transformers' class `kind` from safetensors onto `device`.

    With the package accelerate each tensor goes from the file straight to a GPU and host memory never holds the
    network; without it, the network passes through host memory. Errors: ValueError if a weight is missing, which `kind`
    would fill with random values; OSError if there are only pickles.
    """
    straight = device != "cpu" and find_spec("accelerate") is not None
    network, report = kind.from_pretrained(
        str(folder),
        dtype=dtype,
        use_safetensors=True,
        output_loading_info=True,
        local_files_only=True,
        **({"device_map": {"": torch.device(device).index or 0}} if straight else {}),
    )
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise ValueError(f"{kind.__name__}: {len(missing)} weights are missing, {missing[0]} first")
    if straight:
        # The hooks only cost time on one device.
        import_module("accelerate.hooks").remove_hook_from_submodules(network)
    return network.to(device).eval()
