"""The gate on results with known effects: verdicts, exit codes and refusals."""

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
    sha,
    shard_rows,
    write_results,
)

from blendbench.core.errors import UsageError
from blendbench.results.store import Results, open_results
from blendbench.verdict import Verdict, gate
from blendbench.verdict.decide import items_for_a_regression

ITEMS = 8
CHANGED = ("text_only", "vision_only", "adain_dim:alpha=0.3", "self_alignment", "lerp:alpha=0.1,align=area", "canary")
Change = Callable[[Row], Row | None]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    folder = tmp_path_factory.mktemp("results")
    write_results(folder, items=ITEMS, images=False)
    return open_results(folder)


@pytest.fixture(scope="module")
def records(results: Results) -> tuple[Row, ...]:
    """The same without the configurations that no test changes: writing and reading them again takes time."""
    every = shard_rows(results.database.parent)
    kept = {r.cell_id for r in every if r.table == "cells" and r.label in CHANGED}
    return tuple(r for r in every if getattr(r, "cell_id", None) in kept | {None})


def changed(records: tuple[Row, ...], folder: Path, change: Change) -> Results:
    """The synthetic results with every record passed through `change`; None drops it."""
    append(folder, "run1", *(new for record in records if (new := change(record)) is not None))
    return open_results(folder)


def decisions(verdict: Verdict) -> dict[str, str | None]:
    return {entry.effect.metric.name: entry.decision for entry in verdict.metrics}


def test_damage_is_a_regression_in_the_metrics_it_damages(results: Results) -> None:
    verdict = gate(results, "adain_dim", "text_only")
    assert (verdict.verdict, verdict.exit_code) == ("regression", 1)
    assert verdict.candidate == "adain_dim:alpha=0.3"
    assert set(decisions(verdict).items()) >= {
        ("attribute_adherence", "regression"),
        ("grid_energy", "regression"),
        ("blockiness", "regression"),
        ("color_drift", "regression"),
        ("effect_size", None),
        ("reference_style", None),
    }
    adherence = next(entry for entry in verdict.metrics if entry.effect.metric.name == "attribute_adherence")
    assert adherence.effect.mean == pytest.approx(-0.6 * 0.3, abs=0.02)
    assert adherence.effect.low < -0.18 < adherence.effect.high < 0
    assert adherence.effect.worst_case == -adherence.effect.low
    assert verdict.canary.detected


def test_the_other_way_round_is_an_improvement_and_passes(results: Results) -> None:
    verdict = gate(results, "text_only", "vision_only")
    assert (verdict.verdict, verdict.exit_code) == ("pass", 0)
    assert not verdict.worst


def test_a_no_op_is_called_a_no_op(results: Results) -> None:
    verdict = gate(results, NO_OP, "text_only")
    assert (verdict.verdict, verdict.exit_code) == ("no-op", 0)
    assert "bit for bit" in verdict.reason


def test_failed_cells_give_exit_code_5_and_are_named(results: Results) -> None:
    verdict = gate(results, INCOMPLETE, "text_only")
    assert (verdict.verdict, verdict.exit_code) == ("cells failed", 5)
    assert len(verdict.failed) == 2
    assert "item-01, seed 0: conditioning has NaN" in verdict.failed[0]


def test_the_worst_items_are_those_that_lost_most(records: tuple[Row, ...], tmp_path: Path) -> None:
    cells = {r.cell_id: r for r in records if r.table == "cells"}

    def one_ruined(record: Row) -> Row:
        if record.table == "scores" and record.metric == "grid_energy":
            cell = cells[record.cell_id]
            if (cell.label, cell.item, cell.seed) == ("self_alignment", item_name(7), 1):
                return record.changed(value=0.9)
        return record

    worst = gate(changed(records, tmp_path, one_ruined), "self_alignment", "text_only").worst
    assert (worst[0].item, worst[0].seed, worst[0].metric) == (item_name(7), 1, "grid_energy")
    assert worst[0].change == pytest.approx(0.89, abs=0.02)
    assert worst[0].prompt == "a red circle, number 7"
    shown = {(cell.label, cell.seed): cell.image_sha256 for cell in cells.values() if cell.item == item_name(7)}
    assert shown["self_alignment", 1] in worst[0].candidate_image and shown["text_only", 1] in worst[0].baseline_image
    assert len(worst) == 5 and [entry.worse for entry in worst] == sorted((e.worse for e in worst), reverse=True)


def test_a_canary_that_looks_fine_stops_the_gate(records: tuple[Row, ...], tmp_path: Path) -> None:
    cells = {r.cell_id: r for r in records if r.table == "cells"}
    fine = {
        (cells[r.cell_id].item, cells[r.cell_id].seed, r.metric): r.value
        for r in records
        if r.table == "scores" and cells[r.cell_id].label == "text_only"
    }

    def harmless(record: Row) -> Row:
        if record.table == "scores" and record.metric in ("grid_energy", "blockiness"):
            cell = cells[record.cell_id]
            if cell.label == "canary":
                return record.changed(value=fine[cell.item, cell.seed, record.metric])
        return record

    verdict = gate(changed(records, tmp_path, harmless), "adain_dim", "text_only")
    assert (verdict.verdict, verdict.exit_code) == ("canary not detected", 4)
    assert set(decisions(verdict).values()) == {None}
    assert "artifact: not worse" in verdict.canary.evidence and "adherence: worse in" in verdict.canary.evidence


def test_results_without_a_canary_clear_nobody(records: tuple[Row, ...], tmp_path: Path) -> None:
    without = changed(records, tmp_path, lambda r: None if r.table == "cells" and r.label == "canary" else r)
    verdict = gate(without, "lerp:alpha=0.1,align=area", "text_only")
    assert verdict.exit_code == 4
    assert "run it with the controls" in verdict.canary.evidence


def test_a_canary_on_too_few_items_is_told_from_one_that_looks_fine(tmp_path: Path) -> None:
    write_results(tmp_path, items=3, images=False)
    verdict = gate(open_results(tmp_path), "adain_dim", "text_only")
    assert verdict.exit_code == 4
    assert "which fewer than 6 items cannot show" in verdict.canary.evidence


def test_a_missing_pair_is_an_error_that_names_it(records: tuple[Row, ...], tmp_path: Path) -> None:
    gone = cell_row("vision_only", item_name(3), 1, sha("x")).cell_id
    missing = changed(records, tmp_path, lambda r: None if getattr(r, "cell_id", "") == gone else r)
    with pytest.raises(UsageError, match=r"vision_only: 1 of 16 pairs are missing .* item item-03, seed 1"):
        gate(missing, "vision_only", "text_only")


def test_a_pair_that_is_missing_on_both_sides_is_missed_too(records: tuple[Row, ...], tmp_path: Path) -> None:
    gone = {cell_row(label, item_name(3), 1, sha("x")).cell_id for label in CONFIGURATIONS}
    missing = changed(records, tmp_path, lambda r: None if getattr(r, "cell_id", "") in gone else r)
    with pytest.raises(UsageError, match="1 of 16 pairs are missing"):
        gate(missing, "vision_only", "text_only")


def test_a_missing_score_is_an_error(records: tuple[Row, ...], tmp_path: Path) -> None:
    gone = cell_row("vision_only", item_name(3), 1, sha("x")).cell_id

    def unmeasured(record: Row) -> Row | None:
        bad = record.table == "scores" and record.cell_id == gone and record.metric == "blockiness"
        return None if bad else record

    with pytest.raises(UsageError, match="item item-03, seed 1 has no blockiness"):
        gate(changed(records, tmp_path, unmeasured), "vision_only", "text_only")


@pytest.mark.parametrize(
    ("field", "word"),
    [("suite_sha256", "suite"), ("model_set_sha256", "model set"), ("dtype", "dtype"), ("sampler_sha256", "sampler")],
)
def test_other_settings_are_not_compared_and_the_reason_is_given(
    records: tuple[Row, ...], tmp_path: Path, field: str, word: str
) -> None:
    def elsewhere(record: Row) -> Row:
        return (
            record.changed(**{field: "other"}) if record.table == "cells" and record.label == "vision_only" else record
        )

    with pytest.raises(UsageError, match=f"not comparable: {word} other against"):
        gate(changed(records, tmp_path, elsewhere), "vision_only", "text_only")


def test_other_metric_versions_are_not_compared(records: tuple[Row, ...], tmp_path: Path) -> None:
    own = {r.cell_id for r in records if r.table == "cells" and r.label == "vision_only"}

    def newer(record: Row) -> Row:
        if record.table == "scores" and record.cell_id in own and record.metric == "grid_energy":
            return record.changed(metric_version=2)
        return record

    with pytest.raises(
        UsageError, match="grid_energy is not comparable: measured on vision_only with version 2, on text"
    ):
        gate(changed(records, tmp_path, newer), "vision_only", "text_only")


def test_the_newest_version_that_both_have_is_compared(records: tuple[Row, ...], tmp_path: Path) -> None:
    own = {r.cell_id for r in records if r.table == "cells" and r.label == "vision_only"}
    newer = [
        r.changed(metric_version=2, value=0.0)
        for r in records
        if r.table == "scores" and r.cell_id in own and r.metric == "grid_energy"
    ]
    append(tmp_path, "run1", *records, *newer)
    verdict = gate(open_results(tmp_path), "vision_only", "text_only")
    grid = next(entry.effect for entry in verdict.metrics if entry.effect.metric.name == "grid_energy")
    assert grid.metric.version == 1 and grid.candidate_mean > 0.2


def test_newer_cells_elsewhere_are_told_of(records: tuple[Row, ...], tmp_path: Path) -> None:
    later = run_rows("run2", items=ITEMS, dtype="bfloat16")
    newer = cell_row("vision_only", item_name(0), 0, sha("p")).changed(
        cell_id=sha("n"), run_id="run2", dtype="bfloat16"
    )
    append(tmp_path, "run1", *records)
    append(tmp_path, "run2", *later, newer)
    verdict = gate(open_results(tmp_path), "vision_only", "text_only")
    assert verdict.exit_code == 1
    assert "vision_only has newer cells that are not compared: other dtype" in verdict.notes


def test_only_the_newest_code_of_a_strategy_is_judged(records: tuple[Row, ...], tmp_path: Path) -> None:
    # The mended strategy draws the baseline's images; its old cells are still there.
    ids = {r.cell_id: r for r in records if r.table == "cells"}
    base = {(r.item, r.seed): r for r in ids.values() if r.label == "text_only"}
    mended = run_rows("run2", items=ITEMS, labels=[])
    for cell in ids.values():
        if cell.label == "vision_only":
            twin = base[cell.item, cell.seed]
            mended.append(
                cell.changed(
                    cell_id=sha("new", cell.cell_id),
                    run_id="run2",
                    source_sha256="new",
                    conditioning_sha256=twin.conditioning_sha256,
                    image_sha256=twin.image_sha256,
                )
            )
            mended += [
                r.changed(cell_id=sha("new", cell.cell_id))
                for r in records
                if r.table == "scores" and r.cell_id == twin.cell_id
            ]
    append(tmp_path, "run1", *records)
    append(tmp_path, "run2", *mended)
    results = open_results(tmp_path)
    assert gate(results, "vision_only", "text_only").verdict == "no-op"
    old = [cell_id for cell_id, cell in ids.items() if cell.label in ("vision_only", "text_only")]
    assert gate(results, "vision_only", "text_only", cell_ids=old).verdict == "regression"


@pytest.mark.parametrize(
    ("candidate", "told"),
    [
        ("lerpp:alpha=0.3,align=area", "did you mean 'lerp:alpha=0.3,align=area'"),
        ("lerp", "8 configurations have this strategy; name one"),
        ("lerp:alpha=0.9,align=area", "did you mean 'lerp:alpha="),
        ("text_only", "same configuration"),
    ],
)
def test_unknown_and_ambiguous_names_are_refused_with_a_hint(results: Results, candidate: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        gate(results, candidate, "text_only")


def test_an_unknown_experiment_is_refused_with_a_hint(results: Results) -> None:
    with pytest.raises(UsageError, match="did you mean 'core'"):
        gate(results, "vision_only", "text_only", experiment="cor")


def test_a_metric_that_no_model_can_measure_is_left_out_with_its_reason(results: Results) -> None:
    assert gate(results, "vision_only", "text_only").left_out == {"probe_margin": "the model set has no probe"}


def test_unscorable_items_are_left_out_and_counted(results: Results) -> None:
    verdict = gate(results, "vision_only", "text_only")
    style = next(entry.effect for entry in verdict.metrics if entry.effect.metric.name == "reference_style")
    assert (style.items, style.units, style.unscorable) == (ITEMS - 1, 2 * (ITEMS - 1), 2)


def test_a_run_without_failures_knows_its_provenance(results: Results) -> None:
    verdict = gate(results, "vision_only", "text_only")
    assert (verdict.provenance["suite"], verdict.provenance["dtype"]) == ("miniature", "float32")
    assert repr(gate(results, "vision_only", "text_only")) == repr(verdict)


def test_too_few_items_for_a_regression_are_told(tmp_path: Path) -> None:
    assert [items_for_a_regression(tests) for tests in (1, 6, 12)] == [5, 7, 8]
    write_results(tmp_path, items=6, images=False)
    verdict = gate(open_results(tmp_path), "adain_dim", "text_only")
    gated = [card["metric"] for card in CARDS if card["role"] in ("prompt", "artifact", "drift")]
    assert [name for name, decision in decisions(verdict).items() if decision is not None] == sorted(gated)
    assert verdict.verdict == "inconclusive"
    assert any("with fewer than 7 items no single metric can be called a regression" in note for note in verdict.notes)


def test_more_candidates_need_more_evidence(results: Results) -> None:
    alone, among = (gate(results, "adain_dim", "text_only", candidates=n) for n in (1, 50))
    for one, many in zip(alone.metrics, among.metrics, strict=True):
        if one.p_adjusted is not None:
            assert many.p_adjusted == pytest.approx(min(1.0, 50 * one.p_adjusted))
