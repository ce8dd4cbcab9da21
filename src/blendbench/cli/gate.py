"""`blendbench gate`: decide whether a candidate is worse than a baseline.

The exit code answers too.
"""

from pathlib import Path
from typing import Annotated, Literal

import typer


def gate(
    candidate: Annotated[str, typer.Option(help="a label, as lerp:alpha=0.3, or a strategy with one configuration")],
    baseline: Annotated[str, typer.Option(help="what the candidate must not be worse than")] = "text_only",
    experiment: Annotated[str | None, typer.Option(help="experiment; default: the latest that has both")] = None,
    results: Annotated[Path, typer.Option(help="results folder")] = Path("results"),
    format_: Annotated[Literal["text", "markdown", "json", "junit"], typer.Option("--format", help="output")] = "text",
    gallery: Annotated[
        str | None,
        typer.Option(
            help="what the worst items link to: folder or web address of a gallery; default: RESULTS/gallery/EXPERIMENT"
            " if it exists, except in markdown, which others read"
        ),
    ] = None,
) -> None:
    """Compare two configurations of a results folder, pair by pair.

    Exit codes: 0 pass or no-op, 1 regression, 2 usage, 3 inconclusive, 4 canary not detected, 5 some cells failed.
    """
    from blendbench.reports.gallery import find_gallery, named_gallery
    from blendbench.reports.gate_formats import render, with_links
    from blendbench.results.store import open_results
    from blendbench.verdict import gate as judge

    named = named_gallery(gallery) if gallery else None
    verdict = judge(open_results(results), candidate, baseline, experiment)
    if named is None and format_ != "markdown":
        named = find_gallery(results / "gallery" / verdict.experiment)
    typer.echo(render(with_links(verdict, named), format_))
    raise typer.Exit(verdict.exit_code)
