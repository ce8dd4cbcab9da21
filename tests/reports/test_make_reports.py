"""`make reports` writes everything that is published: nothing in reports/ stays as an earlier version made it."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from blendbench.results.export import published_experiments

REPOSITORY = Path(__file__).parents[2]
REPORTS = REPOSITORY / "reports"
pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
# What writes a page that is not a leaderboard.
WRITERS = {
    "embeddings": "blendbench publish",
    "findings": "blendbench publish",
    "metrics": "blendbench calibrate --out reports",
    "miniature": "miniature.page",
}
BY_TARGET = {"speed", "statistics", "reliability"}  # `make bench`, `make statistics`, `make reliability`


@pytest.fixture(scope="module")
def recipe() -> str:
    command = ["make", "-n", "-o", "setup-dev", "reports"]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout


def test_every_page_has_its_writer(recipe: str) -> None:
    published = set(published_experiments(REPORTS / "data"))
    pages = {path.stem for path in REPORTS.glob("*.md")}
    assert pages - published - BY_TARGET == set(WRITERS)
    assert [name for name, command in WRITERS.items() if command not in recipe] == []
    assert "bench/pages/sql_guide.py docs/sql.md" in recipe


def test_what_is_published_is_what_is_run(recipe: str) -> None:
    published = set(published_experiments(REPORTS / "data"))
    run = [name for names in re.findall(r"for experiment in ([^;]*);", recipe) for name in names.split()]
    named = re.search(r"blendbench publish ([a-z0-9_ ]+) --results", recipe)
    assert named is not None
    assert run == named[1].split()
    assert set(run) == published
