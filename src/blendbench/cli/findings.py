"""`blendbench findings`: the verdict on every hypothesis."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

_COLOURS = {
    "supported": "green",
    "refuted": "red",
    "undecided": "yellow",
    "cannot occur here": "cyan",
    "not run": "dim",
}


def findings(
    results: Annotated[Path, typer.Option(help="results folder, with as many experiments as were run")] = Path(
        "results"
    ),
    hypotheses: Annotated[
        Path | None, typer.Option(help="your own hypotheses file; default: those that are shipped")
    ] = None,
    out: Annotated[Path, typer.Option(help="where the page is written")] = Path("reports"),
    json_: Annotated[bool, typer.Option("--json", help="print the findings as JSON and write nothing")] = False,
) -> None:
    """Judge every hypothesis, print the verdicts and write the page."""
    from blendbench.reports.findings import VERDICTS, Findings, judge
    from blendbench.reports.findings_page import write_findings
    from blendbench.results.store import open_results

    with open_results(results).held() as opened:
        if json_:
            judged = judge(opened, hypotheses)
            print(json.dumps({"hypotheses_sha256": judged.sha256, "findings": judged.rows()}, allow_nan=False))
            return
        judged, page = write_findings(opened, out, hypotheses)
    console = Console(highlight=False)
    for verdict in VERDICTS:
        of_verdict = [finding for finding in judged.findings if finding.verdict == verdict]
        for finding in of_verdict:
            note = " (built in)" if Findings.by_construction(finding) else ""
            console.print(f"[{_COLOURS[verdict]}]{verdict}[/]{note}: {escape(finding.hypothesis.statement)}")
    counted = ", ".join(f"{judged.count(verdict)} {verdict}" for verdict in VERDICTS)
    console.print(f"\n{counted}")
    console.print(f"written: {page}", soft_wrap=True)
