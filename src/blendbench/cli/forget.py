"""`blendbench forget`: remove a configuration from a results folder."""

from pathlib import Path
from typing import Annotated

import typer


def forget(
    label: Annotated[
        str, typer.Argument(help="configuration, as pages and `blendbench sql 'FROM leaderboard'` name it")
    ],
    experiment: Annotated[
        str | None, typer.Option(help="experiment to remove it from; needed if several have it")
    ] = None,
    results: Annotated[Path, typer.Option(help="results folder")] = Path("results"),
) -> None:
    """Remove a configuration: its cells, and images that nothing else uses.

    A later run brings it back.
    """
    from blendbench.results.forget import forget as remove
    from blendbench.results.store import open_results
    from blendbench.run.lock import folder_lock

    open_results(results)  # a folder without results is refused before a lock is made in it
    with folder_lock(results):
        done = remove(results, label, experiment)
    typer.echo(f"{done.label}: {done.cells} cells removed from {done.experiment}, and {done.images} images")
