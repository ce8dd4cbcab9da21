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
    """Print every metric of two configurations, paired by item and seed.

    Exit code 5 if cells failed.
    """
    from blendbench.reports.compare import HEADER, compare_metrics, compared_rows
    from blendbench.reports.formats import markdown_table, text_table
    from blendbench.results.store import open_results
    from blendbench.verdict.comparison import choose_experiment, labels_of, resolve_label
    from blendbench.verdict.comparison import compare as pair_up

    with open_results(results).held() as opened:
        experiment = choose_experiment(opened, experiment, first, second)
        labels = labels_of(opened, experiment)
        comparison = pair_up(opened, experiment, resolve_label(first, labels), resolve_label(second, labels))
    if not comparison.pairs and not comparison.failed:
        raise UsageError(
            f"{experiment}: no metric was measured on both; `blendbench run {experiment}` measures what is missing"
        )
    rows = compared_rows(compare_metrics(comparison))
    names = (f"first: {comparison.candidate}", f"second: {comparison.baseline}")
    extent = f"{experiment}, {len(comparison.units)} pairs; p two-sided, Holm over the metrics of a role"
    if format_ == "markdown":
        table = markdown_table(HEADER, rows, right=(2, 3, 4, 6, 8))
        lines = [f"{names[0]}, {names[1]} ({extent})", "", *table]
    else:
        lines = [*names, extent, "", *text_table(HEADER, rows)]
    lines += [f"failed: {line}" for line in comparison.failed]
    lines += [f"not measured: {name}: {reason}" for name, reason in comparison.left_out.items()]
    typer.echo("\n".join(lines))
    raise typer.Exit(5 if comparison.failed else 0)
