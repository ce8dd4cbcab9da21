"""Load networks by the libraries' own `from_pretrained`.

Only safetensors, no remote code, no random weights.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import diffusers.utils.logging as diffusers_logging
import torch
import transformers.utils.logging as transformers_logging


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Silence diffusers, transformers and the hub client within the context."""
    libraries = (diffusers_logging, transformers_logging)
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


def load_complete(kind: Any, folder: Path, dtype: torch.dtype, device: str) -> Any:
    """Load a network of class `kind` from safetensors onto `device`.

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
