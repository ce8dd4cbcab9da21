"""Claims: verdicts on results whose effects are known."""

import re
from pathlib import Path

import pytest
from synthetic_results import NO_OP, append, embedding_rows, result_rows, run_rows, write_results

from blendbench.reports.claims import (
    Agreement,
    Apart,
    Differs,
    Equivalent,
    Measured,
    NotWorse,
    Outcome,
    SameConditioning,
    SameImage,
    Undoes,
)
from blendbench.reports.evidence import Evidence
from blendbench.results.store import open_results

TRUTH = "attribute_adherence"
EVERY = [
    "text_only",
    "vision_only",
    "canary",
    NO_OP,
    "style_delta:alpha=0.3",
    "lerp:alpha=0.8,align=area",
    "lerp:align=area,alpha=0.9",
    "vision_only:layer=100%",
    "vision_only:layer=50%",
]
AnyClaim = Differs | NotWorse | Equivalent | Agreement | Apart | Undoes | SameImage | SameConditioning | Measured


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    path = tmp_path_factory.mktemp("claims") / "results"
    write_results(path, items=12, images=False)
    return Evidence(open_results(path), {"core": EVERY})


def differs(metric: str, candidate: str, baseline: str, expected: str, experiment: str = "core") -> Differs:
    return Differs.model_validate(
        {"kind": "differs", "experiment": experiment, "metric": metric, "candidate": candidate}
        | {"baseline": baseline, "expected": expected}
    )


def not_worse(metric: str, candidate: str, baseline: str = "text_only") -> NotWorse:
    return NotWorse(kind="not_worse", experiment="core", metric=metric, candidate=candidate, baseline=baseline)


def equivalent(metric: str, candidate: str) -> Equivalent:
    return Equivalent(kind="equivalent", experiment="core", metric=metric, candidate=candidate)


def agreement(metric: str, other: str, expected: str, candidate: str = "vision_only") -> Agreement:
    return Agreement.model_validate(
        {"kind": "agreement", "experiment": "core", "metric": metric, "other": other, "candidate": candidate}
        | {"expected": expected, "bound": 0.5}
    )


def apart(candidate: str, expected: str) -> Apart:
    return Apart.model_validate(
        {"kind": "apart", "experiment": "core", "metric": "effect_size", "candidate": candidate, "expected": expected}
    )


def undoes(metric: str, candidate: str, harmed: str, clean: str = "text_only") -> Undoes:
    return Undoes(kind="undoes", experiment="core", metric=metric, candidate=candidate, harmed=harmed, clean=clean)


def same_conditioning(candidate: str, same: bool = True) -> SameConditioning:
    return SameConditioning(kind="same_conditioning", experiment="core", candidate=candidate, same=same)


def measured(bound: float, experiment: str = "core", statistic: str = "std") -> Measured:
    return Measured(
        kind="measured", experiment=experiment, statistic=statistic, tokens="vl_image", expected="below", bound=bound
    )


@pytest.mark.parametrize(
    ("claim", "verdict"),
    [
        # vision_only is damaged by .75, so its adherence is .45 lower.
        (differs(TRUTH, "vision_only", "text_only", "lower"), "supported"),
        (differs(TRUTH, "vision_only", "text_only", "higher"), "refuted"),
        (differs(TRUTH, "text_only", "vision_only", "higher"), "supported"),
        (differs("prompt", "vision_only", "text_only", "worse"), "supported"),
        (differs("artifact", "vision_only", "text_only", "worse"), "supported"),
        (differs("artifact", "vision_only", "text_only", "better"), "refuted"),
        # A no-op has no difference at all: it is below every margin.
        (differs(TRUTH, NO_OP, "text_only", "higher"), "refuted"),
        (not_worse(TRUTH, NO_OP), "supported"),
        (not_worse(TRUTH, "vision_only"), "refuted"),
        (not_worse("grid_energy", "vision_only"), "refuted"),
        (not_worse(TRUTH, "text_only", "vision_only"), "supported"),
        (equivalent("clip_cosine", NO_OP), "supported"),
        (equivalent(TRUTH, "vision_only"), "refuted"),
        (agreement("clip_cosine", "clip_cosine", "above"), "supported"),
        (agreement("clip_cosine", "clip_cosine", "below"), "refuted"),
        (agreement("clip_cosine", "grid_energy", "above"), "refuted"),
        # Nothing differs, so nothing is ranked.
        (agreement("clip_cosine", "clip_cosine", "above", NO_OP), "undecided"),
        (same_conditioning(NO_OP), "supported"),
        (same_conditioning(NO_OP, same=False), "refuted"),
        (same_conditioning("canary"), "refuted"),
        (same_conditioning("canary", same=False), "supported"),
        (SameImage(kind="same_image", experiment="core", candidate=NO_OP), "supported"),
        (SameImage(kind="same_image", experiment="core", candidate="canary"), "refuted"),
        (apart(NO_OP, "below"), "supported"),
        (apart("canary", "below"), "refuted"),
        (apart("canary", "above"), "supported"),
        # Nothing moved: a distance of 0 is no support for "another image".
        (apart(NO_OP, "above"), "refuted"),
        # Of a damage of .75 a damage of .1 is left, or .48.
        (undoes(TRUTH, "style_delta:alpha=0.3", "vision_only"), "supported"),
        (undoes("grid_energy", "style_delta:alpha=0.3", "vision_only"), "supported"),
        (undoes(TRUTH, "lerp:alpha=0.8,align=area", "vision_only"), "refuted"),
        # Where no harm was done, or good, nothing shows its cause.
        (undoes(TRUTH, "style_delta:alpha=0.3", NO_OP), "cannot occur here"),
        (undoes(TRUTH, "style_delta:alpha=0.3", "text_only", clean="vision_only"), "cannot occur here"),
        (differs(TRUTH, "vision_only", "text_only", "lower", experiment="other"), "not run"),
        (differs(TRUTH, "lerp:alpha=0.9", "text_only", "lower"), "not run"),
        # No item of this suite can be scored on it.
        (differs("probe_margin", "canary", "text_only", "lower"), "cannot occur here"),
        (differs("drift", "vision_only", "text_only", "worse"), "supported"),
        (differs("effect_size", "vision_only", "text_only", "worse"), "not run"),
        (measured(1.0, statistic="lost"), "not run"),
    ],
)
def test_a_claim_with_a_known_answer_gets_it(evidence: Evidence, claim: AnyClaim, verdict: str) -> None:
    assert claim.judge(evidence).verdict == verdict


def test_what_was_not_run_is_named_with_a_suggestion(evidence: Evidence) -> None:
    assert (
        "run `blendbench run other`" in differs(TRUTH, "canary", "text_only", "lower", "other").judge(evidence).figure
    )
    assert "did you mean 'canary'?" in differs(TRUTH, "canari", "text_only", "lower").judge(evidence).figure
    assert "did you mean 'grid_energy'?" in differs("grid_enrgy", "canary", "text_only", "lower").judge(evidence).figure


def test_a_figure_states_the_effect_and_its_interval(evidence: Evidence) -> None:
    outcome = differs(TRUTH, "vision_only", "text_only", "lower").judge(evidence)
    mean, low, high = (float(text.replace("−", "-")) for text in re.findall(r"[+−]\d\.\d{3}", outcome.figure))
    assert low < mean < high < 0
    assert mean == pytest.approx(-0.45, abs=0.02)
    assert outcome.n == 24
    # In margins of .02, positive as the claim has it.
    assert outcome.effect is not None and outcome.effect[0] == pytest.approx(-mean / 0.02, rel=0.01)
    assert outcome.effect[1] < outcome.effect[0] < outcome.effect[2]


def test_every_verdict_of_a_test_needs_its_p_after_the_correction() -> None:
    outcome = Outcome("undecided", "", tests={"supported": 0.01, "refuted": 0.9})
    assert outcome.corrected({"supported": 0.04, "refuted": 1.0}).verdict == "supported"
    assert outcome.corrected({"supported": 0.2, "refuted": 1.0}).verdict == "undecided"
    # A refutation too, whatever the kind of claim.
    assert outcome.corrected({"supported": 1.0, "refuted": 0.04}).verdict == "refuted"
    assert outcome.corrected({"supported": 1.0, "refuted": 0.06}).verdict == "undecided"
    # A difference below the margin does not matter, however significant.
    assert outcome.corrected({"supported": 0.01, "refuted": 0.04}).verdict == "refuted"
    assert Outcome("not run", "").corrected({}).verdict == "not run"


def test_a_statistic_is_of_the_models_that_the_experiment_ran_on(tmp_path: Path) -> None:
    write_results(tmp_path, items=2, images=False)  # std of vl_image: 7
    planted = embedding_rows("analysis2", model_set="planted", model_set_sha256="0" * 64)
    later = [
        row.changed(value=99.0, low=99.0, high=99.0) if row.table == "embedding_values" else row for row in planted
    ]
    append(tmp_path, "run2", *later)
    opened = Evidence(open_results(tmp_path), {})
    assert measured(8.0).judge(opened).verdict == "supported"
    assert measured(6.0).judge(opened).verdict == "refuted"
    assert measured(8.0, experiment="adain").judge(opened).verdict == "not run"


def test_percentages_are_of_the_depth_of_the_run(tmp_path: Path) -> None:
    write_results(tmp_path, items=6, images=False)
    claim = differs("prompt", "vision_only:layer=100%", "text_only", "worse")
    wanted = {"core": EVERY}
    assert "is not stored" in claim.judge(Evidence(open_results(tmp_path), wanted)).figure
    append(tmp_path, "run3", *run_rows("run3", items=6, hidden_states=37, blocks=30))
    evidence = Evidence(open_results(tmp_path), wanted)
    # -2 is the default, so that the label is `vision_only`.
    assert evidence.label("core", "vision_only:layer=100%") == "vision_only"
    assert claim.judge(evidence).verdict == "supported"
    assert (
        "vision_only:layer=-8" in differs("prompt", "vision_only:layer=83%", "canary", "worse").judge(evidence).figure
    )
    same = differs("prompt", "vision_only:layer=100%", "vision_only", "worse").judge(evidence)
    assert same.verdict == "cannot occur here"
    assert same.figure == "vision_only:layer=100% and vision_only are both vision_only on these models"
    assert evidence.label("core", "lerp:align=area,alpha=0.8") == "lerp:alpha=0.8,align=area"


def test_a_claim_about_artifacts_says_how_many_images_show_nothing(evidence: Evidence, tmp_path: Path) -> None:
    rows = [
        row.changed(metric="collapsed", **({"value": float(row.value > 0.1)} if row.table == "scores" else {}))
        if row.get("metric") == "blockiness"
        else row
        for row in result_rows(tmp_path, items=12, images=False)
    ]
    append(tmp_path, "run1", *rows)
    seen = Evidence(open_results(tmp_path), {"core": EVERY})
    worse = differs("grid_energy", "canary", "text_only", "worse")
    assert worse.judge(seen).figure == (
        worse.judge(evidence).figure + "; 24 of the candidate's 24 images and 0 of the baseline's show nothing"
    )
    for claim in (differs("collapsed", "canary", "text_only", "worse"), differs(TRUTH, "canary", "text_only", "worse")):
        assert "show nothing" not in claim.judge(seen).figure
    assert "show nothing" not in equivalent("grid_energy", NO_OP).judge(seen).figure
