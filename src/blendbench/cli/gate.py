"""`blendbench gate`: is a candidate worse than a baseline? The exit code says it too."""

from pathlib import Path
from typing import Annotated, Literal

import typer


def gate(
    candidate: Annotated[str, typer.Option(help="a label, as lerp:alpha=0.3, or a strategy with one configuration")],
    baseline: Annotated[str, typer.Option(help="what the candidate must not be worse than")] = "text_only",
    experiment: Annotated[str | None, typer.Option(help="experiment; default: the latest that has both")] = None,
    results: Annotated[Path, typer.Option(help="results folder")] = Path("results"),
    format_: Annotated[Literal["text", "markdown", "json", "junit"], typer.Option("--format", help="output")] = "text",
) -> None:
    """Compare two configurations of a results folder, pair by pair.

    Exit codes: 0 pass or no-op, 1 regression, 2 usage, 3 inconclusive, 4 canary not detected, 5 some cells failed.
    """
    from blendbench.gate import gate as judge
    from blendbench.reports.gate_formats import render
    from blendbench.results.store import open_results

    verdict = judge(open_results(results), candidate, baseline, experiment)
    print(render(verdict, format_))
    raise typer.Exit(verdict.exit_code)
