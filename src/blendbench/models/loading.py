"""Loading by the libraries' own `from_pretrained`: safetensors only, no remote code, and never with made-up weights."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import diffusers.utils.logging as diffusers_logging
import torch
import transformers.utils.logging as transformers_logging


@contextmanager
def quiet_loading() -> Iterator[None]:
    """No progress bars and no warnings of diffusers, transformers and the hub client within; then all is as it was."""
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
    """A network of class `kind` on `device`, read from the safetensors files of `folder`.

    With the package accelerate every tensor goes from the file to a GPU on its own, so that host memory never holds the
    network; without it, the network is made on the host and then moved. Errors: ValueError if the files lack a weight,
    which `kind` alone would make up; OSError if there are only pickles.
    """
    straight = device != "cpu" and find_spec("accelerate") is not None
    network, told = kind.from_pretrained(
        str(folder),
        dtype=dtype,
        use_safetensors=True,
        output_loading_info=True,
        local_files_only=True,
        **({"device_map": {"": torch.device(device).index or 0}} if straight else {}),
    )
    if told["missing_keys"]:
        missing = sorted(told["missing_keys"])
        raise ValueError(f"{kind.__name__}: {len(missing)} weights are missing, {missing[0]} first")
    if straight:
        _without_hooks(network)
    return network.to(device).eval()


def _without_hooks(network: Any) -> None:
    """Take off what accelerate wraps around every forward to move inputs: on one device it only costs time."""
    from accelerate.hooks import remove_hook_from_submodules

    remove_hook_from_submodules(network)
