"""The page about hidden states on numbers that are known."""

from dataclasses import replace
from pathlib import Path

import pytest

from blendbench.reports.embedding_study import Study, Value, read_study
from blendbench.reports.embeddings import findings, value_text, write_embeddings
from blendbench.results.store import open_results
from miniature.page import kinds_differ


def study_of(values: dict[tuple[str, bool, str, str], float]) -> Study:
    return Study(
        analysis_id="a",
        model_set="m",
        model_set_sha256="m",
        suite="s",
        suite_sha256="s",
        items=3,
        layers=(-1, -2),
        text_layer=-2,
        dim=2560,
        dimensions={},
        values={(-2, *place): Value(value, None, None) for place, value in values.items()},
    )


@pytest.mark.parametrize(
    ("kept", "left", "sink"), [(61.1, 7.1, True), (1.1, 1.1, False), (1.0, 1.6, True), (1.4, 1.0, False)]
)
def test_a_sink_is_named_where_the_std_depends_on_position_0(kept: float, left: float, sink: bool) -> None:
    study = study_of({("text_encoder", True, "", "std"): kept, ("text_encoder", False, "", "std"): left})
    assert ("is an attention sink**" in findings(study)[0]) == sink
    assert ("is no attention sink here**" in findings(study)[0]) != sink


def test_what_a_one_sided_test_flags_stands_beside_what_exists() -> None:
    at = ("vl_image", False, "same_layer")
    text = findings(study_of({(*at, "lacking_4"): 178, (*at, "exceeding_4"): 2}))[-1]
    assert "178 have less than a quarter" in text
    assert "a test for large ratios alone flags 2" in text


def test_without_the_layer_of_the_conditionings_the_first_is_shown() -> None:
    assert study_of({}).shown_layer == -2
    assert replace(study_of({}), text_layer=-9).shown_layer == -1


@pytest.mark.parametrize(
    ("value", "statistic", "text"),
    [
        (Value(None, None, None), "pearson", "–"),
        (Value(-0.0001, None, None), "pearson", "0.000"),
        (Value(-0.2, -0.3, 0.1), "spearman", "−0.200 [−0.300, 0.100]"),
        (Value(2752.6, None, None), "std_max", "2753"),
        (Value(0.00672, None, None), "mean", "0.00672"),
        (Value(179.0, None, None), "lacking_4", "179"),
    ],
)
def test_numbers_are_written_with_what_they_are_known_to(value: Value, statistic: str, text: str) -> None:
    assert value_text(value, statistic) == text


@pytest.mark.parametrize(
    ("text", "image", "shown"),
    [((0.92, 0.97), (-0.1, 0.1), True), ((0.85, 0.97), (-0.1, 0.1), False), ((0.92, 0.97), (0.8, 0.95), False)],
)
def test_the_miniature_is_judged_by_intervals(
    text: tuple[float, float], image: tuple[float, float], shown: bool
) -> None:
    values = {
        (-2, tokens, False, "same_layer", "spearman"): Value(sum(interval) / 2, *interval)
        for tokens, interval in (("vl_text", text), ("vl_image", image))
    }
    claim = kinds_differ(replace(study_of({}), values=values))
    assert claim.shown == shown
    assert f"Spearman {sum(text) / 2:.3f} [{text[0]:.3f}" in claim.figures
    assert kinds_differ(study_of({})).shown is None
    assert kinds_differ(None).figures == "not measured"


def test_an_analysis_with_gaps_still_makes_a_page(tmp_path: Path) -> None:
    """The synthetic analysis has one layer, one kind of token and a value that is NULL."""
    from synthetic_results import write_results

    write_results(tmp_path / "results", items=1, images=False)
    results = open_results(tmp_path / "results")
    study, path = write_embeddings(results, tmp_path / "out")
    assert study.get("vl_image", "std", False) == Value(7.0, 6.5, 7.5)
    assert study.get("vl_image", "pearson", True, "same_layer").value is None
    assert "7.00 [6.50, 7.50]" in path.read_text()
    assert read_study(results, "analysis1").dim == 192
    assert [row.dimension for row in study.outlying("vl_image")] == []
