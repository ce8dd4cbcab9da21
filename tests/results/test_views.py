"""The views: which cells and scores count now, and what is compared with what."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
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
    write_results,
)

from blendbench.results.pairs import read_pairs
from blendbench.results.store import open_results

ITEMS = 3


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_results(tmp_path, items=ITEMS, images=False)
    return tmp_path


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    write_results(folder, items=ITEMS, images=False)
    return folder


def test_leaderboard_view_equals_pandas(filled: Path) -> None:
    results = open_results(filled)
    wide = results.query("SELECT label, item, seed, grid_energy FROM cell_scores WHERE experiment = 'core'")
    expected = wide.groupby(["label", "item"])["grid_energy"].mean().groupby("label").mean()
    board = results.query("FROM leaderboard WHERE metric = 'grid_energy'").set_index("label")
    pd.testing.assert_series_equal(board["mean"].sort_index(), expected.sort_index(), check_names=False)
    difference = expected - expected["text_only"]
    complete = [label for label in CONFIGURATIONS if label not in (INCOMPLETE, "text_only")]
    pd.testing.assert_series_equal(
        board.loc[complete, "difference_to_baseline"], difference[complete], check_names=False
    )


def test_leaderboard_view_counts_what_is_not_ok(filled: Path) -> None:
    board = open_results(filled).query("FROM leaderboard").set_index(["label", "metric"])
    failed = board.loc[INCOMPLETE, "grid_energy"]
    assert (failed["ok"], failed["failed"], failed["expected"]) == (2 * ITEMS - 2, 2, 2 * ITEMS)
    assert board.loc["canary", "reference_style"]["unscorable"] == 2
    assert board.loc["canary", "probe_margin"]["skipped"] == 2 * ITEMS
    assert board.loc[NO_OP, "grid_energy"]["same_conditioning"] == 2 * ITEMS
    assert board.loc["canary", "grid_energy"]["same_conditioning"] == 0


def test_planned_cells_that_nobody_made_are_missing_not_absent(folder: Path) -> None:
    append(
        folder, "run2", *run_rows("run2", labels=["text_only", "ghost"]), run_rows("run2")[0].changed(items=["item-99"])
    )
    board = open_results(folder).query("FROM leaderboard WHERE metric = 'grid_energy'").set_index("label")
    assert board.loc["ghost", "missing"] == board.loc["ghost", "expected"] == 2
    assert (board.loc["text_only", "missing"], board.loc["text_only", "expected"]) == (2, 2 * (ITEMS + 1))


def test_a_run_on_other_items_makes_no_finished_configuration_incomplete(folder: Path) -> None:
    run, *rows = run_rows("run2", labels=["text_only", "canary"], items=ITEMS + 2, seeds=[0, 1, 2])
    append(folder, "run2", run, *rows)
    counted = dict(open_results(folder).rows("SELECT label, count(*) FROM expected_cells GROUP BY ALL"))
    assert counted.pop("text_only") == counted.pop("canary") == 3 * (ITEMS + 2)
    assert set(counted.values()) == {2 * ITEMS}
    # Fewer items than before take nothing away either.
    append(folder, "run3", *run_rows("run3", labels=["text_only", "canary"], items=1, seeds=[0]))
    again = dict(open_results(folder).rows("SELECT label, count(*) FROM expected_cells GROUP BY ALL"))
    assert again["canary"] == 3 * (ITEMS + 2)


def test_what_older_code_was_planned_on_is_not_expected_of_newer_code(folder: Path) -> None:
    rows = run_rows("run2", labels=["text_only", "canary"], items=1, seeds=[0])
    edited = [row.changed(source_sha256="edited") if row.get("label") == "canary" else row for row in rows]
    append(folder, "run2", *edited)
    counted = dict(open_results(folder).rows("SELECT label, count(*) FROM expected_cells GROUP BY ALL"))
    assert counted["canary"] == 1
    assert counted["text_only"] == 2 * ITEMS


@pytest.mark.parametrize("field", ["suite_sha256", "model_set_sha256", "sampler_sha256", "dtype", "source_sha256"])
def test_cells_of_another_setting_or_code_are_not_averaged_with_the_current_ones(folder: Path, field: str) -> None:
    query = "SELECT mean FROM leaderboard WHERE label = 'canary' AND metric = 'grid_energy'"
    before = open_results(folder).rows(query)
    setting: dict[str, Any] = {} if field == "source_sha256" else {field: sha("old")}
    other = cell_row("canary", item_name(0), 0, sha("p"), run_id="run0", cell_id=sha("x"), **{field: sha("old")})
    append(folder, "run0", *run_rows("run0", **setting), other, score_row(other, "grid_energy", 1e6))
    append(folder, "run2", *run_rows("run2", items=ITEMS))
    results = open_results(folder)
    assert results.rows(query) == before
    assert results.rows("SELECT count(*) FROM cells WHERE cell_id = ?", [other.cell_id]) == [(1,)]


def test_a_score_counts_only_for_the_image_that_it_was_measured_on(folder: Path) -> None:
    again = cell_row("canary", item_name(0), 0, sha("another image"), run_id="run2")
    append(folder, "run2", *run_rows("run2", items=ITEMS), again)
    query = "SELECT metric, value FROM current_scores WHERE cell_id = ? ORDER BY metric"
    assert open_results(folder).rows(query, [again.cell_id]) == []
    append(folder, "run3", score_row(again, "grid_energy", 0.25))
    assert open_results(folder).rows(query, [again.cell_id]) == [("grid_energy", 0.25)]


def test_a_paired_score_counts_only_for_the_baseline_image_of_now(folder: Path) -> None:
    baseline = cell_row("text_only", item_name(0), 0, sha("new baseline"), run_id="run2")
    append(folder, "run2", *run_rows("run2", items=ITEMS), baseline)
    canary = cell_row("canary", item_name(0), 0, sha("image", "canary", 0, 0))
    query = "SELECT metric FROM current_scores WHERE cell_id = ? AND metric IN ('effect_size', 'grid_energy')"
    assert open_results(folder).rows(query, [canary.cell_id]) == [("grid_energy",)]
    append(folder, "run3", score_row(canary, "effect_size", 7.0, sha("new baseline")))
    value = "SELECT value FROM current_scores WHERE cell_id = ? AND metric = 'effect_size'"
    assert open_results(folder).rows(value, [canary.cell_id]) == [(7.0,)]
    # Both rows are kept: the old baseline may come back.
    append(folder, "run4", cell_row("text_only", item_name(0), 0, sha("image", "text_only", 0, 0), run_id="run2"))
    assert open_results(folder).rows(value, [canary.cell_id]) == [(40.0,)]


def test_another_baseline_of_the_experiment_has_paired_scores_of_its_own(folder: Path) -> None:
    append(folder, "run2", *run_rows("run2", items=ITEMS, baseline="canary"))
    query = "SELECT count(*) FROM current_scores WHERE metric = ? AND label <> 'canary'"
    results = open_results(folder)
    assert results.rows(query, ["effect_size"]) == [(0,)] < results.rows(query, ["grid_energy"])
    assert results.rows("SELECT DISTINCT baseline_label FROM paired_effects") == [("canary",)]
    assert (
        results.rows("SELECT status, count(*) FROM unit_scores WHERE metric = 'effect_size' GROUP BY ALL")[0][0]
        == "missing"
    )


@pytest.mark.parametrize(("column", "value"), [("metric_version", 2), ("scorer_sha256", sha("other weights"))])
def test_scores_are_those_of_the_version_and_weights_of_the_latest_run(folder: Path, column: str, value: Any) -> None:
    cell = cell_row("canary", item_name(0), 0, sha("image", "canary", 0, 0))
    rows = [
        row.changed(**{column: value}) if row.table in ("metrics", "planned_metrics") else row
        for row in run_rows("run2")
    ]
    rows = [
        Row({k: v for k, v in row.items() if k != "scorer_sha256"}) if row.table == "metrics" else row for row in rows
    ]
    append(folder, "run2", *rows, score_row(cell, "grid_energy", 0.5, **{column: value}))
    query = "SELECT value FROM current_scores WHERE metric = 'grid_energy'"
    assert open_results(folder).rows(query) == [(0.5,)]
    append(folder, "run3", *run_rows("run3", items=ITEMS))  # back to the old one
    assert len(open_results(folder).rows(query)) == 2 * (ITEMS * len(CONFIGURATIONS) - 1)


def test_of_two_cells_at_one_place_the_newer_counts(folder: Path) -> None:
    twin = cell_row("canary", item_name(0), 0, sha("p"), cell_id=sha("twin"), run_id="run2")
    append(folder, "run2", *run_rows("run2", items=ITEMS), twin)
    query = "SELECT cell_id FROM current_cells WHERE label = 'canary' AND item = ? AND seed = 0"
    assert open_results(folder).rows(query, [item_name(0)]) == [(twin.cell_id,)]


def test_pairs_are_candidate_minus_baseline_for_every_baseline(filled: Path) -> None:
    results = open_results(filled)
    scores = results.query("SELECT label, item, seed, metric, value FROM current_scores WHERE status = 'ok'")
    wide = scores.pivot(index=["metric", "item", "seed"], columns="label", values="value")
    for baseline in ("text_only", "canary"):
        rows = results.query("FROM pairs WHERE baseline_label = ? AND label = 'vision_only'", [baseline])
        assert len(rows) > 40
        found = rows.set_index(["metric", "item", "seed"])["difference"].sort_index()
        expected = (wide["vision_only"] - wide[baseline]).dropna().sort_index()
        pd.testing.assert_series_equal(found, expected, check_names=False)


def test_paired_effects_are_the_pairs_with_the_baseline(filled: Path) -> None:
    results = open_results(filled)
    expected = results.query("FROM pairs WHERE baseline_label = 'text_only' ORDER BY ALL")
    assert len(expected) > 100
    pd.testing.assert_frame_equal(results.query("FROM paired_effects ORDER BY ALL"), expected)


def test_pairs_to_look_at_have_prompt_and_images(filled: Path) -> None:
    row = (
        open_results(filled)
        .query("FROM image_pairs WHERE label = 'canary' AND metric = 'grid_energy' ORDER BY ALL")
        .iloc[0]
    )
    names = [sha("image", label, 0, 0) for label in ("canary", "text_only")]
    assert row["prompt"] == "a red circle, number 0"
    assert [row["image"], row["baseline_image"]] == [f"images/{name[:2]}/{name}.png" for name in names]
    assert row["difference"] == row["value"] - row["baseline_value"]


def test_one_cell_may_belong_to_two_experiments(folder: Path) -> None:
    cell = cell_row("canary", item_name(0), 0, sha("image", "canary", 0, 0), run_id="run2", experiment="smoke")
    append(folder, "run2", *run_rows("run2", "smoke", items=1), cell)
    found = open_results(folder).rows(
        "SELECT experiment, grid_energy IS NOT NULL FROM cell_scores WHERE cell_id = ? ORDER BY 1", [cell.cell_id]
    )
    assert found == [("core", True), ("smoke", True)]


def test_metric_names_that_are_no_identifiers_become_columns(folder: Path) -> None:
    name = 'it\'s "odd"'
    cell = cell_row("canary", item_name(0), 0, sha("image", "canary", 0, 0))
    card = next(row for row in run_rows() if row.table == "metrics").changed(metric=name)
    plan = Row(table="planned_metrics", run_id="run1", metric=name, metric_version=1)
    append(folder, "run2", card, plan, score_row(cell, name, 2.5))
    assert open_results(folder).query("FROM cell_scores")[name].max() == 2.5


def test_the_reader_of_pairs_gives_the_rows_of_the_view(tmp_path: Path) -> None:
    write_results(tmp_path, items=2, images=False)
    results = open_results(tmp_path)
    for labels in (None, ["canary", "vision_only"]):
        rows = [
            (pairs.label, pairs.metric.name, item, seed, value, baseline_value)
            for pairs in read_pairs(results, "core", "text_only", labels)
            for item, seed, value, baseline_value in zip(
                pairs.items, pairs.seeds, pairs.values, pairs.baseline_values, strict=True
            )
        ]
        wanted = results.rows(
            """
            SELECT label, metric, item, seed, value, baseline_value FROM pairs
            WHERE experiment = 'core' AND baseline_label = 'text_only' AND (? IS NULL OR list_contains(?, label))
            ORDER BY label, metric, item, seed
            """,
            [labels, labels],
        )
        assert rows == wanted != []
