"""The board and its page on results whose effects are known."""

import hashlib
import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFont
from synthetic_results import (
    CONFIGURATIONS,
    INCOMPLETE,
    NO_OP,
    append,
    cell_row,
    item_name,
    run_rows,
    score_row,
    sha,
    shard_rows,
    write_results,
)

from blendbench.core.errors import UsageError
from blendbench.reports.board import Board, MetricInfo, read_board
from blendbench.reports.contact_sheet import chosen_labels, wrapped
from blendbench.reports.curves import alpha_curves, draw_alpha_curves
from blendbench.reports.formats import label_text, markdown_table, number, verdict
from blendbench.reports.leaderboard import write_leaderboard
from blendbench.reports.pareto import draw_front
from blendbench.reports.truth import truth_checks
from blendbench.results.store import open_results

ITEMS = 8
METRIC = MetricInfo("m", 1, "M", "artifact", "lower", "share", 0.01, 3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    write_results(folder, items=ITEMS)
    return folder


@pytest.fixture(scope="module")
def board(folder: Path) -> Board:
    return read_board(open_results(folder))


@pytest.fixture(scope="module")
def page(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_leaderboard(folder, tmp_path_factory.mktemp("reports"))[1]


def _entry(board: Board, label: str, metric: str):  # type: ignore[no-untyped-def]
    configuration = board.configuration(label)
    assert configuration is not None
    return configuration.entries[metric]


@pytest.mark.parametrize(
    ("metric", "slope"), [("attribute_adherence", -0.6), ("grid_energy", 0.3), ("color_drift", 0.2)]
)
def test_known_effects_are_recovered(board: Board, metric: str, slope: float) -> None:
    for label, (_, _, _, damage) in CONFIGURATIONS.items():
        if label in (INCOMPLETE, "text_only"):
            continue
        effect = _entry(board, label, metric).effect
        assert effect is not None
        assert effect.mean == pytest.approx(slope * damage, abs=0.012)
        assert effect.low <= effect.mean <= effect.high


def test_pairing_makes_differences_sharper_than_means(board: Board) -> None:
    entry = _entry(board, "canary", "attribute_adherence")
    assert entry.effect.high - entry.effect.low < 0.7 * (entry.estimate.high - entry.estimate.low)


def test_rows_are_baseline_then_ranked_then_controls_then_incomplete(board: Board) -> None:
    labels = [entry.label for entry in board.configurations]
    assert labels[:2] == ["text_only", NO_OP]
    assert labels[-3:] == ["self_alignment", "canary", INCOMPLETE]
    damages = [CONFIGURATIONS[label][3] for label in labels[:-3]]
    assert damages == sorted(damages)


def test_an_incomplete_strategy_gets_no_rank_and_no_difference(board: Board, page: Path) -> None:
    for entry in (board.configuration(INCOMPLETE) or pytest.fail()).entries.values():
        assert (entry.complete, entry.ranking, entry.effect) == (False, None, None)
    overview, rest = page.read_text().split("## Not ranked: incomplete")
    assert INCOMPLETE not in overview
    counts = f"{2 * ITEMS - 2} | 2 | 0 | {2 * ITEMS}"
    assert f"| {label_text(INCOMPLETE)} | {counts} | conditioning has NaN in 3 of 40 tokens (2) |" in rest


def test_unscorable_items_do_not_make_a_strategy_incomplete(board: Board) -> None:
    entry = _entry(board, "canary", "reference_style")
    assert (entry.complete, entry.ok, entry.expected, entry.effect.clusters) == (
        True,
        2 * ITEMS - 2,
        2 * ITEMS,
        ITEMS - 1,
    )


def test_no_ops_are_marked_and_share_the_rank_of_the_baseline(board: Board, page: Path) -> None:
    assert [entry.label for entry in board.configurations if entry.no_op] == [NO_OP]
    assert _entry(board, NO_OP, "grid_energy").ranking.rank == _entry(board, "text_only", "grid_energy").ranking.rank
    text = page.read_text()
    assert f"`{NO_OP}`: same conditioning as `text_only` in {2 * ITEMS} of {2 * ITEMS} cells" in text
    assert f"no-op ({2 * ITEMS}/{2 * ITEMS})" in text


def test_too_few_items_for_any_verdict_are_said_and_enough_are_not(page: Path, tmp_path: Path) -> None:
    assert f"**{ITEMS} items are too few**" in page.read_text()
    write_results(tmp_path, items=24, images=False)
    board, other = write_leaderboard(tmp_path, tmp_path / "out")
    assert "too few" not in other.read_text()
    assert verdict(_entry(board, "canary", "grid_energy"), board.metrics["grid_energy"]) == "worse"
    assert verdict(_entry(board, "vision_only", "reference_style"), board.metrics["reference_style"]) == "better"
    assert verdict(_entry(board, NO_OP, "grid_energy"), board.metrics["grid_energy"]) == "same"
    assert verdict(_entry(board, "canary", "color_drift"), board.metrics["color_drift"]) == ""


def test_metrics_without_any_score_are_named_with_the_reason(board: Board, page: Path) -> None:
    assert board.unmeasured == {"probe_margin": "the model set has no probe"}
    assert "not measured: probe_margin (the model set has no probe)" in page.read_text()


def test_truth_checks_hold_on_true_data(board: Board, page: Path) -> None:
    checks = truth_checks(board)
    assert len(checks) == 5 + 3 + 2
    assert all(check.answer == "yes" for check in checks)
    assert "| the canary is worst on grid_energy | yes | canary" in page.read_text()


def _rescored(folder: Path, tmp_path: Path, changed: dict[tuple[str, str], Sequence[float]]) -> Path:
    """The results with other values, one an item, of some configurations and metrics."""
    shutil.copytree(folder / "shards", tmp_path / "shards")
    places = {(row.label, row.item, row.seed): row for row in shard_rows(tmp_path, "cells")}
    rows = [
        score_row(
            places[label, item_name(index), seed],
            metric,
            value,
            str(places["text_only", item_name(index), seed].image_sha256),
        )
        for (label, metric), values in changed.items()
        for index, value in enumerate(values)
        for seed in (0, 1)
    ]
    append(tmp_path, "run2", *run_rows("run2", items=ITEMS), *rows)
    return tmp_path


@pytest.mark.parametrize(
    ("ahead", "spread", "answer"),
    [
        pytest.param(3, 1, "yes", id="in the expected order beyond chance"),
        pytest.param(-0.5, 0.1, "yes, within the margin", id="the wrong order for sure, but by a hair"),
        pytest.param(0.5, 1, "yes, within the margin", id="either order, but no more than a hair wrong"),
        pytest.param(0.5, 3, "cannot tell", id="the expected order in the mean alone"),
        pytest.param(-1.5, 1, "cannot tell", id="the wrong order, perhaps by a hair"),
        pytest.param(-3, 1, "NO", id="the wrong order beyond the margin"),
    ],
)
@pytest.mark.parametrize(
    ("question", "better", "worse", "metric", "sign"),
    [
        ("text_only is best on clip_cosine", "text_only", "vision_only", "clip_cosine", 1),
        ("the canary is worst on grid_energy", "vision_only", "canary", "grid_energy", -1),
    ],
)
def test_a_truth_check_is_judged_by_the_margin(
    folder: Path,
    tmp_path: Path,
    question: str,
    better: str,
    worse: str,
    metric: str,
    sign: int,
    ahead: float,
    spread: float,
    answer: str,
) -> None:
    margin = read_board(open_results(folder)).metrics[metric].margin
    far = 5.0  # beyond all other configurations, so that these two are compared
    better_by = [sign * margin * (ahead + spread * (-1) ** index) for index in range(ITEMS)]
    changed = {(worse, metric): [far] * ITEMS, (better, metric): [far + by for by in better_by]}
    board = read_board(open_results(_rescored(folder, tmp_path, changed)))
    check = {check.question: check for check in truth_checks(board)}[question]
    assert check.answer == answer
    assert "`vision_only`" in check.evidence


def test_a_judge_that_orders_backwards_does_not_agree(folder: Path, tmp_path: Path) -> None:
    backwards = {
        (label, "clip_cosine"): [damage + 0.001 * index for index in range(ITEMS)]
        for label, (_, _, _, damage) in CONFIGURATIONS.items()
    }
    board = read_board(open_results(_rescored(folder, tmp_path, backwards)))
    checks = {check.question.split()[0]: check for check in truth_checks(board)[-2:]}
    assert checks["clip_cosine"].answer == "NO"
    assert "Spearman −" in checks["clip_cosine"].evidence
    assert checks["siglip_cosine"].answer == "yes"


def test_same_database_same_bytes(folder: Path, page: Path, tmp_path: Path) -> None:
    _, again = write_leaderboard(folder, tmp_path)
    for name in ("core.md", "core/alpha.png", "core/images.png"):
        first, second = (hashlib.sha256((path.parent / name).read_bytes()).hexdigest() for path in (page, again))
        assert first == second, name


def _unbroken(cell: str) -> list[str]:
    """The pieces of a cell that a browser keeps on one line."""
    return [re.sub(r"<[^>]+>", "", piece) for piece in re.split(r"<w?br>| ", cell)]


def test_every_table_is_rectangular_and_every_link_leads_somewhere(page: Path) -> None:
    text = page.read_text()
    for block in re.findall(r"(?:^\|.*\|\n)+", text, flags=re.MULTILINE):
        rows = block.splitlines()
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1
        cells = [re.sub(r"\]\([^)]*\)", "]", row).strip("| ").split(" | ") for row in rows[2:]]
        # What cannot be broken into lines, over all columns: about what a page of 900 pixels has room for.
        unbroken = [
            max(len(part) for cell in column for part in _unbroken(cell)) for column in zip(*cells, strict=True)
        ]
        assert sum(unbroken) <= 95
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert len(links) == 5
    assert all((page.parent / link).is_file() for link in links)


def test_the_page_names_suite_models_and_metric_versions(page: Path, board: Board) -> None:
    text = page.read_text()
    for needed in (board.run["suite_sha256"][:16], board.run["model_set_sha256"][:16], "grid_energy 1", "2026-11-20"):
        assert needed in text


def test_tables_escape_what_would_break_them() -> None:
    assert markdown_table(["a"], [["x|y\nz"]])[-1] == "| x\\|y z |"


@pytest.mark.parametrize(
    ("value", "signed", "text"),
    [(-0.0001, True, "0.000"), (-0.5, False, "−0.500"), (0.5, True, "+0.500"), (np.nan, False, "–")],
)
def test_numbers_never_show_a_negative_zero(value: float, signed: bool, text: str) -> None:
    assert number(value, METRIC, signed) == text


def test_intervals_stay_within_the_range_of_the_metric_and_labels_may_break(tmp_path: Path) -> None:
    # Six items: Student's t reaches beyond a probability of 1 where means lie near it.
    labels = {"text_only": 1.0, "lerp:alpha=0.3,align=area": 0.8}
    rows = run_rows(seeds=[0], labels=list(labels), metrics={"attribute_adherence": 1})
    for label, low in labels.items():
        for index in range(6):
            cell = cell_row(label, item_name(index), 0, sha(label, index))
            rows += [cell, score_row(cell, "attribute_adherence", low if index == 0 else 1.0)]
    append(tmp_path, "run", *rows)
    board, page = write_leaderboard(tmp_path, tmp_path / "reports")
    assert _entry(board, "lerp:alpha=0.3,align=area", "attribute_adherence").estimate.high == 1.0
    assert "<code>lerp:<wbr>alpha=0.3,<wbr>align=area</code>" in page.read_text()


def test_curves_group_by_everything_but_alpha(board: Board) -> None:
    curves = alpha_curves(board)
    assert [curve.label for curve in curves] == ["lerp:align=area", "lerp:align=interpolate"]
    assert [alpha for alpha, _ in curves[0].points] == [0.1, 0.3, 0.5, 0.8]


def test_no_label_of_a_plot_is_cut_however_long(board: Board, tmp_path: Path) -> None:
    renamed = tuple(
        entry if entry.label == "text_only" else replace(entry, label=f"{entry.label},one=parameter,other=parameter")
        for entry in board.configurations
    )
    for draw in (draw_front, draw_alpha_curves):
        assert draw(replace(board, configurations=renamed), tmp_path / "plot.png")
        pixels = np.asarray(Image.open(tmp_path / "plot.png").convert("L"))
        assert all(edge.min() == 255 for edge in (pixels[:, :4], pixels[:, -4:], pixels[-4:]))


@pytest.mark.parametrize("text", ["lerp:alpha=0.3", "outlier_mask_published:mode=none,layer=-4", "x" * 60, "a b" * 20])
def test_heads_of_a_sheet_are_broken_not_cut(text: str) -> None:
    font = ImageFont.load_default(12)
    lines = wrapped(text, font, 128)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert all(0 < font.getlength(line) <= 128 for line in lines)


def test_the_sheet_shows_pixels_as_they_are(folder: Path, page: Path, board: Board) -> None:
    labels = chosen_labels(board)
    assert labels[0] == "text_only" and labels[-1] == "canary" and NO_OP not in labels
    with Image.open(page.parent / "core" / "images.png") as sheet:
        drawn = np.asarray(sheet.convert("RGB"))
    cells = open_results(folder).query(
        "SELECT image_sha256 FROM cells WHERE label = 'canary' AND item = 'item-00' AND seed = 0"
    )
    name = cells["image_sha256"][0]
    with Image.open(folder / "images" / name[:2] / f"{name}.png") as image:
        pixels = np.asarray(image.convert("RGB"))
    column = 8 + len(labels) * 136
    tops = [y for y in range(drawn.shape[0] - 127) if (drawn[y : y + 128, column : column + 128] == pixels).all()]
    assert len(tops) == 1


def test_without_images_and_alphas_the_page_still_stands(tmp_path: Path) -> None:
    cell = cell_row("text_only", "item-00", 0, sha("p"))
    run = run_rows(items=1, seeds=[0], labels=["text_only"], metrics={"grid_energy": 1})
    append(tmp_path, "run1", *run, cell, score_row(cell, "grid_energy", 0.5))
    board, page = write_leaderboard(tmp_path, tmp_path / "out")
    assert "0.5000<br>[–,\u00a0–]" in page.read_text()
    assert "![" not in page.read_text()
    assert all(check.answer == "cannot tell" for check in truth_checks(board))


def test_a_run_without_any_ok_cell_is_reported_not_crashed(tmp_path: Path) -> None:
    run = run_rows(items=0, seeds=[], labels=[], metrics={})
    append(tmp_path, "run1", *run, cell_row("canary", "item-00", 0, None))
    board, page = write_leaderboard(tmp_path, tmp_path / "out")
    assert "0 ok, 1 failed" in page.read_text()
    assert board.metrics == {}


def test_an_unknown_experiment_is_named_with_the_known_ones(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="smoky: no results of this experiment; known: core"):
        write_leaderboard(folder, tmp_path, "smoky")
    assert list(tmp_path.iterdir()) == []


def test_a_baseline_with_a_gap_compares_only_what_it_has(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "shards", tmp_path / "shards")
    shard = tmp_path / "shards" / "run1.jsonl"
    lost = sha("cell", "text_only", item_name(0), 0)
    shard.write_text("".join(line for line in shard.read_text().splitlines(keepends=True) if lost not in line))
    board = read_board(open_results(tmp_path))
    baseline = board.configuration("text_only")
    assert baseline is not None
    assert (baseline.ok, baseline.expected, baseline.complete) == (2 * ITEMS - 1, 2 * ITEMS, False)
    assert replace(baseline, expected=baseline.ok).complete
