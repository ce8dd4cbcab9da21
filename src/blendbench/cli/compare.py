"""`blendbench compare`: two configurations side by side."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from blendbench.core.errors import UsageError


def compare(
    first: Annotated[str, typer.Argument(help="a label, as lerp:alpha=0.3, or a strategy with one configuration")],
    second: Annotated[str, typer.Argument(help="the other one")],
    experiment: Annotated[str | None, typer.Option(help="experiment; default: the latest that has both")] = None,
    results: Annotated[Path, typer.Option(help="results folder")] = Path("results"),
    format_: Annotated[Literal["text", "markdown"], typer.Option("--format", help="output")] = "text",
) -> None:
    """Print every metric of two configurations, paired by item and seed. Exit code 5 if cells failed."""
    from blendbench.reports.compare import HEADER, compare_metrics, compared_rows
    from blendbench.reports.formats import markdown_table
    from blendbench.reports.gate_formats import text_table
    from blendbench.results.store import open_results
    from blendbench.verdict.pairing import choose_experiment, labels_of, pair, resolve_label

    opened = open_results(results)
    experiment = choose_experiment(opened, experiment, first, second)
    labels = labels_of(opened, experiment)
    comparison = pair(opened, experiment, resolve_label(first, labels), resolve_label(second, labels))
    if not comparison.pairs and not comparison.failed:
        raise UsageError(
            f"{experiment}: no metric was measured on both; `blendbench run {experiment}` measures what lacks"
        )
    rows = compared_rows(compare_metrics(comparison))
    names = (f"first: {comparison.candidate}", f"second: {comparison.baseline}")
    extent = f"{experiment}, {len(comparison.units)} pairs; p two-sided, Holm over the metrics"
    if format_ == "markdown":
        print(
            "\n".join([f"{names[0]}, {names[1]} ({extent})", "", *markdown_table(HEADER, rows, right=(2, 3, 4, 6, 8))])
        )
    else:
        print("\n".join([*names, extent, "", *text_table(HEADER, rows)]))
    left_out = (f"not measured: {name}: {reason}" for name, reason in comparison.left_out.items())
    for line in (*comparison.notes, *(f"failed: {line}" for line in comparison.failed), *left_out):
        print(line)
    raise typer.Exit(5 if comparison.failed else 0)
