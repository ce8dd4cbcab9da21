"""The gate on results with known effects: verdicts, exit codes and refusals."""

import functools
from collections.abc import Callable
from pathlib import Path

import pytest
from synthetic_results import (
    CARDS,
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
    write_results,
)

from blendbench.core.errors import UsageError
from blendbench.results.store import Results, open_results
from blendbench.verdict import Effect, Verdict
from blendbench.verdict import gate as judge
from blendbench.verdict.sentence import sentence

ITEMS = 8
CHANGED = ("text_only", "vision_only", "adain_dim:alpha=0.3", "self_alignment", "lerp:alpha=0.1,align=area", "canary")
JUDGED = ("prompt", "gain", "artifact", "drift")
Change = Callable[[Row], Row | None]
gate = functools.cache(judge)  # by the open results, which no test changes once they are judged


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    folder = tmp_path_factory.mktemp("results")
    write_results(folder, items=ITEMS, images=False)
    return open_results(folder)


@pytest.fixture(scope="module")
def rows(results: Results) -> list[Row]:
    """The same without the configurations that no test changes: writing and reading them again takes time."""
    every = shard_rows(results.folder)
    kept = {row.cell_id for row in every if row.table == "cells" and row.label in CHANGED}
    return [
        row
        for row in every
        if row.get("cell_id") in kept | {None} and (row.table != "planned_configurations" or row.label in CHANGED)
    ]


def changed(rows: list[Row], folder: Path, change: Change) -> Results:
    """The synthetic results with every row passed through `change`; None drops it."""
    append(folder, "run1", *(new for row in rows if (new := change(row)) is not None))
    return open_results(folder)


def cell_id(label: str, index: int, seed: int) -> str:
    return sha("cell", label, item_name(index), seed)


def decisions(verdict: Verdict) -> dict[str, str | None]:
    return {effect.metric.name: effect.decision if effect.judged else None for effect in verdict.effects}


def effect_of(verdict: Verdict, metric: str) -> Effect:
    return next(effect for effect in verdict.effects if effect.metric.name == metric)


def test_damage_that_brings_something_is_a_trade(results: Results) -> None:
    verdict = gate(results, "adain_dim", "text_only")
    assert (verdict.outcome, verdict.exit_code) == ("trade", 0)
    assert verdict.candidate == "adain_dim:alpha=0.3"
    worse = ("attribute_adherence", "grid_energy", "blockiness", "color_drift")
    assert set(decisions(verdict).items()) >= {
        *((name, "worse") for name in worse),
        ("effect_size", None),
        ("reference_style", "better"),
    }
    assert "gains 0.11 style [" in sentence(verdict) and " for 0.18 prompt [" in sentence(verdict)
    adherence = effect_of(verdict, "attribute_adherence")
    assert adherence.mean == pytest.approx(-0.6 * 0.3, abs=0.02)
    assert adherence.low < -0.18 < adherence.high < 0
    assert verdict.canary.detected


def test_the_other_way_round_gives_the_gain_back(results: Results) -> None:
    verdict = gate(results, "text_only", "vision_only")
    assert (verdict.outcome, verdict.exit_code) == ("regression", 1)
    assert "style −0.0" in sentence(verdict)
    assert not verdict.worst
    forward = gate(results, "vision_only", "text_only")
    # Always candidate minus baseline.
    for there, back in zip(forward.effects, verdict.effects, strict=True):
        assert there.mean == pytest.approx(-back.mean)


def test_a_no_op_is_called_a_no_op(results: Results) -> None:
    verdict = gate(results, NO_OP, "text_only")
    assert (verdict.outcome, verdict.exit_code) == ("no-op", 0)
    assert "bit for bit" in sentence(verdict)


def test_failed_cells_give_exit_code_5_and_are_named(results: Results) -> None:
    verdict = gate(results, INCOMPLETE, "text_only")
    assert (verdict.outcome, verdict.exit_code) == ("cells failed", 5)
    assert len(verdict.failed) == 2
    assert "item-01, seed 0: conditioning has NaN" in verdict.failed[0]
    assert set(decisions(verdict).values()) == {None}


def test_a_failed_score_gives_exit_code_5_too(rows: list[Row], tmp_path: Path) -> None:
    bad = cell_id("vision_only", 3, 1)

    def broken(row: Row) -> Row:
        if row.table == "scores" and (row.cell_id, row.metric) == (bad, "blockiness"):
            return row.changed(value=None, status="failed", error="boom")
        return row

    verdict = gate(changed(rows, tmp_path, broken), "vision_only", "text_only")
    assert verdict.exit_code == 5
    assert verdict.failed == ("vision_only: item item-03, seed 1: blockiness: boom",)


def test_the_worst_items_are_those_that_lost_most(rows: list[Row], tmp_path: Path) -> None:
    ruined = cell_id("self_alignment", 7, 1)

    def one_ruined(row: Row) -> Row:
        if row.table == "scores" and (row.cell_id, row.metric) == (ruined, "grid_energy"):
            return row.changed(value=0.9)
        return row

    worst = gate(changed(rows, tmp_path, one_ruined), "self_alignment", "text_only").worst
    assert (worst[0].item, worst[0].seed, worst[0].metric) == (item_name(7), 1, "grid_energy")
    assert worst[0].change == pytest.approx(0.89, abs=0.02)
    assert worst[0].prompt == "a red circle, number 7"
    shown = {(r.label, r.seed): r.image_sha256 for r in rows if r.table == "cells" and r.item == item_name(7)}
    assert shown["self_alignment", 1] in worst[0].candidate_image and shown["text_only", 1] in worst[0].baseline_image
    assert len(worst) == 5 and [entry.worse for entry in worst] == sorted((e.worse for e in worst), reverse=True)


def test_a_canary_that_looks_fine_stops_the_gate(rows: list[Row], tmp_path: Path) -> None:
    places = {row.cell_id: (row.label, row.item, row.seed) for row in rows if row.table == "cells"}
    fine = {
        (places[row.cell_id][1:], row.metric): row.value
        for row in rows
        if row.table == "scores" and places[row.cell_id][0] == "text_only"
    }

    def harmless(row: Row) -> Row:
        if row.table == "scores" and row.metric in ("grid_energy", "blockiness"):
            label, *place = places[row.cell_id]
            if label == "canary":
                return row.changed(value=fine[tuple(place), row.metric])
        return row

    verdict = gate(changed(rows, tmp_path, harmless), "adain_dim", "text_only")
    assert (verdict.outcome, verdict.exit_code) == ("canary not detected", 4)
    assert set(decisions(verdict).values()) == {None}
    assert "artifact: not worse" in verdict.canary.evidence and "prompt: worse in" in verdict.canary.evidence


def test_a_metric_that_fails_keeps_no_other_from_finding_the_canary(rows: list[Row], tmp_path: Path) -> None:
    def broken(*metrics: str) -> Results:
        def change(row: Row) -> Row:
            if row.table == "scores" and row.metric in metrics:
                return row.changed(value=None, status="failed", error="boom")
            return row

        return changed(rows, tmp_path / str(len(metrics)), change)

    verdict = gate(broken("blockiness"), "vision_only", "text_only")
    assert (verdict.outcome, verdict.exit_code) == ("cells failed", 5)
    assert verdict.canary.detected and "artifact: worse in grid_energy" in verdict.canary.evidence
    assert "scores failed, the first: canary: item item-00, seed 0: blockiness: boom" in verdict.canary.evidence
    # Nothing is left that sees an artifact.
    blind = gate(broken("blockiness", "grid_energy"), "vision_only", "text_only")
    assert (blind.outcome, blind.exit_code) == ("canary not detected", 4)


def test_results_without_a_canary_clear_nothing(rows: list[Row], tmp_path: Path) -> None:
    without = changed(rows, tmp_path, lambda row: None if row.get("label") == "canary" else row)
    verdict = gate(without, "lerp:alpha=0.1,align=area", "text_only")
    assert verdict.exit_code == 4
    assert "run it with the controls" in verdict.canary.evidence


def test_too_few_items_are_named_for_canary_and_candidate(tmp_path: Path) -> None:
    write_results(tmp_path / "3", items=3, images=False)
    verdict = gate(open_results(tmp_path / "3"), "adain_dim", "text_only")
    assert verdict.exit_code == 4
    assert "which fewer than 7 items cannot show" in verdict.canary.evidence
    # Seven items are enough for two artifact metrics, and none too many for three prompt metrics.
    write_results(tmp_path / "7", items=7, images=False)
    verdict = gate(open_results(tmp_path / "7"), "adain_dim", "text_only", alpha=0.05)
    judged = [str(card["metric"]) for card in CARDS if card["role"] in JUDGED]
    assert [name for name, outcome in decisions(verdict).items() if outcome is not None] == sorted(judged)
    assert not any("too few items" in note for note in verdict.notes)


@pytest.mark.parametrize("labels", [("vision_only",), tuple(CONFIGURATIONS)])
def test_a_missing_pair_is_an_error_that_names_it(rows: list[Row], tmp_path: Path, labels: tuple[str, ...]) -> None:
    gone = {cell_id(label, 3, 1) for label in labels}
    missing = changed(rows, tmp_path, lambda row: None if row.get("cell_id") in gone else row)
    with pytest.raises(UsageError, match=r"vision_only: 1 of 16 pairs are missing .* item item-03, seed 1"):
        gate(missing, "vision_only", "text_only")


def test_a_missing_score_is_an_error(rows: list[Row], tmp_path: Path) -> None:
    gone = (cell_id("vision_only", 3, 1), "blockiness")

    def unmeasured(row: Row) -> Row | None:
        return None if row.table == "scores" and (row.cell_id, row.metric) == gone else row

    with pytest.raises(UsageError, match="item item-03, seed 1 has no blockiness"):
        gate(changed(rows, tmp_path, unmeasured), "vision_only", "text_only")


@pytest.mark.parametrize(
    ("field", "word"),
    [("suite_sha256", "suite"), ("model_set_sha256", "model set"), ("dtype", "dtype"), ("sampler_sha256", "sampler")],
)
def test_other_settings_are_not_compared_and_the_reason_is_given(
    rows: list[Row], tmp_path: Path, field: str, word: str
) -> None:
    def elsewhere(row: Row) -> Row:
        return row.changed(**{field: "other"}) if row.table == "cells" and row.label == "vision_only" else row

    with pytest.raises(UsageError, match=f"vision_only: not comparable: its cells have another {word} than"):
        gate(changed(rows, tmp_path, elsewhere), "vision_only", "text_only")


def test_a_score_against_an_older_baseline_image_is_not_used(rows: list[Row], tmp_path: Path) -> None:
    other = sha("another image")
    base = cell_id("text_only", 2, 0)

    def redone(row: Row) -> Row:
        if row.table == "cells" and row.cell_id == base:
            return row.changed(image_sha256=other)
        if row.table == "scores" and row.cell_id == base:
            return row.changed(image_sha256=other, baseline_image_sha256=other if row.baseline_image_sha256 else "")
        return row

    with pytest.raises(UsageError, match=r"vision_only: item item-02, seed 0 has no color_drift"):
        gate(changed(rows, tmp_path, redone), "vision_only", "text_only")


def test_only_the_newest_code_of_a_strategy_is_judged(rows: list[Row], tmp_path: Path) -> None:
    # The fixed strategy generates the baseline's images; its old cells are still there.
    cells = {row.cell_id: row for row in rows if row.table == "cells"}
    twins = {(row.item, row.seed): row for row in cells.values() if row.label == "text_only"}
    scores = [row for row in rows if row.table == "scores"]
    fixed = run_rows("run2", items=ITEMS, labels=[])
    fixed.append(Row(table="planned_configurations", run_id="run2", label="vision_only", source_sha256="new"))
    for cell in cells.values():
        if cell.label == "vision_only":
            twin, new = twins[cell.item, cell.seed], sha("new", cell.cell_id)
            same = {name: twin[name] for name in ("conditioning_sha256", "image_sha256")}
            fixed.append(cell.changed(cell_id=new, run_id="run2", source_sha256="new", **same))
            fixed += [row.changed(cell_id=new) for row in scores if row.cell_id == twin.cell_id]
    append(tmp_path, "run1", *rows)
    assert gate(open_results(tmp_path), "vision_only", "text_only").outcome == "dominated"
    append(tmp_path, "run2", *fixed)
    assert gate(open_results(tmp_path), "vision_only", "text_only").outcome == "no-op"


def test_only_named_items_are_looked_at(rows: list[Row], tmp_path: Path) -> None:
    results = changed(rows, tmp_path, lambda row: row)
    few = [item_name(index) for index in range(5)]
    verdict = gate(results, "vision_only", "text_only", items=tuple(few))
    assert (verdict.items, verdict.units) == (5, 10)
    assert verdict.outcome == "undecided" and any("too few items" in note for note in verdict.notes)


@pytest.mark.parametrize(
    ("candidate", "words"),
    [
        ("lerpp:alpha=0.3,align=area", "did you mean 'lerp:alpha=0.3,align=area'"),
        ("lerp", "8 configurations have this strategy; name one"),
        ("lerp:alpha=0.9,align=area", "did you mean 'lerp:alpha="),
        ("text_only", "same configuration"),
    ],
)
def test_unknown_and_ambiguous_names_are_refused_with_a_hint(results: Results, candidate: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        gate(results, candidate, "text_only")


def test_an_unknown_experiment_is_refused_with_a_hint(results: Results) -> None:
    with pytest.raises(UsageError, match="did you mean 'core'"):
        gate(results, "vision_only", "text_only", experiment="cor")


def test_the_latest_experiment_with_both_is_chosen(rows: list[Row], tmp_path: Path) -> None:
    append(tmp_path, "run1", *rows)
    cell = cell_row("text_only", item_name(0), 0, sha("p"), cell_id=sha("later"), run_id="run2", experiment="later")
    append(tmp_path, "run2", *run_rows("run2", "later", labels=["text_only"]), cell, score_row(cell, "blockiness", 0.0))
    results = open_results(tmp_path)
    assert gate(results, "vision_only", "text_only").experiment == "core"


def test_a_metric_that_no_model_can_measure_is_left_out_with_its_reason(results: Results) -> None:
    assert gate(results, "vision_only", "text_only").left_out == {"probe_margin": "the model set has no probe"}


def test_unscorable_items_are_left_out_and_counted(results: Results) -> None:
    style = effect_of(gate(results, "vision_only", "text_only"), "reference_style")
    assert (style.items, style.units, style.unscorable) == (ITEMS - 1, 2 * (ITEMS - 1), 2)


def test_the_same_cells_give_the_same_verdict_with_its_provenance(results: Results) -> None:
    verdict = gate(results, "vision_only", "text_only")
    assert (verdict.provenance["suite"], verdict.provenance["dtype"]) == ("miniature", "float32")
    assert repr(judge(results, "vision_only", "text_only")) == repr(verdict)


def test_configurations_are_compared_on_the_items_that_both_were_planned_on(rows: list[Row], tmp_path: Path) -> None:
    extra = cell_row("text_only", "item-99", 0, sha("image"), cell_id=sha("more"))
    run, *planned = run_rows("run2", labels=["text_only"], metrics={}, seeds=[0])
    append(tmp_path, "run1", *rows)
    before = gate(open_results(tmp_path), "vision_only", "text_only")
    append(tmp_path, "run2", run.changed(items=["item-99"]), *planned, extra.changed(run_id="run2"))
    after = gate(open_results(tmp_path), "vision_only", "text_only")
    assert (after.items, after.units, after.outcome) == (before.items, before.units, before.outcome)
    other = cell_row("style_delta:alpha=0.3", "item-98", 0, sha("image"), run_id="run3")
    run, *planned = run_rows("run3", labels=[other.label], metrics={}, seeds=[0])
    append(tmp_path, "run3", run.changed(items=["item-98"]), *planned, other)
    with pytest.raises(UsageError, match=r"no item and seed of core has both configurations"):
        gate(open_results(tmp_path), "style_delta:alpha=0.3", "text_only")
