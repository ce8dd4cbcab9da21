"""`blendbench compare`: readings of known effects, and its agreement with the statistics."""

import sys
from pathlib import Path

import pytest
from synthetic_results import INCOMPLETE, NO_OP, write_results

from blendbench.cli import main
from blendbench.reports.compare import compare_metrics
from blendbench.results.store import Results, open_results
from blendbench.verdict import pair


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    folder = tmp_path_factory.mktemp("results")
    write_results(folder, items=12, images=False)
    return open_results(folder)


def test_readings_say_which_is_better(results: Results) -> None:
    rows = {
        row.metric.name: row for row in compare_metrics(pair(results, "core", "vision_only", "style_delta:alpha=0.3"))
    }
    assert rows["attribute_adherence"].reading == "second" and rows["grid_energy"].reading == "second"
    assert rows["effect_size"].reading == "differs"
    assert rows["grid_energy"].effect.mean == pytest.approx(0.3 * 0.65, abs=0.005)
    swapped = compare_metrics(pair(results, "core", "style_delta:alpha=0.3", "vision_only"))
    assert {row.metric.name: row.reading for row in swapped}["grid_energy"] == "first"
    for row in swapped:
        assert row.effect.mean == pytest.approx(-rows[row.metric.name].effect.mean)


def test_a_no_op_is_the_same_in_everything(results: Results) -> None:
    assert {row.reading for row in compare_metrics(pair(results, "core", NO_OP, "text_only"))} == {"same"}


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["vision_only", "text_only"], 0, "first: vision_only"),
        (["vision_only", "text_only", "--format", "markdown"], 0, "| grid_energy | artifact |"),
        ([INCOMPLETE, "text_only"], 5, "failed: outlier_mask"),
        (["vision_onli", "text_only"], 2, "did you mean 'vision_only'"),
    ],
)
def test_the_verb_prints_a_table(
    results: Results,
    arguments: list[str],
    code: int,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder: Path = results.database.parent
    monkeypatch.setattr(sys, "argv", ["blendbench", "compare", *arguments, "--results", str(folder)])
    with pytest.raises(SystemExit) as end:
        main()
    assert (end.value.code or 0) == code
    printed = capsys.readouterr()
    assert told in printed.out + printed.err
