"""The shipped smoke experiment on the shipped trained models, from prompts to leaderboard."""

import json
import os
import subprocess
import sys
from pathlib import Path


def test_smoke_runs_from_prompts_to_leaderboard_and_a_second_run_does_nothing(tmp_path: Path) -> None:
    def blendbench(*arguments: str) -> str:
        command = [sys.executable, "-m", "blendbench", *arguments, "--results", str(tmp_path / "results")]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
        assert done.returncode == 0, done.stderr
        return done.stdout

    first = json.loads(blendbench("run", "smoke", "--json"))
    assert first["ok"] == first["expected"] > 0
    assert (first["failed"], first["scores_failed"]) == (0, 0)
    again = json.loads(blendbench("run", "smoke", "--json"))
    assert (again["drawn"], again["scored"], again["run_id"]) == (0, 0, None)
    blendbench("leaderboard", "smoke", "--out", str(tmp_path / "reports"))
    page = (tmp_path / "reports" / "smoke.md").read_text()
    assert "`canary`" in page
    assert (tmp_path / "reports" / "smoke" / "images.png").is_file()
