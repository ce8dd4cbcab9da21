"""Findings: the verdict on every hypothesis of a file, from a database alone."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blendbench.reports.claims import Outcome, Verdict
from blendbench.reports.evidence import Evidence
from blendbench.reports.hypotheses import HypothesesFile, Hypothesis, read_hypotheses, shipped_hypotheses
from blendbench.results.store import Results
from blendbench.stats.decide import holm

# Of several claims the first that occurs decides: one refuted claim refutes, and all must be supported to support.
_ORDER: tuple[Verdict, ...] = ("refuted", "cannot occur here", "not run", "undecided", "supported")
VERDICTS: tuple[Verdict, ...] = ("supported", "refuted", "undecided", "cannot occur here", "not run")


@dataclass(frozen=True)
class Finding:
    """A hypothesis and the outcome of each of its claims.

    `verdict` takes account of what it presupposes: `missing` is the presupposition that fails. `built_in`: the models
    were trained to show it, so its verdict is no finding. `rests_on`: ids that it presupposes and that are built in.
    """

    hypothesis: Hypothesis
    outcomes: tuple[Outcome, ...]
    verdict: Verdict
    built_in: bool = False
    missing: "Finding | None" = None
    rests_on: tuple[str, ...] = ()

    @property
    def deciding(self) -> Outcome:
        """Return the first claim with the verdict of the claims together."""
        whole = verdict_of_claims(self.outcomes)
        return next(outcome for outcome in self.outcomes if outcome.verdict == whole)

    @property
    def found(self) -> bool:
        """Return whether data decided it, and no loss of the training."""
        return self.verdict in ("supported", "refuted") and not self.built_in


@dataclass(frozen=True)
class Findings:
    """All findings of a file, and the sha256 of the file."""

    file: HypothesesFile
    sha256: str
    findings: tuple[Finding, ...]

    def count(self, verdict: Verdict) -> int:
        """Count the findings of a verdict, without what is built in."""
        return sum(f.verdict == verdict and not self.by_construction(f) for f in self.findings)

    @staticmethod
    def by_construction(finding: Finding) -> bool:
        """Return whether a decided verdict follows from the training."""
        return finding.built_in and finding.verdict in ("supported", "refuted")

    def rows(self) -> list[dict[str, Any]]:
        """Return the findings as JSON has them."""
        return [
            {
                **{name: getattr(finding.hypothesis, name) for name in ("id", "theme", "statement", "source")},
                "verdict": finding.verdict,
                "built_in": self.by_construction(finding),
                "missing": finding.missing.hypothesis.id if finding.missing else None,
                "claims": [
                    claim.model_dump()
                    | {"verdict": o.verdict, "figure": o.figure, "n": o.n, "p": o.p, "effect_in_margins": o.effect}
                    for claim, o in zip(finding.hypothesis.claims, finding.outcomes, strict=True)
                ],
            }
            for finding in self.findings
        ]


def judge(results: Results, path: Path | None = None) -> Findings:
    """Judge the hypotheses of a file (default: the shipped ones).

    All tests of all claims are one family, corrected by Holm. Errors: UsageError for a file that cannot be read.
    """
    file, sha256 = read_hypotheses(path or shipped_hypotheses())
    wanted: dict[str, set[str]] = {}
    for claim in (claim for hypothesis in file.hypotheses for claim in hypothesis.claims):
        wanted.setdefault(claim.experiment, set()).update(claim.labels)
    with results.held():
        evidence = Evidence(results, wanted)
        found = [[claim.judge(evidence) for claim in hypothesis.claims] for hypothesis in file.hypotheses]
        places = [(i, j, v) for i, outcomes in enumerate(found) for j, o in enumerate(outcomes) for v in o.tests]
        adjusted: Iterable[float] = holm([found[i][j].tests[v] for i, j, v in places]) if places else []
        tests: dict[tuple[int, int], dict[Verdict, float]] = {}
        for (i, j, verdict), p in zip(places, adjusted, strict=True):
            tests.setdefault((i, j), {})[verdict] = float(p)
        corrected = [
            tuple(outcome.corrected(tests.get((i, j), {})) for j, outcome in enumerate(outcomes))
            for i, outcomes in enumerate(found)
        ]
        known: dict[str, Finding] = {}
        for hypothesis, outcomes in zip(file.hypotheses, corrected, strict=True):
            known[hypothesis.id] = _finding(hypothesis, outcomes, known, evidence)
    return Findings(file, sha256, tuple(known.values()))


def verdict_of_claims(outcomes: tuple[Outcome, ...]) -> Verdict:
    """Return the verdict of claims that must all be supported."""
    verdicts = {outcome.verdict for outcome in outcomes}
    return next(verdict for verdict in _ORDER if verdict in verdicts)


def _finding(
    hypothesis: Hypothesis, outcomes: tuple[Outcome, ...], known: dict[str, Finding], evidence: Evidence
) -> Finding:
    trained = {loss for claim in hypothesis.claims for loss in evidence.trained_to_show(claim.experiment)}
    presupposed = [known[name] for name in hypothesis.presupposes]
    rests_on = dict.fromkeys(
        name for p in presupposed for name in (*p.rests_on, *([p.hypothesis.id] if p.built_in else []))
    )
    verdict = verdict_of_claims(outcomes)
    missing = next((finding for finding in presupposed if finding.verdict != "supported"), None)
    if missing is not None and verdict != "not run":
        verdict = missing.verdict if missing.verdict in ("not run", "undecided") else "cannot occur here"
    return Finding(hypothesis, outcomes, verdict, hypothesis.built_in in trained, missing, tuple(rests_on))
