"""A leaderboard as a git repository: one clone submits, another verifies; spoofed and stale results are refused."""

import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
from synthetic_results import white_plots

Cli = Callable[..., subprocess.CompletedProcess[str]]
BOARD = """
name = "board"
title = "Board"
description = "Two items."
suite = "miniature"
seeds = [0]
items = 2
strategies = [{ name = "lerp", alpha = [0.3] }]
metrics = ["grid_energy", "effect_size"]
[sampler]
steps = 1
[quick]
items = 1
"""
IDEA = """
from blendbench.blending import Tokens, strategy

@strategy("idea", version=1, source="test")
def idea(text: Tokens):
    return text.hidden * 0.5
"""
SUBMISSION = "submissions/alice"


def git(clone: Path, *arguments: object) -> str:
    identity = ("-c", "user.name=test", "-c", "user.email=test@example.org")
    called = subprocess.run(
        ["git", *identity, *map(str, arguments)], cwd=clone, capture_output=True, text=True, check=True
    )
    return called.stdout


@pytest.fixture(scope="module")
def alice(cli: Cli, untrained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a clone of a leaderboard in which an idea was submitted."""
    folder = tmp_path_factory.mktemp("board")
    git(folder, "init", "--quiet", "--bare", "--initial-branch=main", "board.git")
    git(folder, "clone", "--quiet", folder / "board.git", folder / "alice")
    alice, results = folder / "alice", folder / "results"
    (alice / "board.toml").write_text(BOARD)
    (alice / SUBMISSION).mkdir(parents=True)
    (alice / SUBMISSION / "idea.py").write_text(IDEA)
    plugin = ("--plugin", alice / SUBMISSION / "idea.py")
    called = cli("run", alice / "board.toml", "--models", untrained, *plugin, "--results", results)
    assert called.returncode == 0, called.stderr
    with white_plots():
        assert cli("publish", "board", "--results", results, "--out", alice / SUBMISSION).returncode == 0
    push(alice, "idea")
    git(alice, "tag", "submitted")
    return alice


@pytest.fixture
def bob(alice: Path, tmp_path: Path) -> Path:
    """Make another clone, as it was when the idea was submitted."""
    git(alice, "push", "--quiet", "--force", "origin", "submitted:main")
    git(alice, "reset", "--quiet", "--hard", "submitted")
    git(tmp_path, "clone", "--quiet", alice.with_name("board.git"), tmp_path / "bob")
    return tmp_path / "bob"


def push(clone: Path, message: str) -> None:
    git(clone, "add", "--all")
    git(clone, "commit", "--quiet", "--message", message)
    git(clone, "push", "--quiet", "origin", "HEAD:main")


def verified(cli: Cli, clone: Path, models: Path, plugin: bool = True) -> subprocess.CompletedProcess[str]:
    arguments = ("--experiment", clone / "board.toml", "--models", models, "--items", 2)
    # A copy: one process does not run the same file twice, and these commands share one.
    copy = Path(tempfile.mkdtemp(dir=clone.parent)) / "idea.py"
    shutil.copy(clone / SUBMISSION / "idea.py", copy)
    return cli("verify", clone / SUBMISSION, *arguments, *(("--plugin", copy) if plugin else ()))


def spoof(clone: Path, table: str, query: str) -> None:
    """Replace a file of a submission by what a query makes of it; its page follows, as a spoofer's would."""
    path = clone / SUBMISSION / "data" / f"{table}.parquet"
    other = path.with_suffix(".new")
    duckdb.execute(f"COPY ({query.replace('{table}', repr(str(path)))}) TO '{other}' (FORMAT parquet)")
    other.replace(path)


def without_pages(clone: Path) -> None:
    for page in (clone / SUBMISSION).glob("*.md"):
        page.unlink()


@pytest.mark.slow
def test_a_submission_is_accepted_in_another_clone_and_a_spoofed_one_is_not(
    cli: Cli, untrained: Path, alice: Path, bob: Path
) -> None:
    called = verified(cli, bob, untrained)
    assert called.returncode == 0, called.stdout + called.stderr
    assert "accepted: board: 16 cells" in called.stdout
    assert "16 cells of " in called.stdout and "16 with the published pixels; 32 scores compared" in called.stdout

    called = verified(cli, bob, untrained, plugin=False)
    assert called.returncode == 1
    assert "configuration idea is unknown here; --plugin loads its code" in called.stdout

    page = bob / SUBMISSION / "board.md"
    written = page.read_text()
    page.write_text(written.replace("idea", "lerp"))
    called = verified(cli, bob, untrained)
    assert called.returncode == 1
    assert "refused: board: board.md is not what its data give" in called.stdout
    page.write_text(written)

    spoof(alice, "scores", "SELECT * REPLACE (if(label = 'idea', 0, grid_energy) AS grid_energy) FROM {table}")
    push(alice, "better")
    git(bob, "pull", "--quiet")
    called = verified(cli, bob, untrained)
    assert called.returncode == 1
    assert "refused: board: idea, " in called.stdout and "grid_energy is 0, and generated again " in called.stdout


SPOOFS = [
    ("metrics", "SELECT * REPLACE (margin * 10 AS margin) FROM {table}", "metric grid_energy: other margin than here"),
    ("metrics", "SELECT * REPLACE ('higher' AS direction) FROM {table}", "other direction"),
    ("items", "SELECT * REPLACE ('a dog' AS prompt) FROM {table}", "other prompt"),
    ("cells", "FROM {table} WHERE label <> 'idea' OR item NOT LIKE '001%'", "1 of 16 cells are missing"),
    ("cells", "SELECT * REPLACE (label = 'lerp:alpha=0.3' OR control AS control) FROM {table}", "other control"),
    ("scores", "FROM {table} WHERE label <> 'idea'", "4 scores are missing"),
    ("runs", "SELECT * REPLACE ('f' || suite_sha256[2:] AS suite_sha256) FROM {table}", "other suite"),
    ("scores", "SELECT 1 AS nothing FROM {table}", "not published data of this version"),
]


@pytest.mark.slow
def test_other_data_and_older_code_are_refused_before_anything_is_generated(
    cli: Cli, untrained: Path, bob: Path
) -> None:
    without_pages(bob)
    original = bob.with_name("original")
    shutil.copytree(bob / SUBMISSION, original)
    for table, query, reason in SPOOFS:
        spoof(bob, table, query)
        called = verified(cli, bob, untrained)
        assert called.returncode in (1, 2), reason
        assert reason in called.stdout + called.stderr
        assert "generated again" not in called.stdout
        shutil.copytree(original, bob / SUBMISSION, dirs_exist_ok=True)
    (bob / SUBMISSION / "idea.py").write_text(IDEA.replace("0.5", "0.6"))
    called = verified(cli, bob, untrained)
    assert called.returncode == 1
    assert "configuration idea: other source_sha256 than here; stale?" in called.stdout
    (bob / SUBMISSION / "data" / "runs.parquet").unlink()
    assert verified(cli, bob, untrained).returncode == 2
