"""The shipped smoke experiment on the shipped trained models, from prompts to leaderboard."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.mark.trained
def test_smoke_runs_from_prompts_to_leaderboard_and_a_second_run_does_nothing(
    cli: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    def blendbench(*arguments: str) -> str:
        done = cli(*arguments, "--results", tmp_path / "results")
        assert done.returncode == 0, done.stderr
        return done.stdout

    first = json.loads(blendbench("run", "smoke", "--quick", "--json"))
    assert first["ok"] == first["expected"] > 0
    assert (first["failed"], first["scores_failed"]) == (0, 0)
    again = json.loads(blendbench("run", "smoke", "--quick", "--json"))
    assert (again["generated"], again["scored"], again["run_id"]) == (0, 0, None)
    blendbench("leaderboard", "smoke", "--out", str(tmp_path / "reports"))
    page = (tmp_path / "reports" / "smoke.md").read_text()
    assert "`canary`" in page
    assert (tmp_path / "reports" / "smoke" / "images.webp").is_file()
