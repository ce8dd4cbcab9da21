"""`blendbench compare`: readings of known effects, and its agreement with the statistics."""

import sys
from pathlib import Path

import pytest
from synthetic_results import INCOMPLETE, NO_OP, write_results

from blendbench.cli import main
from blendbench.reports.compare import compare_metrics, reading
from blendbench.results.store import Results, open_results
from blendbench.verdict import Effect, compare


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    folder = tmp_path_factory.mktemp("results")
    write_results(folder, items=12, images=False)
    return open_results(folder)


def compared(results: Results, first: str, second: str) -> dict[str, Effect]:
    return {effect.metric.name: effect for effect in compare_metrics(compare(results, "core", first, second))}


def test_readings_name_the_better_one(results: Results) -> None:
    there = compared(results, "vision_only", "style_delta:alpha=0.3")
    assert reading(there["attribute_adherence"]) == reading(there["grid_energy"]) == "second better"
    assert reading(there["effect_size"]) == "differs"
    assert there["grid_energy"].mean == pytest.approx(0.3 * 0.65, abs=0.005)
    back = compared(results, "style_delta:alpha=0.3", "vision_only")
    assert reading(back["grid_energy"]) == "first better"
    for name, effect in back.items():
        assert effect.mean == pytest.approx(-there[name].mean)


def test_a_no_op_is_equivalent_in_everything(results: Results) -> None:
    assert {reading(effect) for effect in compared(results, NO_OP, "text_only").values()} == {"equivalent"}


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
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
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder: Path = results.folder
    monkeypatch.setattr(sys, "argv", ["blendbench", "compare", *arguments, "--results", str(folder)])
    with pytest.raises(SystemExit) as end:
        main()
    assert (end.value.code or 0) == code
    printed = capsys.readouterr()
    assert message in printed.out + printed.err
