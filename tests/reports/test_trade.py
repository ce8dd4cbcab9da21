"""What is given up for what: the front of the trade, and the items at its ends."""

from pathlib import Path

import pytest
from PIL import Image
from synthetic_results import NO_OP, append, shard_rows, write_results

from blendbench.reports.board import BASELINE, Board, read_board
from blendbench.reports.extremes import ROWS, draw_extremes, extreme_labels, extremes
from blendbench.reports.leaderboard import write_leaderboard
from blendbench.reports.pareto import draw_front, trades
from blendbench.results.store import ingest, open_results

TRUTH, STYLE = "attribute_adherence", "reference_style"


def _board(folder: Path) -> Board:
    with open_results(folder) as results:
        return read_board(results, "core")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two configurations trade prompt for style, one gives up prompt for nothing."""
    path = tmp_path_factory.mktemp("trade")
    write_results(path)
    gains = {"style_delta:alpha=0.3": 0.2, "lerp:alpha=0.5,align=area": 0.5, "canary": 0.9}
    records = shard_rows(path)
    own = {r.cell_id: gains[r.label] for r in records if getattr(r, "label", None) in gains}
    scores = [r for r in records if r.table == "scores" and r.metric == STYLE and r.status == "ok"]
    append(path, "later", *(r.changed(value=r.value + own[r.cell_id]) for r in scores if r.cell_id in own))
    ingest(path)
    return path


def test_the_front_holds_what_nothing_else_beats_in_both(folder: Path) -> None:
    found = {trade.label: trade for trade in trades(_board(folder))}
    front = {label for label, trade in found.items() if trade.on_front}
    assert {"style_delta:alpha=0.3", "lerp:alpha=0.5,align=area"} <= front
    assert "vision_only" not in front  # less prompt than lerp, and less style
    assert not found["canary"].on_front  # a control is no candidate, whatever it scores
    assert NO_OP not in found and BASELINE not in found
    points = {label: (t.prompt.mean, t.reference.mean) for label, t in found.items() if not t.control}
    for label in front:
        x, y = points[label]
        assert not any(a >= x and b >= y and (a, b) != (x, y) for a, b in [*points.values(), (0.0, 0.0)])


def test_without_a_reference_metric_there_is_nothing_to_trade(folder: Path, tmp_path: Path) -> None:
    board = _board(folder)
    alone = Board(**{**board.__dict__, "headlines": {"adherence": TRUTH}})
    (tmp_path / "front.png").write_bytes(b"old")
    assert trades(alone) == []
    assert not draw_front(alone, tmp_path / "front.png")
    assert not (tmp_path / "front.png").exists()


def test_the_page_shows_the_front_and_the_extreme_items(folder: Path, tmp_path: Path) -> None:
    board, page = write_leaderboard(folder, tmp_path, "core")
    text = page.read_text()
    for name in ("front.png", "extremes.png"):
        assert f"(core/{name})" in text
        with Image.open(tmp_path / "core" / name) as image:
            assert min(image.size) > 100
    labels = extreme_labels(board)
    assert 0 < len(labels) <= ROWS
    assert all(f"`{label}`" in text for label in labels)


def test_extremes_without_images_are_not_drawn(tmp_path: Path) -> None:
    write_results(tmp_path, images=False)
    ingest(tmp_path)
    with open_results(tmp_path) as results:
        board = read_board(results, "core")
        assert not draw_extremes(extremes(results, board), board, tmp_path, tmp_path / "extremes.png")
