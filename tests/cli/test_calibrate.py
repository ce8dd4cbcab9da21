"""`blendbench calibrate`: the page, the plots and the JSON, and the measured part of the cards."""

import json
import shutil
from pathlib import Path

import pytest

from blendbench.cli import _verb
from blendbench.core.errors import UsageError
from blendbench.core.shipped import shipped
from blendbench.metrics import calibration, patterns
from blendbench.metrics.calibration import Calibration
from blendbench.metrics.cards import read_card
from blendbench.reports import metrics as page
from blendbench.reports.metrics_cards import BEGIN, END, write_cards
from blendbench.reports.metrics_color import PERFECT, color_cases


@pytest.fixture
def cards(tmp_path: Path) -> Path:
    shutil.copytree(shipped("metrics"), tmp_path / "cards")
    return tmp_path / "cards"


def test_the_page_and_the_cards_hold_every_table(
    tmp_path: Path, cards: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    few = {size: patterns.crops(size, 1)[:2] for size in (128, 256, 512)}
    monkeypatch.setattr(patterns, "crops", lambda size, at_most=2, offset=0: few[size])
    monkeypatch.setattr(page, "_SIZES", {128: 1, 256: 1})
    monkeypatch.setattr(calibration, "clean_sets", lambda: {"photos of two": few[256][:2]})
    monkeypatch.setattr(calibration, "PERIODS", (15, 16))
    monkeypatch.setattr(page, "color_cases", lambda: color_cases(2))
    before = {path.name: path.read_text() for path in cards.glob("*.md")}
    assert _verb("calibrate", ["--out", str(tmp_path), "--cards", str(cards)]) == 0
    assert str(tmp_path / "metrics.md") in capsys.readouterr().out
    _check_cards(cards, before)
    text, figures = (tmp_path / "metrics.md").read_text(), json.loads((tmp_path / "metrics.json").read_text())
    for heading in (
        "Targets",
        "Limits of detection",
        "Dose-response",
        "Amplitude",
        "Periods",
        "Harmless",
        "False alarms",
        "Drift",
        "Colour towards",
    ):
        assert f"## {heading}" in text
    assert "nan" not in text and (tmp_path / "metrics" / "responses.webp").stat().st_size > 10_000
    assert {row["size"] for row in figures["responses"]} == {128, 256}
    assert figures["periods"]["16"]["auroc"] > figures["periods"]["15"]["auroc"]


def test_results_without_the_experiment_are_refused_before_anything_is_measured(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        _verb("calibrate", ["--out", str(tmp_path), "--results", str(tmp_path / "nothing")])


def _check_cards(cards: Path, before: dict[str, str]) -> None:
    """Between the marks stands what was measured; everything else, the front matter above all, is as it was."""
    for name, text in before.items():
        now = (cards / name).read_text()
        assert _outside(now) == _outside(text), name
        old, new = read_card(shipped("metrics") / name), read_card(cards / name)
        assert old.model_dump(exclude={"text"}) == new.model_dump(exclude={"text"})
    assert "| 128 px (2) | mesh |" in (cards / "grid_odd.md").read_text()
    assert "photos of two 0 %" in (cards / "grid_energy.md").read_text()
    assert f"| {PERFECT} | matched |" in (cards / "color_elsewhere.md").read_text()
    assert "| saturation x1.5 | +0.0" in (cards / "color_drift.md").read_text()


def _outside(card: str) -> tuple[str, str]:
    before, _, rest = card.partition(BEGIN)
    return before, rest.partition(END)[2]


def test_cards_without_marks_are_refused_and_none_is_changed(cards: Path) -> None:
    lost = cards / "tone_drift.md"
    lost.write_text(lost.read_text().replace(END, ""))
    before = {path.name: path.read_text() for path in cards.glob("*.md")}
    with pytest.raises(UsageError, match="tone_drift"):
        write_cards(Calibration([], [], {}, {}, {}, {}, {}, {}, {}, {}, []), cards)
    assert before == {path.name: path.read_text() for path in cards.glob("*.md")}
    with pytest.raises(UsageError, match="no such folder"):
        _verb("calibrate", ["--cards", str(cards / "nowhere")])
