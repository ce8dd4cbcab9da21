"""The board's numbers, where configurations have items of their own."""

from pathlib import Path

import pytest
from synthetic_results import append, cell_row, item_name, run_rows, score_row, sha, write_results

from blendbench.reports.board import read_board
from blendbench.results.store import open_results


def test_a_trial_on_few_items_leaves_the_rest_as_it_was(tmp_path: Path) -> None:
    write_results(tmp_path, items=4, images=False)
    board = read_board(open_results(tmp_path))
    run, *planned = run_rows("run2", labels=["text_only", "canary:alpha=1"], items=2, seeds=[0])
    cells = [
        cell_row("canary", item_name(i), 0, sha("i", i), cell_id=sha("trial", i)).changed(label="canary:alpha=1")
        for i in range(2)
    ]
    scores = [score_row(cell, "grid_energy", 0.3) for cell in cells]
    append(tmp_path, "run2", run, *planned, *(cell.changed(run_id="run2") for cell in cells), *scores)
    after = read_board(open_results(tmp_path))
    assert [row for row in after.configurations if row.label != "canary:alpha=1"] == list(board.configurations)
    trial = after.configuration("canary:alpha=1")
    assert trial is not None
    assert (trial.ok, trial.expected, trial.complete) == (2, 2, True)
    entry = trial.entries["grid_energy"]
    assert (entry.complete, entry.expected) == (True, 2)
    assert entry.mean is not None
    assert entry.effect is not None
    assert entry.mean == pytest.approx(0.3)
    assert entry.effect.units == 2
