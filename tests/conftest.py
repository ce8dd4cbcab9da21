"""Shared fixtures: a complete model set with random weights, in the shipped one's layout."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model set folder whose weights are random: everything works, the pictures are noise."""
    from blendbench.models.miniature.untrained import write_untrained

    folder = tmp_path_factory.mktemp("models") / "untrained"
    write_untrained(folder)
    return folder
