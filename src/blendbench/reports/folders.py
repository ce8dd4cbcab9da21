"""Folders that a page goes to."""

from pathlib import Path

from blendbench.core.errors import UsageError
from blendbench.core.files import sweep_partial


def make_folder(folder: Path) -> Path:
    """Make a folder, and remove what killed writers left. Errors: UsageError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"{folder}: no folder can be made there ({error.strerror}); name another with --out"
        ) from error
    sweep_partial(folder.iterdir())
    return folder
