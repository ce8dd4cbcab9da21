"""`blendbench leaderboard`: print which blend to use, and write the page."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from blendbench.reports.board import Board
    from blendbench.reports.standings import Group, Standing, Standings

# By what a group says of its families.
_COLOURS: "dict[Group, str]" = {
    "front": "bold green",
    "dominated": "yellow",
    "over budget": "red",
    "no gain": "default",
    "no dose fits": "dim",
    "no effect": "dim",
    "control": "cyan",
}
_OUTCOMES = {"better": "green", "cheaper": "green", "trade": "yellow", "regression": "red", "undecided": "magenta"}


def leaderboard(
    experiment: Annotated[str | None, typer.Argument(help="experiment; default: that of the latest run")] = None,
    results: Annotated[Path, typer.Option(help="results folder")] = Path("results"),
    out: Annotated[Path, typer.Option(help="where EXPERIMENT.md and its images are written")] = Path("reports"),
    all_: Annotated[
        bool, typer.Option("--all", help="also every configuration with its outcome, and every check")
    ] = False,
    gallery: Annotated[
        bool, typer.Option("--gallery", help="also write OUT/gallery/EXPERIMENT, which the page then links to")
    ] = False,
) -> None:
    """Print which blend to use and at what cost, and write the page.

    The page has intervals, plots and images.
    """
    from blendbench.reports.leaderboard import write_leaderboard
    from blendbench.reports.summary import LISTED, ROWS, TITLES, answer
    from blendbench.reports.truth import truth_checks

    board, standings, page = write_leaderboard(results, out, experiment, with_gallery=gallery)
    console = Console(highlight=False)
    console.print(Text(answer(board, standings).replace("`", "").replace("**", "")))
    if standings is not None and standings.rows:
        if standings.of_group(*ROWS):
            console.print("", _families(standings))
        console.print()
        for group in LISTED:
            members = standings.of_group(group)
            if members:
                names = ", ".join(row.family for row in members)
                console.print(Text(f"{TITLES[group]} ({len(members)}): {names}", style=_COLOURS[group]))
    if all_:
        console.print("", _configurations(board))
    open_ = [check for check in truth_checks(board) if not check.answer.startswith("holds")]
    if not open_ and not board.repeats.differing:
        console.print("\nAll checks of the benchmark itself hold.", style="green")
    failed = [check for check in open_ if check.answer == "does not hold"]
    if unsettled := len(open_) - len(failed):
        more = "" if all_ else "; --all lists them"
        console.print(
            f"\nChecks of the benchmark itself: {unsettled} not settled by so few items{more}.", style="yellow"
        )
    for check in open_ if all_ else failed:
        line = f"{check.question}: {check.answer} ({check.evidence.replace('`', '')})"
        console.print(Text(line, style="bold red" if check.answer == "does not hold" else "yellow"))
    if board.repeats.repeated:
        console.print(Text(f"{board.repeats.sentence}.", style="bold red" if board.repeats.differing else "green"))
    console.print(f"\nwritten: {page}", soft_wrap=True)


def _families(standings: "Standings") -> Table:
    """Return a row a family that gains, coloured by its group; the caption is the legend."""
    from blendbench.reports.summary import ROWS, TITLES
    from blendbench.verdict.headline import BUDGETS

    legend = Text("gain [95 % interval] and the prompt lost for it, on test items. Colours: ")
    legend.append_text(
        Text("; ").join(
            Text(TITLES[group].lower(), style=_COLOURS[group]) for group in ROWS if standings.of_group(group)
        )
    )
    table = Table(box=None, header_style="bold", caption=legend, caption_justify="left")
    table.add_column("blend", overflow="fold")
    for budget in BUDGETS:
        table.add_column(f"at {100 * budget:.0f} %", overflow="fold")
    for row in standings.of_group(*ROWS):
        table.add_row(*(Text(text, style=_COLOURS[row.group]) for text in _words(row)))
    return table


def _words(row: "Standing") -> list[str]:
    from blendbench.reports.summary import gain_and_loss

    name = row.shown.point.label if row.shown is not None else row.family
    cells = [
        "–" if one.chosen is None else gain_and_loss(one.chosen) + (" (over)" if one.status == "over budget" else "")
        for one in (row.tight, row.loose)
    ]
    return [name + (f"\n  dominated by {row.dominated_by}" if row.dominated_by else ""), *cells]


def _configurations(board: "Board") -> Table:
    """Return a row a configuration, coloured by its outcome."""
    from blendbench.core.numbers import number
    from blendbench.reports.formats import decision_word
    from blendbench.reports.metric_tables import outcome_notes

    metrics = list(board.primaries.values())
    table = Table(box=None, header_style="bold", title=f"difference to {board.baseline}", title_justify="left")
    table.add_column("configuration", overflow="fold")
    table.add_column("outcome", overflow="fold")
    for metric in metrics:
        table.add_column(Text(metric.name.replace("_", "\n", 1)), justify="right", overflow="fold")
    for row in board.configurations:
        cells = []
        for metric in metrics:
            found = row.entries[metric.name]
            figure = "–" if found.difference is None else number(found.difference.mean, metric, signed=True)
            cells.append(f"{figure} {decision_word(found.effect)}".rstrip())
        state = "baseline" if row.label == board.baseline else row.outcome or "not judged"
        notes = outcome_notes(row) if row.label != board.baseline else []
        words = "; ".join([state if row.complete else "incomplete", *notes])
        style = _OUTCOMES.get(row.outcome or "", "default")
        table.add_row(row.label, Text(words, style=style), *(Text(cell) for cell in cells))
    return table
