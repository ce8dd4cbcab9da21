"""Load networks: only safetensors, no remote code, no random weights."""

import json
import sys
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import safe_open
from torch import Tensor, nn

from blendbench.models.layout import header, weight_shards

Network = TypeVar("Network", bound=nn.Module)
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


def load_network(
    kind: Callable[[Mapping[str, Any]], Network], folder: Path, dtype: torch.dtype, device: str
) -> Network:
    """Build a network of this package by its config.json and give it the weights of its folder.

    Nothing is initialised first: each weight goes from its file to the device. Errors: ValueError if a weight is
    missing or of another shape.
    """
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    with torch.device("meta"):
        network = kind(config)
    expected = network.state_dict()
    found = read_weights(weight_shards(folder, ("diffusion_pytorch_model",)), dtype, device, expected.keys())
    if missing := sorted(expected.keys() - found.keys()):
        raise ValueError(f"{folder}: {len(missing)} weights are missing, {missing[0]} first")
    for name, weight in found.items():
        if weight.shape != expected[name].shape:
            shapes = tuple(weight.shape), tuple(expected[name].shape)
            raise ValueError(f"{folder}: {name} has shape {shapes[0]}, expected {shapes[1]}")
    network.load_state_dict(found, assign=True)
    return network.eval().requires_grad_(False)


def read_weights(
    files: list[Path], dtype: torch.dtype | None, device: str, names: Collection[str] | None = None
) -> dict[str, Tensor]:
    """Read weights of safetensors files to a device, several at a time.

    Args:
        files: The shards.
        dtype: What floating-point weights are cast to; None leaves them as they are.
        device: "cpu" or "cuda".
        names: The weights to read; None for all.
    """
    sizes = {
        (path, name): entry["data_offsets"][1] - entry["data_offsets"][0]
        for path in files
        for name, entry in header(path).items()
        if names is None or name in names
    }
    # The largest first, dealt out in turn: every reader gets about as many bytes.
    order = sorted(sizes, key=lambda key: (-sizes[key], key))
    readers = min(_READERS, len(order)) or 1
    with ThreadPoolExecutor(readers, "reader") as pool:
        parts = pool.map(lambda keys: _read(keys, dtype, device), [order[i::readers] for i in range(readers)])
    found = {name: weight for part in parts for name, weight in part.items()}
    return {name: found[name] for _, name in sizes}


def _read(keys: list[tuple[Path, str]], dtype: torch.dtype | None, device: str) -> dict[str, Tensor]:
    opened: dict[Path, Any] = {}
    found: dict[str, Tensor] = {}
    for path, name in keys:
        if path not in opened:
            opened[path] = safe_open(path, "pt")
        weight = opened[path].get_tensor(name)
        cast = dtype if weight.is_floating_point() else None
        # On the CPU a weight must not stay a view of the file, which may change.
        found[name] = weight.to(device, cast, copy=device == "cpu")
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
        _without_hooks(network)
    return network.to(device).eval()


def _without_hooks(network: Any) -> None:
    """Remove accelerate's hooks, which only cost time on one device.

    They move inputs before every forward.
    """
    import_module("accelerate.hooks").remove_hook_from_submodules(network)
