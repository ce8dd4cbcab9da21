"""Findings: verdicts on results whose effects are known, and a page that is made of them alone."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from synthetic_results import NO_OP, append, embedding_rows, write_results

from blendbench.core.depths import Depth
from blendbench.reports import findings
from blendbench.reports.claims import (
    Apart,
    Claim,
    Differs,
    Measured,
    NotWorse,
    Outcome,
    SameConditioning,
    SameImage,
    Undoes,
    corrected,
)
from blendbench.reports.findings import Finding, judge, write_findings
from blendbench.reports.hypotheses import OPEN, PREDICTIONS, SEED_DOCUMENT, Hypothesis
from blendbench.results.store import Results, open_results
from blendbench.run.experiments import load_experiment
from blendbench.run.plan import configurations
from blendbench.stats.decide import holm
from blendbench.verdict.comparison import Comparisons

TRUTH = "attribute_adherence"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    path = tmp_path_factory.mktemp("findings") / "results"
    write_results(path, items=12, images=False)
    return open_results(path)


@pytest.fixture(scope="module")
def source(results: Results) -> Comparisons:
    return Comparisons(results)


@pytest.mark.parametrize(
    ("claim", "verdict"),
    [
        # vision_only is damaged by .75, so its adherence is .45 lower.
        (Differs("core", TRUTH, "vision_only", "text_only", "lower"), "supported"),
        (Differs("core", TRUTH, "vision_only", "text_only", "higher"), "refuted"),
        (Differs("core", TRUTH, "text_only", "vision_only", "higher"), "supported"),
        # A no-op has no difference at all: it is inside every margin.
        (Differs("core", TRUTH, NO_OP, "text_only", "higher"), "refuted"),
        (NotWorse("core", TRUTH, NO_OP), "supported"),
        (NotWorse("core", TRUTH, "vision_only"), "refuted"),
        (NotWorse("core", "grid_energy", "vision_only"), "refuted"),
        (NotWorse("core", TRUTH, "text_only", "vision_only"), "supported"),
        (SameConditioning("core", NO_OP, "text_only"), "supported"),
        (SameConditioning("core", NO_OP, "text_only", same=False), "refuted"),
        (SameConditioning("core", "canary", "text_only"), "refuted"),
        (SameConditioning("core", "canary", "text_only", same=False), "supported"),
        (SameImage("core", NO_OP, "text_only"), "supported"),
        (SameImage("core", "canary", "text_only"), "refuted"),
        (Apart("core", "effect_size", NO_OP, "below"), "supported"),
        (Apart("core", "effect_size", "canary", "below"), "refuted"),
        (Apart("core", "effect_size", "canary", "above"), "supported"),
        # Nothing moved: a distance of 0 is no support for "another image".
        (Apart("core", "effect_size", NO_OP, "above"), "refuted"),
        # Of a damage of .75 a damage of .1 is left, or .48.
        (Undoes("core", TRUTH, "style_delta:alpha=0.3", "vision_only"), "supported"),
        (Undoes("core", "grid_energy", "style_delta:alpha=0.3", "vision_only"), "supported"),
        (Undoes("core", TRUTH, "lerp:alpha=0.8,align=area", "vision_only"), "refuted"),
        # Where no harm was done, or good, nothing shows its cause.
        (Undoes("core", TRUTH, "style_delta:alpha=0.3", NO_OP), "undecided"),
        (Undoes("core", TRUTH, "style_delta:alpha=0.3", "text_only", clean="vision_only"), "undecided"),
        (Differs("other", TRUTH, "vision_only", "text_only", "lower"), "not run"),
        (Differs("core", TRUTH, "lerp:alpha=0.9", "text_only", "lower"), "not run"),
        (Differs("core", "probe_margin", "canary", "text_only", "lower"), "not run"),
        (Measured("core", "std", "vl_text", "above", 1.0), "not run"),
    ],
)
def test_a_claim_with_a_known_answer_gets_it(source: Comparisons, claim: Claim, verdict: str) -> None:
    assert claim.judge(source).verdict == verdict


def test_the_evidence_states_the_effect_and_its_interval(source: Comparisons) -> None:
    outcome = Differs("core", TRUTH, "vision_only", "text_only", "lower").judge(source)
    mean, low, high = (float(text.replace("−", "-")) for text in re.findall(r"[+−]\d\.\d{3}", outcome.figure))
    assert low < mean < high < 0
    assert mean == pytest.approx(-0.45, abs=0.02)
    assert outcome.n == 24


def test_a_direction_that_does_not_survive_the_correction_is_undecided() -> None:
    for verdict in ("supported", "refuted"):
        assert corrected(Outcome(verdict, "", p=0.01), 0.2).verdict == "undecided"
        assert corrected(Outcome(verdict, "", p=0.01), 0.04).verdict == verdict


@pytest.mark.parametrize(
    ("verdicts", "whole"),
    [
        (["supported", "supported"], "supported"),
        (["supported", "undecided"], "undecided"),
        (["undecided", "refuted"], "refuted"),
        (["supported", "not run"], "not run"),
    ],
)
def test_a_hypothesis_needs_all_its_claims(verdicts: list[str], whole: str) -> None:
    finding = Finding(Hypothesis("", "", ()), tuple(Outcome(v, "") for v in verdicts))  # type: ignore[arg-type]
    assert finding.verdict == whole


def test_the_page_holds_every_statement_and_follows_from_the_database(results: Results, tmp_path: Path) -> None:
    judged, page = write_findings(results, tmp_path)
    text = page.read_text()
    for hypothesis in (*SEED_DOCUMENT, *PREDICTIONS):
        assert text.count(hypothesis.statement) >= 2
    for _, question, _ in OPEN:
        assert question in text
    counts = {v: sum(f.verdict == v for f in judged) for v in ("supported", "not run")}
    first = text.splitlines()[2]
    assert first.startswith(f"Of {len(judged)} statements {counts['supported']} are supported, ")
    assert first.endswith(f" and {counts['not run']} not run.")
    _, other = write_findings(results, tmp_path / "again")
    assert other.read_bytes() == page.read_bytes()


def test_every_claim_names_configurations_that_its_experiment_has() -> None:
    """A misspelt label would be "not run" for ever."""
    for hypothesis in (*SEED_DOCUMENT, *PREDICTIONS):
        for claim in hypothesis.claims:
            if isinstance(claim, Measured):
                continue
            labels = {c.label for c in configurations(load_experiment(claim.experiment), Depth(7, 8))[1]}
            named = {
                getattr(claim, name) for name in ("candidate", "baseline", "harmed", "clean") if hasattr(claim, name)
            }
            assert named <= labels, (claim, sorted(named - labels))


def test_a_statistic_is_of_the_models_that_the_experiment_ran_on(tmp_path: Path) -> None:
    write_results(tmp_path, items=2, images=False)  # std of vl_image: 7
    planted = embedding_rows("analysis2", model_set="planted", model_set_sha256="0" * 64)
    later = [
        row.changed(value=99.0, low=99.0, high=99.0) if row.table == "embedding_values" else row for row in planted
    ]
    append(tmp_path, "run2", *later)
    claim, opened = Measured("core", "std", "vl_image", "below", 8.0), Comparisons(open_results(tmp_path))
    assert claim.judge(opened).verdict == "supported"
    assert replace(claim, bound=6.0).judge(opened).verdict == "refuted"
    assert replace(claim, experiment="adain").judge(opened).verdict == "not run"


def test_a_page_of_tests_is_corrected_as_one(
    results: Results, source: Comparisons, monkeypatch: pytest.MonkeyPatch
) -> None:
    claims = tuple(
        Differs("core", metric, label, "text_only", "lower")
        for metric in (TRUTH, "clip_cosine")
        for label in ("canary", "vision_only", "style_delta:alpha=0.3")
    )
    monkeypatch.setattr(findings, "SEED_DOCUMENT", (Hypothesis("all", "worse", claims),))
    monkeypatch.setattr(findings, "PREDICTIONS", ())
    alone = [claim.judge(source).p for claim in claims]
    (page,) = judge(results)
    together = [outcome.p for outcome in page.outcomes]
    assert together == pytest.approx(list(holm([p for p in alone if p is not None])))
    assert min(p for p in together if p is not None) > min(p for p in alone if p is not None)
