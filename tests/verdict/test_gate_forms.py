"""My idea and my change: earlier code, test items, items lost, looks."""

from pathlib import Path

import pytest
from synthetic_results import Row, append, item_name, run_rows, sha, shard_rows, write_results

from blendbench.core.errors import UsageError
from blendbench.results.store import Results, open_results
from blendbench.verdict import gate
from blendbench.verdict.looks import level_of
from blendbench.verdict.sentence import sentence

ITEMS = 12
LABEL = "adain_dim:alpha=0.3"


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    folder = tmp_path_factory.mktemp("results")
    write_results(folder, items=ITEMS, images=False)
    kept = {"text_only", "canary", LABEL}
    every = shard_rows(folder)
    cells = {row.cell_id for row in every if row.table == "cells" and row.label in kept}
    return [
        row
        for row in every
        if row.get("cell_id") in cells | {None} and (row.table != "planned_configurations" or row.label in kept)
    ]


def edited(rows: list[Row], metric: str, by: float, source: str = "edited") -> list[Row]:
    """A second run of the candidate with other code, whose values of one metric differ."""
    made = run_rows("run2", items=ITEMS, labels=[])
    made.append(Row(table="planned_configurations", run_id="run2", label=LABEL, source_sha256=sha(source)))
    for cell in (row for row in rows if row.table == "cells" and row.label == LABEL):
        new = sha(source, cell.cell_id)
        changes = {"cell_id": new, "image_sha256": sha("image", new), "conditioning_sha256": sha("conditioning", new)}
        made.append(cell.changed(run_id="run2", source_sha256=sha(source), **changes))
        for row in rows:
            if row.table == "scores" and row.cell_id == cell.cell_id:
                value = row.value + by if row.metric == metric and row.value is not None else row.value
                made.append(row.changed(cell_id=new, image_sha256=changes["image_sha256"], value=value))
    return made


def results_of(folder: Path, *runs: list[Row]) -> Results:
    for number, run in enumerate(runs, start=1):
        append(folder, f"run{number}", *run)
    return open_results(folder)


@pytest.mark.parametrize(
    ("metric", "by", "outcome"),
    [
        ("attribute_adherence", -0.1, "regression"),
        ("reference_style", -0.1, "regression"),
        ("reference_style", 0.1, "better"),
        ("grid_energy", -0.08, "cheaper"),
        ("grid_energy", 0.0, "no effect"),
    ],
)
def test_a_change_is_compared_with_the_code_before_it(
    rows: list[Row], tmp_path: Path, metric: str, by: float, outcome: str
) -> None:
    results = results_of(tmp_path, rows, edited(rows, metric, by))
    verdict = gate(results, LABEL, "previous", tolerated=None)
    assert (verdict.form, verdict.outcome, verdict.items) == ("change", outcome, ITEMS)
    change = next(effect.mean for effect in verdict.effects if effect.metric.name == metric)
    assert change == pytest.approx(by)
    assert verdict.baseline == f"{LABEL} at {sha('source', 'adain_dim')[:8]}"


def test_a_code_can_be_named_and_the_current_one_is_a_no_op(rows: list[Row], tmp_path: Path) -> None:
    results = results_of(tmp_path, rows, edited(rows, "grid_energy", 0.2))
    old, new = sha("source", "adain_dim"), sha("edited")
    assert gate(results, LABEL, f"{LABEL}@{old[:12]}").outcome == "regression"
    assert gate(results, LABEL, f"{LABEL}@{new}").outcome == "no-op"
    with pytest.raises(UsageError, match="has no cells of this code"):
        gate(results, LABEL, f"{LABEL}@ffff")


def test_without_earlier_code_there_is_no_change_to_judge(rows: list[Row], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no cells of another code"):
        gate(results_of(tmp_path, rows), LABEL, "previous")


def split_rows(rows: list[Row], dev: int) -> list[Row]:
    return [
        row.changed(split="dev" if row.item < item_name(dev) else "test") if row.table == "items" else row
        for row in rows
    ]


def test_the_gate_reads_test_items_alone(rows: list[Row], tmp_path: Path) -> None:
    results = results_of(tmp_path, split_rows(rows, dev=3))
    verdict = gate(results, LABEL, "text_only")
    assert (verdict.split, verdict.items) == ("test", ITEMS - 3)
    assert gate(results, LABEL, "text_only", items=[item_name(0), item_name(1)]).items == 2


def test_a_candidate_without_test_items_is_refused_with_the_command(rows: list[Row], tmp_path: Path) -> None:
    dev = split_rows(rows, dev=4)
    gone = {row.cell_id for row in dev if row.table == "cells" and row.label == LABEL and row.item >= item_name(4)}
    results = results_of(tmp_path, [row for row in dev if row.get("cell_id") not in gone])
    with pytest.raises(UsageError, match=r"core has no test items of it.*--split test"):
        gate(results, LABEL, "text_only")


def test_so_few_items_cannot_show_that_none_is_lost(rows: list[Row], tmp_path: Path) -> None:
    known = [
        row.changed(low=0.0, high=1.0) if row.table == "metrics" and row.metric == "attribute_adherence" else row
        for row in rows
    ]
    results = results_of(tmp_path, known, [row for row in edited(rows, "grid_energy", 0.0) if row.table != "metrics"])
    verdict = gate(results, LABEL, "previous")
    assert (verdict.outcome, verdict.exit_code, verdict.needed) == ("undecided", 3, 59)
    assert "0 of 12 items lost up to 22.1 % of all may be" in sentence(verdict)
    assert gate(results, LABEL, "previous", tolerated=0.25).outcome == "no effect"


def test_an_accepted_loss_is_no_regression(rows: list[Row], tmp_path: Path) -> None:
    results = results_of(tmp_path, rows, edited(rows, "attribute_adherence", -0.03))
    assert gate(results, LABEL, "previous", tolerated=None).outcome == "regression"
    assert gate(results, LABEL, "previous", tolerated=None, allow={"prompt": 0.1}).outcome == "no effect"


def test_the_levels_of_all_looks_sum_to_the_level_of_one() -> None:
    assert level_of(1) == pytest.approx(0.04)
    assert sum(level_of(number) for number in range(1, 100)) == pytest.approx(0.05)


def test_the_primary_metric_is_the_suites_choice(rows: list[Row], tmp_path: Path) -> None:
    named = [
        row.changed(primaries={"prompt": "clip_cosine", "gain": "effect_size"}) if row.table == "suites" else row
        for row in rows
    ]
    verdict = gate(results_of(tmp_path, named), LABEL, "text_only")
    assert (verdict.primaries["prompt"], verdict.primaries["drift"]) == ("clip_cosine", "color_drift")
    # An item is lost on a scale from 0 to 1; a cosine is none.
    assert verdict.lost is None
