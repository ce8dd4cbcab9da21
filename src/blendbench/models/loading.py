"""Quiet loading: the libraries' progress bars have no place in a command's output."""

from collections.abc import Iterator
from contextlib import contextmanager

import diffusers.utils.logging as diffusers_logging
import transformers.utils.logging as transformers_logging


@contextmanager
def quiet_loading() -> Iterator[None]:
    """No progress bars of diffusers and transformers within; whoever had them on gets them back."""
    shown = [library for library in (diffusers_logging, transformers_logging) if library.is_progress_bar_enabled()]
    for library in shown:
        library.disable_progress_bar()
    try:
        yield
    finally:
        for library in shown:
            library.enable_progress_bar()
