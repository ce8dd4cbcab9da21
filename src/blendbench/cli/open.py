"""`blendbench open`: say what a folder of results or published data holds."""

import shlex
import shutil
from pathlib import Path
from typing import Annotated

import typer

from blendbench.core.errors import UsageError


def open(
    folder: Annotated[
        Path, typer.Argument(help="results folder, database file, or folder of published data such as reports")
    ] = Path("results"),
    to: Annotated[
        Path | None, typer.Option(help="also write the whole database here, for any program that reads DuckDB files")
    ] = None,
) -> None:
    """List the experiments of a folder, and print commands that query it.

    `blendbench sql --results FOLDER` and `blendbench.open_results(FOLDER)` read the same folders.
    """
    from blendbench.cli.sql import print_table
    from blendbench.results.export import open_folder

    if to is not None and (to.exists() or to.is_symlink()):
        raise UsageError(f"{to}: exists already, and nothing is overwritten; choose another name")
    results = open_folder(folder)
    summary = results.summary()
    print_table(summary)
    if to is not None:
        shutil.copyfile(results.database, to)
        print(f"{to}: the database with all tables and views")
    if len(summary):
        name = shlex.quote(str(folder))
        experiment = str(summary["experiment"].iloc[-1])
        print(f"next: blendbench sql --results {name} \"FROM leaderboard_wide WHERE experiment = '{experiment}'\"")
        print(f'      blendbench sql --results {name} "SHOW TABLES"')
