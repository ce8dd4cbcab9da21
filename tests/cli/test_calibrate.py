"""`blendbench calibrate`: the page, the plots and the JSON; and what a strategy's pictures have in common."""

import json
from pathlib import Path

import pytest

from blendbench.cli import _verb
from blendbench.errors import UsageError
from blendbench.reports import metrics as page
from blendbench.scoring import calibration, patterns


def test_the_page_holds_every_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    few = {size: patterns.crops(size, 1)[:4] for size in (128, 256, 512)}
    monkeypatch.setattr(patterns, "crops", lambda size, at_most=2, offset=0: few[size])
    monkeypatch.setattr(page, "_SIZES", {128: 1, 256: 1})
    monkeypatch.setattr(calibration, "clean_sets", lambda: {"photos": few[256]})
    monkeypatch.setattr(calibration, "PERIODS", (15, 16))
    assert _verb("calibrate", ["--out", str(tmp_path)]) == 0
    assert str(tmp_path / "metrics.md") in capsys.readouterr().out
    text, figures = (tmp_path / "metrics.md").read_text(), json.loads((tmp_path / "metrics.json").read_text())
    for heading in (
        "Limits of detection",
        "Dose-response",
        "Amplitude",
        "Periods",
        "Harmless",
        "False alarms",
        "Drift",
    ):
        assert f"## {heading}" in text
    assert "nan" not in text and (tmp_path / "metrics" / "responses.png").stat().st_size > 10_000
    assert {row["size"] for row in figures["responses"]} == {128, 256}
    assert figures["periods"]["16"]["auroc"] > figures["periods"]["15"]["auroc"]


def test_results_without_the_experiment_are_refused_before_anything_is_measured(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        _verb("calibrate", ["--out", str(tmp_path), "--results", str(tmp_path / "nothing")])
