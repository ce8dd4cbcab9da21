"""`blendbench findings`: the verdict on every hypothesis."""

from pathlib import Path
from typing import Annotated

import typer

_COLOURS = {"supported": "green", "refuted": "red", "undecided": "yellow", "not run": "dim"}


def findings(
    results: Annotated[Path, typer.Option(help="results folder, with as many experiments as were run")] = Path(
        "results"
    ),
    out: Annotated[Path, typer.Option(help="where findings.md is written")] = Path("reports"),
) -> None:
    """Judge every hypothesis, print the verdicts and write the page."""
    from rich.console import Console
    from rich.table import Table

    from blendbench.reports.findings import write_findings
    from blendbench.results.store import open_results

    judged, page = write_findings(open_results(results), out)
    table = Table(box=None, show_header=False)
    for column in ("source", "statement", "verdict"):
        table.add_column(column, overflow="fold")
    for finding in judged:
        colour = _COLOURS[finding.verdict]
        table.add_row(finding.hypothesis.source, finding.hypothesis.statement, f"[{colour}]{finding.verdict}[/]")
    console = Console()
    console.print(table)
    console.print(f"\nwritten: {page}", highlight=False, soft_wrap=True)
