"""Options that several commands have."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from blendbench.core.errors import UsageError

if TYPE_CHECKING:
    from blendbench.run.cluster import Cluster

IdeaFile = Annotated[Path, typer.Argument(help="Python file that registers strategies", metavar="FILE")]
Baseline = Annotated[str, typer.Option(help="NAME[:param=value,...] to compare with")]
Models = Annotated[str, typer.Option(help="model set: a shipped name or a folder with model_set.toml")]
ResultsFolder = Annotated[Path, typer.Option(help="results folder; finished cells are reused")]
CheckItems = Annotated[int, typer.Option(min=1, help="how many development items to generate")]
Device = Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="where the models run")]
MemoryBudget = Annotated[
    float | None,
    typer.Option(min=1, help="GiB of GPU memory to use; decides what is loaded at once; default: what is free"),
]
Sequential = Annotated[
    bool,
    typer.Option(
        "--sequential/--all-items", help="judge after half of the items, and generate the rest only if need be"
    ),
]
Executor = Annotated[
    Literal["local", "ray"] | None,
    typer.Option(help="local: this process; ray: one process for each GPU; default: local, or ray with its options"),
]
RayAddress = Annotated[
    str | None, typer.Option(help="a running Ray cluster, such as auto or HOST:6379; default: this machine")
]
Gpus = Annotated[int | None, typer.Option(min=1, help="how many GPUs Ray uses; default: all")]
Workers = Annotated[int | None, typer.Option(min=1, help="how many processes Ray uses where there is no GPU")]


def cluster_of(
    executor: str | None, address: str | None, gpus: int | None, workers: int | None, device: str
) -> "Cluster | None":
    """Return the workers that the options ask for, None for this process. Errors: UsageError."""
    given = {"--ray-address": address, "--gpus": gpus, "--workers": workers}
    named = [name for name, value in given.items() if value is not None]
    if executor == "local" and named:
        raise UsageError(f"{named[0]}: --executor local is this process alone; leave one out")
    if executor != "ray" and not named:
        return None
    from blendbench.run.cluster import Cluster

    return Cluster(address, gpus, workers, device)
