"""`blendbench leaderboard`: print the overview and write the page with its pictures."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from blendbench.reports.board import Board


def leaderboard(
    experiment: Annotated[str | None, typer.Argument(help="experiment; default: that of the latest run")] = None,
    results: Annotated[Path, typer.Option(help="results folder")] = Path("results"),
    out: Annotated[Path, typer.Option(help="where EXPERIMENT.md and its pictures are written")] = Path("reports"),
) -> None:
    """Print how the configurations of an experiment compare, and write the page with intervals and pictures."""
    from rich.console import Console

    from blendbench.reports.leaderboard import write_leaderboard
    from blendbench.reports.truth import truth_checks

    board, page = write_leaderboard(results, out, experiment)
    console = Console()
    console.print(_table(board))
    for check in truth_checks(board):
        answer = {True: "[green]yes[/]", False: "[bold red]NO[/]", None: "[yellow]cannot tell[/]"}[check.holds]
        console.print(f"{check.question}: {answer} ({check.evidence.replace('`', '')})", highlight=False)
    console.print(f"\nwritten: {page}", highlight=False, soft_wrap=True)


def _table(board: "Board") -> "Table":
    from rich.table import Table
    from rich.text import Text

    from blendbench.reports.board import BASELINE
    from blendbench.reports.formats import number, verdict
    from blendbench.reports.leaderboard import headline_metrics, marks

    metrics = headline_metrics(board)
    table = Table(box=None, header_style="bold", title=f"{board.experiment}: mean (difference to {BASELINE})")
    table.add_column("configuration", overflow="fold")
    for metric in metrics:
        table.add_column(Text(metric.name), justify="right")
    table.add_column("ok", justify="right")
    table.add_column("notes", overflow="fold")
    for configuration in board.configurations:
        cells = []
        for metric in metrics:
            entry = configuration.entries[metric.name]
            text = "–" if entry.estimate is None else number(entry.estimate.mean, metric)
            if entry.effect is not None:
                text += f" ({number(entry.effect.mean, metric, signed=True)}) {verdict(entry, metric)}"
            cells.append(text.rstrip())
        notes = marks(configuration) if configuration.complete else "incomplete, not ranked"
        counts = f"{configuration.ok}/{configuration.expected}"
        table.add_row(*(Text(text) for text in (configuration.label, *cells, counts, notes)))
    return table
