"""Find the shipped prompts/, metrics/ and bench/, in wheel or working tree."""

from pathlib import Path

_PACKAGE = Path(__file__).parents[1]


def shipped(folder: str) -> Path:
    """Return the installation's folder `prompts`, `metrics` or `bench`."""
    in_wheel = _PACKAGE / "_shipped" / folder
    return in_wheel if in_wheel.is_dir() else _PACKAGE.parents[1] / folder
