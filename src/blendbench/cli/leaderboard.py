"""`blendbench leaderboard`: print the overview and write the page."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from blendbench.reports.board import Board


def leaderboard(
    experiment: Annotated[str | None, typer.Argument(help="experiment; default: that of the latest run")] = None,
    results: Annotated[Path, typer.Option(help="results folder")] = Path("results"),
    out: Annotated[Path, typer.Option(help="where EXPERIMENT.md and its images are written")] = Path("reports"),
    gallery: Annotated[
        bool, typer.Option("--gallery", help="also write OUT/gallery/EXPERIMENT, which the page then links to")
    ] = False,
) -> None:
    """Compare the configurations of an experiment and write the page.

    The page has intervals and images.
    """
    from rich.console import Console

    from blendbench.reports.leaderboard import answer, write_leaderboard
    from blendbench.reports.truth import truth_checks

    board, page = write_leaderboard(results, out, experiment, with_gallery=gallery)
    # In a file or a log, rows are better long than folded.
    console = Console(width=None if sys.stdout.isatty() else 140)
    console.print(answer(board).replace("`", ""), highlight=False, soft_wrap=True)
    console.print()
    console.print(_table(board))
    for check in truth_checks(board):
        colour = {"does not hold": "bold red", "undecided": "yellow"}.get(check.answer, "green")
        console.print(
            f"{check.question}: [{colour}]{check.answer}[/] ({check.evidence.replace('`', '')})",
            highlight=False,
            soft_wrap=True,
        )
    console.print(f"\nwritten: {page}", highlight=False, soft_wrap=True)


def _table(board: "Board") -> "Table":
    from rich.table import Table
    from rich.text import Text

    from blendbench.core.numbers import number
    from blendbench.reports.board import judged_headlines
    from blendbench.reports.formats import decision_word
    from blendbench.reports.leaderboard import marks

    metrics = judged_headlines(board)
    table = Table(box=None, header_style="bold", title=f"{board.experiment}: difference to {board.baseline}")
    table.add_column("configuration", overflow="fold")
    for metric in metrics:
        table.add_column(Text(metric.name.replace("_", "\n", 1)), justify="right")
    table.add_column("ok", justify="right")
    table.add_column("notes", overflow="fold")
    for configuration in board.configurations:
        cells = []
        for metric in metrics:
            entry = configuration.entries[metric.name]
            if entry.effect is not None:
                cells.append(f"{number(entry.effect.mean, metric, signed=True)} {decision_word(entry.effect)}".rstrip())
            else:
                own = entry.estimate if configuration.label == board.baseline else None
                cells.append("–" if own is None else number(own.mean, metric))
        counts = f"{configuration.ok}/{configuration.expected}"
        notes = marks(board, configuration) if configuration.complete else "incomplete, not ranked"
        table.add_row(*(Text(text) for text in (configuration.label, *cells, counts, notes)))
    return table
