"""The `blendbench` command as a process of its own."""

import atexit
import contextlib
import os
import sys
from collections.abc import Iterator

from blendbench.cli import main


def command() -> None:
    """Run one command, and end the process with its exit code."""
    with ending_at_once():
        main()


@contextlib.contextmanager
def ending_at_once() -> Iterator[None]:
    """End this process, once its exit code is known and its threads and exit handlers are through.

    Python would then take every module and object apart: after a run that is a second or more on a CPU.
    """
    codes: list[int] = []
    atexit.register(_end, codes)  # the last of the handlers registered from here on
    try:
        yield
    except SystemExit as end:
        if isinstance(end.code, int):
            codes.append(end.code)
        raise


def _end(codes: list[int]) -> None:
    if codes:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        except (OSError, ValueError, AttributeError):  # nobody reads it, or it was closed or is not there
            return  # Python says it in its own way
        os._exit(codes[0])
