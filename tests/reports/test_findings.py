"""Findings: claims combined with what they presuppose, corrected as one file, and a page made of them alone."""

import json
import re
from pathlib import Path

import pytest
from hypothesis_files import CLAIM, toml_of, write
from synthetic_results import NO_OP, append, run_rows, write_results

from blendbench.cli import main
from blendbench.reports import claims
from blendbench.reports.claims import Outcome
from blendbench.reports.findings import Findings, judge, verdict_of_claims
from blendbench.reports.findings_page import headlines, render_findings, write_findings
from blendbench.reports.hypotheses import read_hypotheses, shipped_hypotheses
from blendbench.results.store import Results, open_results
from blendbench.stats.decide import holm
from blendbench.stats.intervals import Estimate

TRUE, FALSE = CLAIM, CLAIM.replace('"worse"', '"better"')
NEVER_RUN = CLAIM.replace('"core"', '"other"')


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("findings") / "results"
    write_results(path, items=12, images=False)
    append(path, "run2", *run_rows("run2", items=12, trained_to_show=["style_loss"]))
    return path


@pytest.fixture(scope="module")
def results(folder: Path) -> Results:
    return open_results(folder)


@pytest.mark.parametrize(
    ("verdicts", "whole"),
    [
        (["supported", "supported"], "supported"),
        (["supported", "undecided"], "undecided"),
        (["undecided", "refuted"], "refuted"),
        (["supported", "not run"], "not run"),
        (["cannot occur here", "undecided"], "cannot occur here"),
    ],
)
def test_a_hypothesis_needs_all_its_claims(verdicts: list[str], whole: str) -> None:
    assert verdict_of_claims(tuple(Outcome(v, "") for v in verdicts)) == whole  # type: ignore[arg-type]


def verdicts(findings: Findings) -> dict[str, str]:
    return {finding.hypothesis.id: finding.verdict for finding in findings.findings}


def test_what_is_presupposed_must_be_supported(results: Results, tmp_path: Path) -> None:
    path = write(
        tmp_path,
        toml_of("true", TRUE),
        toml_of("false", FALSE),
        toml_of("lost", NEVER_RUN),
        toml_of("after-true", FALSE, presupposes='["true"]'),
        toml_of("after-false", TRUE, presupposes='["true", "false"]'),
        toml_of("after-lost", TRUE, presupposes='["lost"]'),
        toml_of("after-after", TRUE, presupposes='["after-false"]'),
    )
    found = judge(results, path)
    assert verdicts(found) == {
        "true": "supported",
        "false": "refuted",
        "lost": "not run",
        "after-true": "refuted",
        "after-false": "cannot occur here",
        "after-lost": "not run",
        "after-after": "cannot occur here",
    }
    page = render_findings(results, found)
    assert "Of 7 statements 1 are supported by the data, 2 refuted and 0 undecided. 2 cannot occur on these" in page
    assert "Presupposes: It is false. That is **refuted**." in page


def test_what_models_were_trained_to_show_is_no_finding(results: Results, tmp_path: Path) -> None:
    path = write(
        tmp_path,
        toml_of("trained", TRUE, built_in='"style_loss"'),
        toml_of("refuted", FALSE, built_in='"style_loss"'),
        toml_of("other", TRUE, built_in='"another_loss"'),
        toml_of("rests", TRUE, presupposes='["trained"]'),
    )
    found = judge(results, path)
    assert [found.by_construction(finding) for finding in found.findings] == [True, True, False, False]
    assert (found.count("supported"), found.count("refuted")) == (2, 0)
    assert {finding.hypothesis.id for finding in headlines(found)} == {"other", "rests"}
    page = render_findings(results, found)
    assert "2 are not counted: the models were trained to show them." in page
    assert "**Supported, by construction: `style_loss` trains it into these models" in page
    assert "Rests on what these models were trained to show: `trained` (`style_loss`)." in page


def test_all_tests_of_a_file_are_corrected_as_one(results: Results, tmp_path: Path) -> None:
    kinds = ('kind = "differs"', 'kind = "not_worse"')
    asked = [
        f'{{ {kind}, experiment = "core", metric = "{metric}", candidate = "{label}"'
        + (', expected = "worse" }' if "differs" in kind else " }")
        for kind in kinds
        for metric, label in (("attribute_adherence", "canary"), ("clip_cosine", "vision_only"), ("clip_cosine", NO_OP))
    ]
    alone = judge(results, write(tmp_path, *(toml_of(f"h{i}", claim) for i, claim in enumerate(asked))))
    tests = [p for finding in alone.findings for p in raw_tests(results, tmp_path, finding.hypothesis.id, asked)]
    together = [p for finding in alone.findings for p in finding.outcomes[0].tests.values()]
    # Each claim has a test that supports and one that refutes, those of "not worse" too.
    assert len(together) == len(tests) == 2 * len(asked)
    assert together == pytest.approx(list(holm(tests)))
    assert min(together) > min(tests)


def raw_tests(results: Results, folder: Path, name: str, asked: list[str]) -> list[float]:
    """Return the p-values of a claim that is alone in its file; Holm's first step doubles the lesser."""
    (finding,) = judge(results, write(folder, toml_of("h", asked[int(name[1:])]))).findings
    low, high = sorted(finding.outcomes[0].tests.values())
    return [p / 2 if p == low and low < high else p for p in finding.outcomes[0].tests.values()]


def test_no_verdict_depends_on_a_resample(results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = [
        TRUE,
        FALSE,
        '{ kind = "not_worse", experiment = "core", metric = "prompt", candidate = "canary" }',
        '{ kind = "equivalent", experiment = "core", metric = "clip_cosine", candidate = "vision_only" }',
        '{ kind = "apart", experiment = "core", metric = "effect_size", candidate = "canary", expected = "above" }',
        '{ kind = "undoes", experiment = "core", metric = "prompt", candidate = "vision_only", harmed = "canary" }',
    ]
    path = write(tmp_path, *(toml_of(f"h{i}", claim) for i, claim in enumerate(kinds)))
    before = [(f.verdict, f.outcomes[0].tests) for f in judge(results, path).findings]
    monkeypatch.setattr(claims, "bootstrap_t", lambda *_, **__: Estimate(9.0, -9.0, 99.0, 1))
    assert [(f.verdict, f.outcomes[0].tests) for f in judge(results, path).findings] == before
    assert {verdict for verdict, _ in before} >= {"supported", "refuted"}


def test_the_page_holds_every_statement_and_follows_from_the_database(results: Results, tmp_path: Path) -> None:
    found, page = write_findings(results, tmp_path)
    text, (file, sha256) = page.read_text(), read_hypotheses(shipped_hypotheses())
    assert page.name == "findings.md" and sha256 in text.replace("<wbr>", "")
    for shown in file.hypotheses:
        assert f"### {shown.statement}" in text and f"_{shown.source}_" in text
    for part in file.open_questions:
        assert part.question in text
    assert text.splitlines()[2].startswith(f"Of {len(found.findings)} statements {found.count('supported')} are")
    _, other = write_findings(results, tmp_path / "again")
    assert other.read_bytes() == page.read_bytes()
    plot = Path("findings") / "effects.webp"
    assert (tmp_path / "again" / plot).read_bytes() == (tmp_path / plot).read_bytes()
    # Nothing that scrolls sideways on a phone.
    assert not [line for line in text.splitlines() if line.startswith("|")]
    assert max(len(word) for code in re.findall(r"`([^`]+)`", text) for word in code.split()) <= 45


def test_headlines_are_decided_and_of_different_themes_first(results: Results, tmp_path: Path) -> None:
    parts = [toml_of(f"h{n}", TRUE if n % 2 else FALSE, theme=f'"T{n // 4}"') for n in range(8)]
    lost = toml_of("lost", NEVER_RUN, theme='"T9"')
    found = judge(results, write(tmp_path, *parts, lost, head='headlines = ["lost", "h6", "h3", "h1"]'))
    assert [finding.hypothesis.id for finding in headlines(found)] == ["h6", "h3", "h1", "h0", "h2"]
    first = render_findings(results, found).splitlines()[4]
    assert first.startswith("1. **Refuted:** It is h6. (attribute_adherence −")


def test_a_file_of_ones_own_has_its_own_page(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, toml_of("mine", TRUE), toml_of("odd", TRUE, statement='"A <b>bold</b>\\n\\n# line"'))
    monkeypatch.chdir(tmp_path)

    def call(*words: str) -> str:
        monkeypatch.setattr("sys.argv", ["blendbench", *words])
        with pytest.raises(SystemExit) as stopped:
            main()
        assert not stopped.value.code, capsys.readouterr().err
        return capsys.readouterr().out

    common = ("findings", "--results", str(folder), "--hypotheses", str(path), "--out", "pages")
    assert "2 supported, 0 refuted" in call(*common)
    page = (tmp_path / "pages" / "mine.md").read_text()
    assert page.startswith("# Mine\n") and "### A &lt;b>bold&lt;/b> # line" in page
    report = json.loads(call(*common, "--json"))
    assert [row["verdict"] for row in report["findings"]] == ["supported", "supported"]
    assert report["hypotheses_sha256"] in page.replace("<wbr>", "")
    assert report["findings"][0]["claims"][0]["effect_in_margins"][0] > 0
    assert f"2 statements, sha256 {report['hypotheses_sha256']}" in call("validate", str(path))
