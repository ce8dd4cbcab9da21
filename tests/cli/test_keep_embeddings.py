"""`blendbench run --keep-embeddings` through the command line."""

import json
import sys
from pathlib import Path

import pytest

from blendbench.cli import main
from blendbench.results.store import open_results


def test_the_option_keeps_what_the_view_finds(
    untrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment = tmp_path / "kept.toml"
    experiment.write_text(
        'name = "kept"\ntitle = "one cell"\nsuite = "miniature"\nitems = 1\nseeds = [0]\ncontrols = false\n'
        'metrics = ["blockiness"]\nstrategies = [{name = "lerp"}]\nsampler = {steps = 2}\n'
    )
    arguments = [str(experiment), "--models", str(untrained), "--results", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["blendbench", "run", *arguments, "--keep-embeddings", "--json"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    summary = json.loads(capsys.readouterr().out)
    assert summary["kept"] == summary["ok"] > 0
    rows = open_results(tmp_path).query(
        "SELECT path, stage FROM embedding_files WHERE label = (SELECT min(label) FROM cells WHERE strategy = 'lerp')"
    )
    assert {"text", "vision", "conditioning"} == set(rows["stage"])
    assert all((tmp_path / path).is_file() for path in rows["path"])
