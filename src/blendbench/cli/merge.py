"""`blendbench merge`: bring the results of other folders into one."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from blendbench.core.errors import UsageError
from blendbench.core.numbers import counted

_SHOWN = 5


def merge(
    folders: Annotated[list[Path], typer.Argument(help="results folders", show_default=False)],
    results: Annotated[
        Path, typer.Option("--results", "--out", help="results folder that they are brought into; may hold results")
    ] = Path("results"),
    json_: Annotated[bool, typer.Option("--json", help="what was found as JSON")] = False,
) -> None:
    """Merge results folders: the same database in whatever order, and again.

    The folders may come from strangers. A cell with other pixels elsewhere is kept and named; the latest run's counts.
    """
    from blendbench.results.merge import merge as merge_into
    from blendbench.run.lock import folder_lock

    for folder in folders:
        if not folder.is_dir():
            raise UsageError(f"{folder}: no such folder")
    with folder_lock(results):
        done = merge_into(folders, results)
    if json_:
        print(json.dumps(asdict(done)))
        return
    print(f"{results}: {counted(done.shards, 'shard')} and {counted(done.images, 'image')} added")
    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    if done.missing:
        console.print(
            f"{counted(done.missing, 'image')} missing or damaged in every folder; a run generates them again"
        )
    for cell in done.differing[:_SHOWN]:
        where = f"{cell.experiment}, {cell.label}, {cell.item}, seed {cell.seed}"
        console.print(f"other pixels in other runs: {where}: {', '.join(cell.runs)}")
    if len(done.differing) > _SHOWN:
        console.print(f"and {len(done.differing) - _SHOWN} more; --json lists all")
    if done.scores:
        console.print(f"{counted(done.scores, 'score')} of the same images differ by more than a tenth of the margin")
    if done.failed:
        console.print(f"{counted(done.failed, 'cell')} failed in a later run than the one that generated them")
