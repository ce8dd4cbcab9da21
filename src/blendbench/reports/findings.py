"""Findings: hypotheses with claims, effects and verdicts.

They come from the database alone.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from blendbench.reports.claims import Outcome, Verdict, corrected
from blendbench.reports.folders import make_folder
from blendbench.reports.formats import markdown_table
from blendbench.reports.hypotheses import OPEN, PREDICTIONS, SEED_DOCUMENT, Hypothesis
from blendbench.results.store import Results
from blendbench.stats.decide import holm
from blendbench.verdict.comparison import Comparisons

PAGE = "findings.md"


@dataclass(frozen=True)
class Finding:
    """A hypothesis and the outcome of each of its claims."""

    hypothesis: Hypothesis
    outcomes: tuple[Outcome, ...]

    @property
    def verdict(self) -> Verdict:
        """Combine claims: refuted, else not run or undecided, else supported."""
        found = {outcome.verdict for outcome in self.outcomes}
        order: tuple[Verdict, ...] = ("refuted", "not run", "undecided", "supported")
        return next(verdict for verdict in order if verdict in found)

    @property
    def deciding(self) -> Outcome:
        """Return the first claim with the verdict of the whole."""
        return next(outcome for outcome in self.outcomes if outcome.verdict == self.verdict)


def judge(results: Results) -> list[Finding]:
    """Judge all hypotheses on one database.

    Directions are corrected for all tests of the page (Holm).
    """
    hypotheses = (*SEED_DOCUMENT, *PREDICTIONS)
    source = Comparisons(results)
    found = [[claim.judge(source) for claim in hypothesis.claims] for hypothesis in hypotheses]
    tested = [(i, j) for i, outcomes in enumerate(found) for j, o in enumerate(outcomes) if o.p is not None]
    adjusted: Iterable[float] = holm([float(found[i][j].p or 0.0) for i, j in tested]) if tested else []
    for (i, j), p in zip(tested, adjusted, strict=True):
        found[i][j] = corrected(found[i][j], float(p))
    return [Finding(hypothesis, tuple(outcomes)) for hypothesis, outcomes in zip(hypotheses, found, strict=True)]


def write_findings(results: Results, out: Path) -> tuple[list[Finding], Path]:
    """Judge all results and write the page."""
    findings = judge(results)
    page = make_folder(out) / PAGE
    page.write_text(render_findings(results, findings), encoding="utf-8")
    return findings, page


def render_findings(results: Results, findings: list[Finding]) -> str:
    """Render the page."""
    return "\n".join(_page(findings, _runs(results))) + "\n"


def _runs(results: Results) -> list[tuple[str, ...]]:
    rows = results.rows(
        """
        SELECT r.experiment, model_set, left(r.model_set_sha256, 12), suite, left(r.suite_sha256, 12), device,
            left(started_at, 10)
        FROM current_sets JOIN runs r USING (run_id) ORDER BY r.experiment
        """
    )
    return [tuple(map(str, row)) for row in rows]


def _page(findings: list[Finding], runs: list[tuple[str, ...]]) -> list[str]:
    counts = {v: sum(f.verdict == v for f in findings) for v in ("supported", "refuted", "undecided", "not run")}
    models = sorted({run[1] for run in runs})
    lines = [
        "# Findings",
        "",
        f"Of {len(findings)} statements {counts['supported']} are supported, {counts['refuted']} refuted,"
        f" {counts['undecided']} undecided and {counts['not run']} not run.",
        "",
        "They are every hypothesis and question of the seed document, and predictions that follow from the structure"
        " of the models. Written by `blendbench findings` from the database: no figure of a result and no verdict on"
        " this page is typed.",
        "",
        f"**Models: {', '.join(models) or 'none'}.** "
        + (
            "The miniature has the real classes at toy size, trained on a procedural world. What follows from the"
            " architecture (normalisation, causality, positions, token counts) carries over to the real models; which"
            " layer or which dose is best does not."
            + (
                " In `miniature-planted` two activations are PLANTED in the text."
                if "miniature-planted" in models
                else ""
            )
            if "miniature" in models
            else "These are verdicts on your weights."
        ),
        "",
        "Supported: every claim is. Refuted: one claim is. A direction counts when its 95 % interval excludes zero and"
        " p < .05 after Holm's correction over all directions on this page; an interval inside the margin of the"
        " metric's card refutes a direction: such a difference does not matter. Undecided: the interval leaves both"
        " open. Pairs are of equal item, seed and initial latents; items are the clusters. The table has the figure of"
        " the claim that decided; below, each statement has all of them, and what was compared.",
        "",
        *markdown_table(
            ["", "statement", "verdict", "figure", "n"],
            [
                [f.hypothesis.source, f.hypothesis.statement, f"**{f.verdict}**", f.deciding.figure, str(f.deciding.n)]
                for f in findings
            ],
        ),
        "",
    ]
    for title, part in (("The seed document", SEED_DOCUMENT), ("Predictions", PREDICTIONS)):
        lines += [f"## {title}", ""]
        for finding in findings:
            if finding.hypothesis in part:
                lines += _section(finding)
    lines += ["## Not decided here", ""]
    lines += [f"- **{source}: {question}**: {why}" for source, question, why in OPEN]
    lines += ["", "## Data", ""]
    lines += markdown_table(["experiment", "models", "weights", "suite", "suite hash", "device", "date"], runs)
    return lines


def _section(finding: Finding) -> list[str]:
    hypothesis = finding.hypothesis
    lines = [f"### {hypothesis.source}: {hypothesis.statement}", "", f"**{finding.verdict}**", ""]
    for claim, outcome in zip(hypothesis.claims, finding.outcomes, strict=True):
        p = "" if outcome.p is None else f", Holm p {outcome.p:.3g}"
        n = f", n = {outcome.n}" if outcome.n else ""
        of = f": {outcome.what}" if outcome.what else ""
        lines.append(f"- {outcome.verdict} ({claim.experiment}{n}{p}){of}: {outcome.figure}")
    follows = {"supported": hypothesis.if_supported, "refuted": hypothesis.if_refuted}.get(finding.verdict, "")
    rest = [
        *([f"What follows: {follows}"] if follows else []),
        *([f"_{hypothesis.limits}_"] if hypothesis.limits else []),
    ]
    return [*lines, *(line for text in rest for line in ("", text)), ""]
