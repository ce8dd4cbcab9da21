"""`blendbench publish`: pages and the data that they are made from."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console


def publish(
    experiments: Annotated[list[str] | None, typer.Argument(help="experiments; default: all that were run")] = None,
    results: Annotated[Path, typer.Option(help="results folder")] = Path("results"),
    out: Annotated[Path, typer.Option(help="where pages and data/ are written")] = Path("reports"),
    check: Annotated[bool, typer.Option("--check", help="only compare the pages with what their data give")] = False,
) -> None:
    """Write leaderboards, findings and hidden states, with their data.

    Exit code 1 if --check finds a page that differs.
    """
    from blendbench.reports import published

    console = Console(highlight=False, soft_wrap=True)
    if not check:
        for page in published.publish(results, out, experiments):
            console.print(f"written: {page}")
        return
    wrong = published.differing(out, experiments)
    for name in wrong:
        console.print(f"{out / name}.md is not what its data give; write it with: blendbench publish")
    if wrong:
        raise typer.Exit(1)
    console.print(f"every page in {out} is what its data give")
