"""Options that several commands have: where cells are generated."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from blendbench.core.errors import UsageError

if TYPE_CHECKING:
    from blendbench.run.cluster import Cluster

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
