"""Shared fixtures: a complete model set with random weights, in the shipped one's layout."""

import os
import sys
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model set folder whose weights are random: everything works, the images are noise."""
    from blendbench.models.miniature.untrained import write_untrained

    folder = tmp_path_factory.mktemp("models") / "untrained"
    write_untrained(folder)
    return folder


@pytest.fixture(scope="session")
def speed_scripts() -> Path:
    """bench/speed, whose scripts can be imported from here on."""
    folder = Path(__file__).parents[1] / "bench" / "speed"
    sys.path.append(str(folder))
    return folder


@pytest.fixture(scope="session")
def tiny_set(speed_scripts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model set in the layout of the full-size one, at tiny sizes with random weights."""
    import full_size

    folder = tmp_path_factory.mktemp("models") / "tiny"
    full_size.write_model_set(folder, full_size.tiny(), "cpu")
    return folder
