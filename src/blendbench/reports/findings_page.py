"""Render the findings: five sentences, a plot, and every hypothesis by theme."""

import json
from pathlib import Path

from matplotlib.figure import Figure

from blendbench.core.files import write_atomically
from blendbench.core.numbers import MINUS, counted
from blendbench.reports.claims import Outcome, Verdict
from blendbench.reports.findings import Finding, Findings, judge
from blendbench.reports.folders import make_folder
from blendbench.reports.formats import blocks, p_text
from blendbench.reports.images import save_plot
from blendbench.results.store import Results

PLOT = "effects.webp"
HEADLINES = 5
# Okabe & Ito (2008); the marker repeats the colour.
_STYLES: dict[Verdict, tuple[str, str]] = {
    "supported": ("#009E73", "o"),
    "refuted": ("#D55E00", "s"),
    "undecided": ("#0072B2", "D"),
    "cannot occur here": ("#8c8c8c", "^"),
}
WIDTH = 5.2  # inches: letters must be readable at the width of a phone


def write_findings(results: Results, out: Path, hypotheses: Path | None = None) -> tuple[Findings, Path]:
    """Judge all results; write the page and its plot."""
    findings = judge(results, hypotheses)
    page = make_folder(out) / f"{findings.file.name}.md"
    write_atomically(page, render_findings(results, findings).encode())
    plot_effects(findings, out / findings.file.name / PLOT)
    return findings, page


def render_findings(results: Results, findings: Findings) -> str:
    """Render the page; the same results and hypotheses give the same text."""
    runs = _runs(results)
    parts: list[str | list[str]] = [
        f"# {_plain(findings.file.title)}",
        _counts(findings),
        [f"{number}. {_headline(finding)}" for number, finding in enumerate(headlines(findings), start=1)],
    ]
    if shown(findings):
        parts += [
            f"![effect of each hypothesis]({findings.file.name}/{PLOT})",
            "One line for each hypothesis that a measured effect decides: the claim that decided it, with its 95 %"
            " interval. In the grey band differences are within the margin of the metric's card, and do not matter."
            " Open markers: the models were trained to show it.",
        ]
    parts += _how(findings, runs)
    for theme in dict.fromkeys(finding.hypothesis.theme for finding in findings.findings):
        parts.append(f"## {_plain(theme)}")
        for finding in findings.findings:
            if finding.hypothesis.theme == theme:
                parts += _section(finding, findings)
    open_questions = [
        f"- **{_plain(part.question)}** {_plain(part.why)} _{_plain(part.source)}_"
        for part in findings.file.open_questions
    ]
    data = [
        f"- `{experiment}`: {models} (weights {weights}), suite {suite} ({suite_hash}), {device}, {date}"
        for experiment, models, weights, suite, suite_hash, device, date, _ in runs
    ]
    parts += ["## Not decided here" if open_questions else "", open_questions, "## Data", data]
    return "\n".join(blocks(*parts))


def headlines(findings: Findings) -> list[Finding]:
    """Choose the findings that a reader most wants: at most five.

    Of those that data decided, in the file's order of interest, first one of each theme. What is built into the models
    is not among them.
    """
    by_id = {finding.hypothesis.id: finding for finding in findings.findings}
    order = [by_id[name] for name in dict.fromkeys([*findings.file.headlines, *by_id])]
    decided = [finding for finding in order if finding.found]
    themes = {finding.hypothesis.theme: finding for finding in reversed(decided)}
    chosen = [finding for finding in decided if themes[finding.hypothesis.theme] is finding]
    return (chosen + [finding for finding in decided if finding not in chosen])[:HEADLINES]


def _counts(findings: Findings) -> str:
    supported, refuted, undecided, never, not_run = (
        findings.count(verdict) for verdict in ("supported", "refuted", "undecided", "cannot occur here", "not run")
    )
    built_in = sum(findings.by_construction(finding) for finding in findings.findings)
    left = f", and {not_run} {'was' if not_run == 1 else 'were'} not run" if not_run else ""
    text = (
        f"Of {counted(len(findings.findings), 'statement')} {supported} are supported by the data, {refuted} refuted"
        f" and {undecided} undecided. {never} cannot occur on these models"
        f"{left}."
    )
    return text + (f" {built_in} are not counted: the models were trained to show them." if built_in else "")


def _headline(finding: Finding) -> str:
    hypothesis, outcome = finding.hypothesis, finding.deciding
    follows = hypothesis.if_supported if finding.verdict == "supported" else hypothesis.if_refuted
    figure = f" ({outcome.figure}, n = {outcome.n})"
    return f"**{finding.verdict.capitalize()}:** {_plain(hypothesis.statement)}{figure} {_plain(follows)}".rstrip()


def _how(findings: Findings, runs: list[tuple[str, ...]]) -> list[str]:
    models = sorted({run[1] for run in runs})
    losses = sorted({loss for run in runs for loss in json.loads(run[7])})
    return [
        _plain(findings.file.about),
        f"**Models: {', '.join(models) or 'none'}.** "
        + (
            f"They were trained to show some of what is asked ({', '.join(f'`{loss}`' for loss in losses)}): a verdict"
            " that follows from it is marked as built in and not counted, and hypotheses that rest on one say so. What"
            " follows from the architecture (normalisation, causality, positions, token counts) carries over to other"
            " weights; which layer or which dose is best does not."
            if losses
            else "These are verdicts on your weights."
        ),
        "A statement is supported if all its claims are, and refuted if one is. A claim is decided by an exact"
        " sign-flip test over items at .05 after Holm's correction over all tests of the file, those for a refutation"
        " too; a direction is refuted by a difference below the metric's margin. Undecided: neither. Cannot occur here:"
        " something that the statement presupposes is missing on these models. Pairs have equal item, seed and initial"
        " latents; n counts them.",
        f"The hypotheses are a file: sha256 {_breakable(findings.sha256)}. One that was asked after the data were seen"
        " says so in its source. Written by `blendbench findings` from the database: no figure of a result and no"
        " verdict on this page is typed.",
    ]


def _section(finding: Finding, findings: Findings) -> list[str | list[str]]:
    hypothesis = finding.hypothesis
    verdict = finding.verdict.capitalize()
    if findings.by_construction(finding):
        verdict += f", by construction: `{hypothesis.built_in}` trains it into these models, so that it is no finding"
    claims = [
        _claim(claim.experiment, outcome) for claim, outcome in zip(hypothesis.claims, finding.outcomes, strict=True)
    ]
    notes = []
    if finding.missing is not None:
        missing = finding.missing
        notes.append(f"Presupposes: {_plain(missing.hypothesis.statement)} That is **{missing.verdict}**.")
    if finding.rests_on:
        losses = {f.hypothesis.id: f.hypothesis.built_in for f in findings.findings}
        notes.append(
            "Rests on what these models were trained to show: "
            + ", ".join(f"`{name}` (`{losses[name]}`)" for name in finding.rests_on)
            + "."
        )
    follows = {"supported": hypothesis.if_supported, "refuted": hypothesis.if_refuted}.get(finding.verdict, "")
    notes += [f"What follows: {_plain(follows)}" if follows else "", _plain(hypothesis.limits)]
    notes.append(f"_{_plain(hypothesis.source)}_")
    return [f"### {_plain(hypothesis.statement)}", f"**{verdict}.** `{hypothesis.id}`", claims, *notes]


def _claim(experiment: str, outcome: Outcome) -> str:
    n = f", n = {outcome.n}" if outcome.n else ""
    p = "" if outcome.p is None else f", Holm p {p_text(outcome.p)}"
    what = f": {outcome.what}" if outcome.what else ""
    return f"- {outcome.verdict} (`{experiment}`{n}{p}){what}: {_plain(outcome.figure)}"


def _plain(text: str) -> str:
    """Return a text of the file on one line, without tags."""
    return " ".join(text.split()).replace("<", "&lt;")


def _breakable(sha256: str) -> str:
    """Write a hash as code that may break on a narrow screen."""
    return f"<code>{'<wbr>'.join(sha256[start : start + 16] for start in range(0, len(sha256), 16))}</code>"


def _runs(results: Results) -> list[tuple[str, ...]]:
    rows = results.rows(
        """
        SELECT r.experiment, model_set, left(r.model_set_sha256, 12), suite, left(r.suite_sha256, 12), device,
            left(started_at, 10), coalesce(CAST(trained_to_show AS VARCHAR), '[]')
        FROM current_sets JOIN runs r USING (run_id) ORDER BY r.experiment
        """
    )
    return [tuple(map(str, row)) for row in rows]


def shown(findings: Findings) -> list[Finding]:
    """Return the findings with an effect in margins, in the order of the file."""
    return [f for f in findings.findings if f.deciding.effect is not None and f.verdict in _STYLES]


def plot_effects(findings: Findings, path: Path) -> None:
    """Write the plot; no file if no finding has an effect."""
    rows = shown(findings)
    if not rows:
        path.unlink(missing_ok=True)
        return
    height = 0.24 * len(rows) + 1.3
    figure = Figure(figsize=(WIDTH, height), dpi=150)
    panel = figure.subplots()
    panel.axvspan(-1, 1, color="0.92", zorder=0)
    panel.axvline(0, color="0.6", linewidth=0.8)
    named: set[Verdict] = set()
    for row, finding in enumerate(rows):
        mean, low, high = finding.deciding.effect or (0.0, 0.0, 0.0)
        colour, marker = _STYLES[finding.verdict]
        panel.errorbar(
            mean,
            row,
            xerr=[[max(0.0, mean - low)], [max(0.0, high - mean)]],
            color=colour,
            marker=marker,
            markersize=4.5,
            markerfacecolor="white" if Findings.by_construction(finding) else colour,
            linestyle="",
            elinewidth=1.2,
            label=None if finding.verdict in named else finding.verdict,
        )
        named.add(finding.verdict)
    panel.set_yticks(range(len(rows)), [finding.hypothesis.id for finding in rows], fontsize=8)
    panel.set_ylim(len(rows) - 0.4, -0.6)
    panel.set_xscale("symlog", linthresh=1)
    panel.xaxis.set_major_formatter(lambda value, _: f"{value:g}".replace("-", MINUS))
    panel.set_xlabel("effect in margins of its metric;\nright is as the statement has it", fontsize=8)
    panel.tick_params(axis="x", labelsize=8)
    panel.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="upper center", ncol=4, frameon=False, fontsize=8, handletextpad=0.2, columnspacing=1.0)
    figure.tight_layout(rect=(0, 0, 1, 1 - 0.35 / height))
    save_plot(figure, path)
