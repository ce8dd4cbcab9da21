"""Folders that a page goes to."""

from pathlib import Path

from blendbench.core.errors import UsageError


def made(folder: Path) -> Path:
    """The folder, made if it is not there. Errors: UsageError if it cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"{folder}: no folder can be made there ({error.strerror}); name another with --out"
        ) from error
    return folder
