"""Which blend the page recommends, and in which group each family stands, where the truth is known."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from synthetic_results import Row, append, cell_row, item_name, run_rows, score_row, sha, white_plots

from blendbench.reports.board import Board, read_board
from blendbench.reports.contact_sheet import extremes, write_extremes
from blendbench.reports.front_plot import dose_families
from blendbench.reports.images import PageImages
from blendbench.reports.leaderboard import write_leaderboard
from blendbench.reports.plots import Label, place_labels
from blendbench.reports.standings import Standings, read_standings, shown_labels
from blendbench.reports.summary import answer, board_table, gain_and_loss, meanings, strata_table
from blendbench.results.store import open_results

ITEMS = 72
# label -> family, dose, loss of the prompt (of .9), gain of style, grid
EFFECTS: dict[str, tuple[str, float | None, float, float, float]] = {
    "text_only": ("text_only", None, 0, 0, 0),
    "good:alpha=0.1": ("good", 0.1, 0.01, 0.10, 0),
    "good:alpha=0.3": ("good", 0.3, 0.05, 0.40, 0),
    "good:alpha=0.6": ("good", 0.6, 0.20, 0.60, 0),
    "good:alpha=1": ("good", 1.0, 0.50, 0.70, 0),
    "twin:alpha=0.3": ("twin", 0.3, 0.06, 0.40, 0),
    "dear:alpha=0.5": ("dear", 0.5, 0.21, 0.35, 0.2),
    "idle:alpha=0.5": ("idle", 0.5, 0, 0, 0),
    "broken:alpha=1": ("broken", 1.0, 0.80, 0.30, 0.5),
    "canary": ("canary", None, 0.85, 0, 0.9),
}


def rows_of(effects: dict[str, tuple[str, float | None, float, float, float]], split: bool = True) -> list[Row]:
    rng = np.random.default_rng(0)
    metrics = {"attribute_adherence": 1, "reference_style": 1, "grid_energy": 1}
    rows = run_rows(items=ITEMS, labels=list(effects), metrics=metrics, seeds=[0])
    for index in range(ITEMS):
        part = ("dev", "test", "test")[index % 3] if split else ""
        stratum = ("matched, 1 object", "unrelated, 1 object")[index % 2]
        rows.append(
            Row(
                table="items",
                suite_sha256=rows[0].suite_sha256,
                item=item_name(index),
                prompt="a red circle",
                reference_sha256=sha(index),
                reference_caption="stripes",
                relation=stratum.partition(",")[0],
                stratum=stratum,
                split=part,
            )
        )
        for label, (family, dose, loss, gain, grid) in effects.items():
            changes = {"strategy": family, "source_sha256": sha("source", family), "family": family, "dose": dose}
            cell = cell_row("canary", item_name(index), 0, sha(label, index), cell_id=sha("c", label, index)).changed(
                label=label,
                control=family == "canary",
                conditioning_sha256=sha("k", label, index),
                split=part,
                **changes,
            )
            noise = rng.normal(size=3) * (0.0 if label in ("text_only", "idle:alpha=0.5") else 1.0)
            rows += [
                cell,
                score_row(cell, "attribute_adherence", 0.9 * (1 - loss) + 0.01 * noise[0]),
                score_row(cell, "reference_style", 0.1 + gain + 0.03 * noise[1]),
                score_row(cell, "grid_energy", 0.01 + grid + 0.0005 * noise[2]),
            ]
    return rows


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("standings")
    append(path, "run1", *rows_of(EFFECTS))
    return path


@pytest.fixture(scope="module")
def board(folder: Path) -> Board:
    return read_board(open_results(folder))


@pytest.fixture(scope="module")
def standings(folder: Path, board: Board) -> Standings:
    found = read_standings(open_results(folder), board)
    assert found is not None
    return found


def test_each_family_stands_in_its_group(standings: Standings) -> None:
    groups = {row.family: row.group for row in standings.rows}
    assert groups == {
        "good": "front",
        "twin": "front",
        "dear": "dominated",
        "idle": "no effect",
        "broken": "no dose fits",
        "canary": "control",
    }
    dear = next(row for row in standings.rows if row.family == "dear")
    assert (dear.dominated_by, dear.tight.chosen) == ("good:alpha=0.6", None)
    assert dear.loose.chosen is not None


def test_the_page_recommends_the_best_and_names_its_ties(board: Board, standings: Standings) -> None:
    assert standings.best is not None
    assert {standings.best.family, *(row.family for row in standings.tied)} == {"good", "twin"}
    text = answer(board, standings)
    label = standings.best.tight.chosen.point.label if standings.best.tight.chosen else ""
    assert text.startswith(f"**Use `{label}`**: it gains 0.4")
    assert "style [0." in text and "% of the prompt [" in text and "on 48 test items" in text
    assert "Its gain cannot be distinguished from that of `" in text
    assert "If up to 25 % may be lost, `good:alpha=0.6` gains 0.6" in text


@white_plots()
def test_where_nothing_gains_the_text_alone_is_recommended(tmp_path: Path) -> None:
    append(tmp_path, "run1", *rows_of({label: EFFECTS[label] for label in ("text_only", "idle:alpha=0.5", "canary")}))
    board, standings, page = write_leaderboard(tmp_path, tmp_path / "out")
    assert standings is not None and standings.best is None and standings.front == []
    first = page.read_text().splitlines()[2]
    assert first == answer(board, standings)
    assert first.startswith("**Use `text_only`**: no blend here is shown to gain style for at most 10 % of the prompt")


@white_plots()
def test_without_development_items_the_page_stands_without_a_headline(tmp_path: Path) -> None:
    append(tmp_path, "run1", *rows_of(EFFECTS, split=False))
    _, standings, page = write_leaderboard(tmp_path, tmp_path / "out")
    assert standings is not None and standings.rows == () and standings.best is None
    text = page.read_text()
    first = text.splitlines()[2]
    assert "No blend can be recommended here: its items have no development and test part" in first
    assert "`blendbench run core`" in first
    assert "(core/front.webp)" in text and "## Board" not in text


def test_the_first_screen_says_what_its_words_mean_and_where_they_hold(board: Board, standings: Standings) -> None:
    text = meanings(board, standings)
    for needed in ("*Style* is", "`reference_style`", "*Prompt* is", "`attribute_adherence`", "`miniature`", "small"):
        assert needed in text


def test_the_board_has_a_row_a_family_that_gains_and_lists_the_others(standings: Standings) -> None:
    lines = board_table(standings)
    rows = [line for line in lines if line.startswith("| <code>")]
    assert len(rows) == 3 and all(line.count("|") == 4 for line in rows)
    assert "by <code>good:<wbr>alpha=0.6</code>" in next(row for row in rows if "dear:" in row)
    assert "**No effect** (1): `idle`." in lines and "**No dose fits the budget** (1): `broken`." in lines
    assert "**Controls and upper bounds** (1): `canary`." in lines


def test_strata_are_shown_for_each_family_that_gains(standings: Standings) -> None:
    rows = strata_table(standings)[2:]
    assert len(rows) == 3 * (1 + 2)
    assert rows[1].startswith("| matched, 1 object (24) | 0.4")


def test_a_gain_and_its_cost_are_two_short_lines(standings: Standings) -> None:
    chosen = standings.rows[0].tight.chosen
    assert chosen is not None
    gain, cost = gain_and_loss(chosen).splitlines()
    assert gain.startswith("0.4") and cost.startswith("for ") and cost.endswith(" %")
    assert max(len(gain), len(cost)) <= 20


def test_the_front_holds_what_no_other_mean_beats_in_both(standings: Standings) -> None:
    labels = [standings.known.points[row].label for row in standings.front]
    assert labels[0] == "good:alpha=0.1" and labels[-2:] == ["good:alpha=0.6", "good:alpha=1"]
    assert not {"dear:alpha=0.5", "broken:alpha=1", "canary", "text_only", "idle:alpha=0.5"} & set(labels)
    assert set(standings.measured) == set(standings.front)


def test_dose_curves_are_of_families_with_several_doses(standings: Standings) -> None:
    assert list(dose_families(standings)) == ["good"]


def test_plots_are_drawn_wide_enough_and_cut_no_label(folder: Path, standings: Standings, tmp_path: Path) -> None:
    _, _, page = write_leaderboard(folder, tmp_path)
    for name in ("front.webp", "doses.webp"):
        assert f"(core/{name})" in page.read_text()
        with Image.open(tmp_path / "core" / name) as image:
            pixels = np.asarray(image.convert("L"))
        assert pixels.shape[1] == 768
        assert all(edge.min() == 255 for edge in (pixels[:, :2], pixels[:, -2:], pixels[-2:], pixels[:2]))


def test_labels_cover_neither_points_nor_each_other(tmp_path: Path) -> None:
    figure = Figure(figsize=(4, 4), dpi=100)
    FigureCanvasAgg(figure)
    panel = figure.subplots()
    panel.set_xlim(0, 1)
    panel.set_ylim(0, 1)
    points = [(0.5 + 0.02 * k, 0.5 + 0.02 * (k % 3)) for k in range(6)]
    figure.draw_without_rendering()
    place_labels(panel, [Label(f"label {k}", x, y, "black") for k, (x, y) in enumerate(points)], points)
    boxes = [text.get_window_extent() for text in panel.texts]
    assert len(boxes) == 6
    for k, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:k])
        assert not any(box.contains(*panel.transData.transform(point)) for point in points)


def test_what_is_shown_in_images_is_what_gains(
    folder: Path, board: Board, standings: Standings, tmp_path: Path
) -> None:
    labels = shown_labels(board, standings, 2)
    assert set(labels) == {"good:alpha=0.3", "twin:alpha=0.3"}
    shown = extremes(open_results(folder), board, standings)
    assert [both[0].label for both in shown][:2] == labels
    assert all(best.difference >= worst.difference for best, worst in shown)
    (tmp_path / "extremes.webp").write_bytes(b"old")
    write_extremes(shown, board, PageImages(tmp_path), tmp_path / "extremes.webp")
    assert not (tmp_path / "extremes.webp").exists()


@white_plots()
def test_the_terminal_shows_the_answer_and_no_line_is_wider_than_it(
    folder: Path, tmp_path: Path, cli: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    short = cli("leaderboard", "core", "--results", folder, "--out", tmp_path)
    whole = cli("leaderboard", "core", "--all", "--results", folder, "--out", tmp_path)
    assert (short.returncode, short.stderr) == (0, "")
    lines = short.stdout.splitlines()
    assert lines[0].startswith("Use ") and "gains 0.4" in lines[0]
    assert max(len(line) for line in lines if not line.startswith("written:")) <= 80
    for needed in ("at 10 %", "at 25 %", "dominated by", "on the front; dominated", "No effect (1): idle"):
        assert needed in short.stdout
    assert "outcome" not in short.stdout and "outcome" in whole.stdout and "trade" in whole.stdout


def test_without_a_gain_metric_there_are_no_standings(folder: Path, board: Board) -> None:
    alone = Board(**{**board.__dict__, "primaries": {"prompt": board.primaries["prompt"]}})
    assert read_standings(open_results(folder), alone) is None
    assert "no metric of gain was measured" in answer(alone, None)
