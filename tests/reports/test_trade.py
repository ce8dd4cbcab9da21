"""What is given up for what: the front of the trade, and the items at its ends."""

from pathlib import Path

import pytest
from PIL import Image
from synthetic_results import NO_OP, append, shard_rows, write_results

from blendbench.reports.board import Board, read_board
from blendbench.reports.extremes import ROWS, extreme_labels, extremes, write_extremes
from blendbench.reports.images import PageImages
from blendbench.reports.leaderboard import write_leaderboard
from blendbench.reports.pareto import plot_front, trades
from blendbench.results.store import open_results

TRUTH, STYLE = "attribute_adherence", "reference_style"


def _board(folder: Path) -> Board:
    return read_board(open_results(folder), "core")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two configurations trade prompt for style, one gives up prompt for nothing."""
    path = tmp_path_factory.mktemp("trade")
    write_results(path)
    gains = {"style_delta:alpha=0.3": 0.2, "lerp:alpha=0.5,align=area": 0.5, "canary": 0.9}
    own = {row.cell_id: gains[row.label] for row in shard_rows(path, "cells") if row.label in gains}
    later = [
        row.changed(value=row.value + own[row.cell_id])
        for row in shard_rows(path, "scores")
        if row.metric == STYLE and row.cell_id in own and row.status == "ok"
    ]
    append(path, "later", *later)
    return path


def test_the_front_holds_what_nothing_else_beats_in_both(folder: Path) -> None:
    found = {trade.label: trade for trade in trades(_board(folder))}
    front = {label for label, trade in found.items() if trade.on_front}
    assert {"style_delta:alpha=0.3", "lerp:alpha=0.5,align=area"} <= front
    assert "vision_only" not in front  # less prompt than lerp, and less style
    assert not found["canary"].on_front  # a control is no candidate, whatever it scores
    assert NO_OP not in found and "text_only" not in found
    points = {label: (t.prompt.mean, t.gain.mean) for label, t in found.items() if not t.control}
    for label in front:
        x, y = points[label]
        assert not any(a >= x and b >= y and (a, b) != (x, y) for a, b in [*points.values(), (0.0, 0.0)])


def test_without_a_gain_metric_there_is_nothing_to_trade(folder: Path, tmp_path: Path) -> None:
    board = _board(folder)
    alone = Board(**{**board.__dict__, "headlines": {"prompt": TRUTH}})
    (tmp_path / "front.webp").write_bytes(b"old")
    assert trades(alone) == []
    plot_front(alone, tmp_path / "front.webp")
    assert not (tmp_path / "front.webp").exists()


def test_the_page_shows_the_front_and_the_extreme_items(folder: Path, tmp_path: Path) -> None:
    board, page = write_leaderboard(folder, tmp_path, "core")
    text = page.read_text()
    for name in ("front.webp", "extremes.webp"):
        assert f"(core/{name})" in text
        with Image.open(tmp_path / "core" / name) as image:
            assert min(image.size) > 100
    labels = extreme_labels(board)
    assert 0 < len(labels) <= ROWS
    assert all(f"`{label}`" in text for label in labels)


def test_without_images_no_sheet_of_extremes_is_written_and_an_old_one_goes(folder: Path, tmp_path: Path) -> None:
    results, board = open_results(folder), _board(folder)
    (tmp_path / "extremes.webp").write_bytes(b"old")
    write_extremes(extremes(results, board), board, PageImages(tmp_path), tmp_path / "extremes.webp")
    assert not (tmp_path / "extremes.webp").exists()
