"""How long an idea on the miniature takes to its verdict, on the CPU: `make bench`."""

import itertools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from blendbench.session import Session

IDEA = """
from torch import Tensor

from blendbench.blending import Tokens, strategy


@strategy("idea", source="a benchmark", equation="{factor} T")
def idea(text: Tokens, vision: Tokens) -> Tensor:
    return text.hidden * {factor}
"""
ROUNDS = 3
_COUNT = itertools.count(1)


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    """Return a session whose baseline and canary are generated."""
    with Session("miniature", tmp_path / "results", "cpu", quiet=True) as opened:
        opened.check(changed(tmp_path))
        yield opened


def changed(folder: Path) -> Path:
    """Write an idea that no check has seen."""
    file = folder / "idea.py"
    file.write_text(IDEA.format(factor=1 - next(_COUNT) / 1000))
    return file


def check(folder: Path) -> None:
    """Run the command in a new process."""
    words = ("check", folder / "idea.py", "--results", folder / "results")
    command = [sys.executable, "-m", "blendbench", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "side by side" in done.stdout, done.stderr


@pytest.mark.usefixtures("session")
def test_an_idea_is_checked_in_a_new_process(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    """The baseline and the canary are there, the idea is new."""

    def change() -> tuple[tuple[Path], dict[str, object]]:
        changed(tmp_path)
        return (tmp_path,), {}

    benchmark.pedantic(check, setup=change, rounds=ROUNDS)


@pytest.mark.usefixtures("session")
def test_a_check_of_nothing_new(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    """Everything is there, and the pages are written."""
    check(tmp_path)
    benchmark.pedantic(check, (tmp_path,), rounds=ROUNDS)


def test_an_idea_is_checked_in_a_session(benchmark: BenchmarkFixture, session: Session, tmp_path: Path) -> None:
    """The models are loaded."""

    def change() -> tuple[tuple[Path], dict[str, object]]:
        return (changed(tmp_path),), {}

    found = benchmark.pedantic(session.check, setup=change, rounds=ROUNDS)
    assert found.generated
