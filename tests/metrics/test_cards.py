"""Metric cards: read, checked, and in step with the functions."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from blendbench.core.errors import UsageError
from blendbench.metrics import all_cards, all_metrics
from blendbench.metrics.cards import read_card
from blendbench.metrics.registry import REGISTRY, metric

GOOD = """+++
name = "speckle"
title = "Speckle"
version = 1
kind = "artifact"
direction = "lower"
unit = "share"
range = [0.0, inf]
needs = ["luma"]
margin = 0.1
decimals = 2
weights_licence = "none"
unscorable = "never"
+++

# Speckle
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "speckle.md"
    path.write_text(text)
    return path


def test_a_good_card_is_read_with_its_text(tmp_path: Path) -> None:
    card = read_card(write(tmp_path, GOOD))
    assert (card.name, card.needs, card.range) == ("speckle", ("luma",), (0.0, float("inf")))
    assert card.text == "# Speckle"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (("version = 1", 'version = "1"'), "version"),
        (('kind = "artifact"', 'kind = "artefact"'), "kind"),
        (("margin = 0.1\n", ""), "margin"),
        (("margin = 0.1", "margin = -1.0"), "margin"),
        (("decimals = 2", "decimals = 2\ndecimal = 3"), "decimal"),
        (("[0.0, inf]", "[1.0, 0.0]"), "range"),
        (("[0.0, inf]", "[nan, 1.0]"), "range"),
        (('name = "speckle"', 'name = "score"'), "score"),
        (('name = "speckle"', 'name = "spekle"'), "file name"),
        (("margin = 0.1", "margin = "), "TOML"),
        (("+++\nname", "name"), "+++"),
    ],
)
def test_a_bad_card_is_one_line_with_file_and_field(tmp_path: Path, change: tuple[str, str], named: str) -> None:
    path = write(tmp_path, GOOD.replace(*change))
    with pytest.raises(UsageError) as error:
        read_card(path)
    assert str(path) in str(error.value)
    assert named in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_card_says_where_it_should_be(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"speckle\.md"):
        read_card(tmp_path / "speckle.md")


def test_every_card_has_its_function_and_every_function_its_card() -> None:
    cards, metrics = all_cards(), all_metrics()
    assert set(cards) == set(metrics)
    assert all(metrics[name].version == card.version for name, card in cards.items())


def test_every_card_tells_what_a_reader_must_know() -> None:
    for name, card in all_cards().items():
        for heading in ("## Definition", "## Source", "## Catches", "## Blind to", "## Known false positives"):
            assert heading in card.text, f"{name} has no {heading}"


def test_a_function_that_disagrees_with_its_card_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    all_metrics()
    without = {name: known for name, known in REGISTRY.items() if name != "grid_energy"}
    monkeypatch.setattr("blendbench.metrics.registry.REGISTRY", without)
    with pytest.raises(UsageError, match=r"grid_energy\.md: needs"):
        metric("grid_energy", needs=("oklab",))(lambda batch: torch.zeros(len(batch)))
    with pytest.raises(UsageError, match="lumma"):
        metric("grid_energy", needs=("lumma",))(lambda batch: torch.zeros(len(batch)))
    with pytest.raises(UsageError, match="twice"):
        metric("blockiness", needs=("luma",))(lambda batch: torch.zeros(len(batch)))


def test_cards_are_read_without_torch() -> None:
    code = "import sys; from blendbench.metrics import all_cards; assert all_cards(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
