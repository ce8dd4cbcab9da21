"""Folders that a page goes to."""

from pathlib import Path

from blendbench.core.errors import UsageError


def make_folder(folder: Path) -> Path:
    """Make a folder, if it is not there.

    Errors: UsageError if it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"{folder}: no folder can be made there ({error.strerror}); name another with --out"
        ) from error
    return folder
