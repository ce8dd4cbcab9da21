"""The board and its page on results whose effects are known."""

import hashlib
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFont
from synthetic_results import (
    CONFIGURATIONS,
    INCOMPLETE,
    NO_OP,
    Row,
    append,
    cell_row,
    item_name,
    run_rows,
    score_row,
    sha,
    shard_rows,
    white_plots,
    write_results,
)

from blendbench.core.errors import UsageError
from blendbench.core.metric_info import Direction, MetricInfo
from blendbench.core.numbers import number
from blendbench.reports.board import Board, Entry, read_board
from blendbench.reports.contact_sheet import chosen_labels, wrapped
from blendbench.reports.formats import decision_word, label_text, markdown_table, plain_text
from blendbench.reports.leaderboard import write_leaderboard
from blendbench.reports.truth import order, truth_checks
from blendbench.results.images import ImageStore
from blendbench.results.store import open_results
from blendbench.verdict.decide import Effect

ITEMS = 8
METRIC = MetricInfo("m", 1, "M", "artifact", "lower", "fraction", (0.0, 1.0), 0.01, 3, paired=False)


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
    return write_leaderboard(folder, tmp_path_factory.mktemp("reports"))[2]


def _entry(board: Board, label: str, metric: str) -> Entry:
    configuration = board.configuration(label)
    assert configuration is not None
    return configuration.entries[metric]


def _effect(board: Board, label: str, metric: str) -> Effect:
    effect = _entry(board, label, metric).effect
    assert effect is not None
    return effect


@pytest.mark.parametrize(
    ("metric", "slope"),
    [("attribute_adherence", -0.6), ("grid_energy", 0.3), ("color_drift", 0.2), ("effect_size", 40.0)],
)
def test_known_effects_are_recovered(board: Board, metric: str, slope: float) -> None:
    for label, (_, _, _, damage) in CONFIGURATIONS.items():
        if label in (INCOMPLETE, "text_only"):
            continue
        found = _entry(board, label, metric).difference
        assert found is not None
        assert found.mean == pytest.approx(slope * damage, abs=0.012)
        assert found.low <= found.mean <= found.high


def test_rows_are_baseline_then_by_gain_then_controls_then_incomplete(board: Board) -> None:
    labels = [entry.label for entry in board.configurations]
    assert labels[0] == "text_only" and labels[-1] == INCOMPLETE
    assert set(labels[-3:-1]) == {"self_alignment", "canary"}
    gains = [_effect(board, label, "reference_style").mean for label in labels[1:-3]]
    assert gains == sorted(gains, reverse=True)


def test_an_incomplete_strategy_gets_no_outcome_and_no_difference(board: Board, page: Path) -> None:
    incomplete = board.configuration(INCOMPLETE) or pytest.fail()
    assert incomplete.outcome is None
    for entry in incomplete.entries.values():
        assert (entry.complete, entry.difference, entry.effect) == (False, None, None)
    overview, rest = page.read_text().split("## Not judged: incomplete")
    assert f"{label_text(INCOMPLETE)}<br>" not in overview
    counts = f"{2 * ITEMS - 2} ok, 2 failed, 0 missing"
    assert f"- {label_text(INCOMPLETE)}: {counts}; conditioning has NaN in 3 of 40 tokens (2)" in rest


def test_unscorable_items_do_not_make_a_strategy_incomplete(board: Board) -> None:
    entry, effect = _entry(board, "canary", "reference_style"), _effect(board, "canary", "reference_style")
    assert (entry.complete, entry.ok, entry.expected, effect.items) == (
        True,
        2 * ITEMS - 2,
        2 * ITEMS,
        ITEMS - 1,
    )


def test_each_outcome_weighs_gain_against_cost(board: Board, page: Path) -> None:
    assert [entry.label for entry in board.configurations if entry.no_op] == [NO_OP]
    outcomes = {entry.label: entry.outcome for entry in board.configurations}
    assert (outcomes[NO_OP], outcomes["text_only"]) == ("no-op", None)
    assert outcomes["vision_only"] == outcomes["lerp:alpha=0.5,align=area"] == "trade"
    assert outcomes["canary"] == "regression"  # broken, and no style for it
    text = page.read_text()
    assert f"{label_text(NO_OP)}<br>**no-op**" in text
    assert f"{label_text('vision_only')}<br>**trade**; artifact worse" in text


def test_decisions_are_shown_for_the_roles_that_judge(board: Board) -> None:
    assert decision_word(_effect(board, "canary", "grid_energy")) == "worse"
    assert decision_word(_effect(board, "vision_only", "reference_style")) == "better"
    assert decision_word(_effect(board, NO_OP, "grid_energy")) == "equivalent"
    assert decision_word(_effect(board, "canary", "color_drift")) == "worse"
    assert _entry(board, "canary", "effect_size").effect is None
    assert decision_word(None) == ""


def test_a_decision_depends_on_no_other_row_and_on_no_seed(folder: Path, board: Board, tmp_path: Path) -> None:
    kept = ("text_only", "lerp:alpha=0.1,align=area")
    rows = shard_rows(folder)
    others = {row.cell_id for row in rows if row.table == "cells" and row.label not in kept}
    alone = [row for row in rows if row.get("label", kept[0]) in kept and row.get("cell_id") not in others]
    append(tmp_path, "run1", *alone)
    small = read_board(open_results(tmp_path))
    assert [entry.label for entry in small.configurations] == list(kept)
    for name in small.metrics:
        one, other = (_entry(found, kept[1], name) for found in (small, board))
        assert (one.effect, one.difference) == (other.effect, other.difference)
    assert small.configurations[1].outcome == (board.configuration(kept[1]) or pytest.fail()).outcome


@white_plots()
def test_too_few_items_for_any_decision_are_named(page: Path, tmp_path: Path) -> None:
    assert "too few" not in page.read_text()
    write_results(tmp_path, items=6, images=False)
    *_, other = write_leaderboard(tmp_path, tmp_path / "out")
    assert "**6 items are too few** for any difference" in other.read_text()
    assert "prompt needs 7" in other.read_text()


def test_metrics_without_any_score_are_named_with_the_reason(board: Board, page: Path) -> None:
    assert board.unmeasured == {"probe_margin": "the model set has no probe"}
    assert "not measured: probe_margin (the model set has no probe)" in page.read_text()


def test_truth_checks_hold_on_true_data(board: Board, page: Path) -> None:
    checks = truth_checks(board)
    assert len(checks) == 5 + 3 + 2
    assert all(check.answer == "holds" for check in checks)
    assert f"Yes: all {len(checks)} checks hold." in page.read_text()


def _rescored(folder: Path, tmp_path: Path, changed: Mapping[tuple[str, str], Sequence[float]]) -> Path:
    """The results with other values, one for each item, of some configurations and metrics."""
    shutil.copytree(folder / "shards", tmp_path / "shards")
    cells = {(row.label, row.item, row.seed): row for row in shard_rows(folder, "cells")}
    scores = [
        score_row(cells[label, item_name(index), seed], metric, value)
        for (label, metric), values in changed.items()
        for index, value in enumerate(values)
        for seed in (0, 1)
        if cells[label, item_name(index), seed].status == "ok"
    ]
    append(tmp_path, "run2", *run_rows("run2", items=ITEMS), *scores)
    return tmp_path


@pytest.mark.parametrize(
    ("ahead", "spread", "answer"),
    [
        pytest.param(3, 1, "holds", id="in the expected order beyond chance"),
        pytest.param(-0.5, 0.1, "holds within the margin", id="the wrong order for sure, but by a hair"),
        pytest.param(0.5, 1, "holds within the margin", id="either order, but no more than a hair wrong"),
        pytest.param(0.5, 3, "undecided", id="the expected order in the mean alone"),
        pytest.param(-1.5, 1, "undecided", id="the wrong order, perhaps by a hair"),
        pytest.param(-3, 1, "does not hold", id="the wrong order beyond the margin"),
    ],
)
@pytest.mark.parametrize("direction", ["higher", "lower"])
def test_an_order_is_judged_by_the_margin(ahead: float, spread: float, answer: str, direction: Direction) -> None:
    metric = replace(METRIC, direction=direction)
    sign = 1 if direction == "higher" else -1
    better_by = sign * metric.margin * (ahead + spread * (-1.0) ** np.arange(ITEMS))
    found, evidence = order(np.asarray(0.5 + better_by, dtype=np.float64), np.full(ITEMS, 0.5), metric)
    assert found == answer
    assert evidence.startswith("difference ")


def test_the_nearest_other_configuration_is_compared(folder: Path, tmp_path: Path) -> None:
    changed = {
        ("canary", "grid_energy"): [0.5] * ITEMS,
        ("vision_only", "grid_energy"): [0.9] * ITEMS,
        ("vision_only", "clip_cosine"): [0.9] * ITEMS,
    }
    found = {
        check.question: check for check in truth_checks(read_board(open_results(_rescored(folder, tmp_path, changed))))
    }
    for question in ("text_only is best on clip_cosine", "the canary is worst on grid_energy"):
        assert found[question].answer == "does not hold" and "`vision_only`" in found[question].evidence


def test_a_judge_that_orders_backwards_does_not_agree(folder: Path, tmp_path: Path) -> None:
    backwards = {
        (label, "clip_cosine"): [damage + 0.001 * index for index in range(ITEMS)]
        for label, (_, _, _, damage) in CONFIGURATIONS.items()
    }
    board = read_board(open_results(_rescored(folder, tmp_path, backwards)))
    checks = {check.question.split()[0]: check for check in truth_checks(board)[-2:]}
    assert checks["clip_cosine"].answer == "does not hold"
    assert "Spearman −" in checks["clip_cosine"].evidence
    assert checks["siglip_cosine"].answer == "holds"


def test_same_database_same_bytes(folder: Path, page: Path, tmp_path: Path) -> None:
    *_, again = write_leaderboard(folder, tmp_path)
    for name in ("core.md", "core/front.webp", "core/images.webp"):
        first, second = (hashlib.sha256((path.parent / name).read_bytes()).hexdigest() for path in (page, again))
        assert first == second, name


def _unbroken(cell: str) -> list[str]:
    """The pieces of a cell that a browser keeps on one line."""
    return [re.sub(r"<[^>]+>", "", piece) for piece in re.split(r"<w?br>|[ -]", cell)]


def test_every_table_is_rectangular_and_every_link_leads_somewhere(page: Path) -> None:
    text = page.read_text()
    for block in re.findall(r"(?:^\|.*\|\n)+", text, flags=re.MULTILINE):
        rows = block.splitlines()
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1
        cells = [re.sub(r"\]\([^)]*\)", "]", row).strip("| ").split(" | ") for row in rows[2:]]
        # What cannot be broken into lines, over all columns: about what a phone of 390 pixels has room for.
        unbroken = [
            max(len(part) for cell in column for part in _unbroken(cell)) for column in zip(*cells, strict=True)
        ]
        assert len(unbroken) <= 4 and sum(unbroken) <= 38
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert len(links) == 5
    assert all((page.parent / link).is_file() for link in links)


def test_the_page_names_suite_models_and_metric_versions(page: Path, board: Board) -> None:
    text = page.read_text()
    for needed in (board.run["suite_sha256"][:16], board.run["model_set_sha256"][:16], "grid_energy 1", "2026-11-20"):
        assert needed in text


def test_tables_and_texts_escape_what_would_break_them() -> None:
    assert plain_text("<b>no\n[x](y)*|`") == "&lt;b&gt;no \\[x\\](y)\\*\\|\\`"
    assert markdown_table(["a"], [["x|y\nz"]])[-1] == "| x\\|y z |"


@pytest.mark.parametrize(
    ("value", "signed", "text"),
    [(-0.0001, True, "0.000"), (-0.5, False, "−0.500"), (0.5, True, "+0.500"), (np.nan, False, "–")],
)
def test_numbers_never_show_a_negative_zero(value: float, signed: bool, text: str) -> None:
    assert number(value, METRIC, signed) == text


@white_plots()
def test_intervals_stay_within_the_range_of_the_metric_and_labels_may_break(tmp_path: Path) -> None:
    # Six items: Student's t reaches beyond what a probability can lose.
    labels = {"text_only": 1.0, "lerp:alpha=0.3,align=area": 0.0}
    rows: list[Row] = run_rows(labels=list(labels), seeds=[0])
    for card in (row for row in rows if row.table == "metrics" and row.metric == "attribute_adherence"):
        card |= {"low": 0.0, "high": 1.0}
    for label, low in labels.items():
        for index in range(6):
            cell = cell_row(label, item_name(index), 0, sha(label, index))
            rows += [cell, score_row(cell, "attribute_adherence", low if index < 4 else 1.0)]
    append(tmp_path, "run", *rows)
    board, _, page = write_leaderboard(tmp_path, tmp_path / "reports")
    found = _entry(board, "lerp:alpha=0.3,align=area", "attribute_adherence").difference
    assert found is not None and found.low == -1.0
    assert "<code>lerp:<wbr>alpha=0.3,<wbr>align=area</code>" in page.read_text()


@pytest.mark.parametrize("text", ["lerp:alpha=0.3", "outlier_mask_published:mode=none,layer=-4", "x" * 60, "a b" * 20])
def test_heads_of_a_sheet_are_broken_not_cut(text: str) -> None:
    font = ImageFont.load_default(12)
    lines = wrapped(text, font, 128)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert all(0 < font.getlength(line) <= 128 for line in lines)


def test_the_sheet_shows_pixels_as_they_are(folder: Path, page: Path, board: Board) -> None:
    labels = chosen_labels(board, None)
    assert labels[0] == "text_only" and labels[-1] == "canary" and NO_OP not in labels
    with Image.open(page.parent / "core" / "images.webp") as sheet:
        shown = np.asarray(sheet.convert("RGB")).astype(int)
    ((name,),) = open_results(folder).rows(
        "SELECT image_sha256 FROM cells WHERE label = 'canary' AND item = 'item-00' AND seed = 0"
    )
    pixels = ImageStore(folder).load(name)
    column = 8 + len(labels) * 136
    apart = [np.abs(shown[y : y + 128, column : column + 128] - pixels).mean() for y in range(0, shown.shape[0] - 127)]
    # The file is lossy: the tile is there up to a few levels, at one place.
    assert sum(gap < 8 for gap in apart) == 1


@white_plots()
def test_damaged_images_are_left_out_and_named(folder: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    shutil.copytree(folder, results)
    rows = open_results(results).rows("SELECT image_sha256 FROM cells WHERE label = 'canary' AND item = 'item-00'")
    store = ImageStore(results)
    cut, gone = (store.path(sha256) for (sha256,) in rows)
    cut.write_bytes(cut.read_bytes()[:100])
    gone.unlink()
    *_, page = write_leaderboard(results, tmp_path / "out")
    text = page.read_text()
    assert "**2 images are damaged or missing and left out**" in text
    assert cut.stem[:16] in text and gone.stem[:16] in text and "images.webp" in text


@white_plots()
def test_without_images_and_alphas_the_page_still_stands(tmp_path: Path) -> None:
    cell = cell_row("text_only", "item-00", 0, sha("p"))
    rows = run_rows(items=1, labels=["text_only"], seeds=[0])
    append(tmp_path, "run1", *rows, cell, score_row(cell, "grid_energy", 0.5))
    board, _, page = write_leaderboard(tmp_path, tmp_path / "out")
    assert "| `text_only` | 0.5000 | – |" in page.read_text()
    assert "No blend can be recommended here: no metric of gain or prompt was measured" in page.read_text()
    assert "![" not in page.read_text()
    assert all(check.answer == "undecided" for check in truth_checks(board))


@white_plots()
def test_a_run_without_any_ok_cell_is_reported_not_crashed(tmp_path: Path) -> None:
    append(tmp_path, "run1", *run_rows(items=0, labels=[]), cell_row("canary", "item-00", 0, None))
    board, _, page = write_leaderboard(tmp_path, tmp_path / "out")
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
