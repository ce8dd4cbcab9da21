"""Loading by the libraries' own `from_pretrained`: without their progress bars, and never with made-up weights."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
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


def load_complete(kind: Any, source: str, dtype: torch.dtype, **where: str) -> Any:
    """A network of class `kind`. Errors: ValueError if its files lack a weight, which `kind` alone would make up."""
    network, told = kind.from_pretrained(source, dtype=dtype, output_loading_info=True, **where)
    if told["missing_keys"]:
        missing = sorted(told["missing_keys"])
        raise ValueError(f"{kind.__name__}: {len(missing)} weights are missing, {missing[0]} first")
    return network.eval()
