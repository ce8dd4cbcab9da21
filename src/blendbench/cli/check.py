"""`blendbench check`: take a file with an idea to a verdict."""

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from blendbench.cli.options import Executor, Gpus, RayAddress, Workers, cluster_of
from blendbench.run.planning import CHECK_ITEMS

if TYPE_CHECKING:
    from blendbench.session import CheckResult


def check(
    file: Annotated[Path, typer.Argument(help="Python file that registers strategies")],
    baseline: Annotated[str, typer.Option(help="NAME[:param=value,...] to compare with")] = "text_only",
    models: Annotated[
        str, typer.Option(help="model set: a shipped name or a folder with model_set.toml")
    ] = "miniature",
    results: Annotated[Path, typer.Option(help="results folder; finished cells are reused")] = Path("results"),
    out: Annotated[Path | None, typer.Option(help="folder of the page; default: RESULTS/check")] = None,
    items: Annotated[int, typer.Option(min=1, help="how many development items to generate")] = CHECK_ITEMS,
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="where the models run")] = "auto",
    memory_budget: Annotated[
        float | None,
        typer.Option(min=1, help="GiB of GPU memory to use; decides what is loaded at once; default: what is free"),
    ] = None,
    executor: Executor = None,
    ray_address: RayAddress = None,
    gpus: Gpus = None,
    workers: Workers = None,
    sequential: Annotated[
        bool, typer.Option("--sequential", help="judge after half of the items, and generate the rest only if need be")
    ] = False,
    all_: Annotated[bool, typer.Option("--all", help="show all metrics, not only those that decide")] = False,
) -> None:
    """Generate the strategies of FILE on development items and judge each.

    The baseline and the canary are generated beside them. Exit codes are those of `blendbench gate`; of several
    candidates the gravest counts.
    """
    from blendbench.session import Session

    cluster = cluster_of(executor, ray_address, gpus, workers, device)
    with (
        cluster or nullcontext(),
        Session(models, results, device, memory_budget=memory_budget, cluster=cluster) as session,
    ):
        done = session.check(file, baseline=baseline, items=items, sequential=sequential, out=out)
    print_check(done, file, sequential, all_)
    raise typer.Exit(done.exit_code)


def print_check(done: "CheckResult", file: Path, sequential: bool, every: bool = False) -> None:
    """Print verdicts, what to do next, and where the pages are.

    `every`: all metrics, not only those that decide.
    """
    from rich.console import Console

    from blendbench.reports.gallery import find_gallery
    from blendbench.reports.gate_formats import as_terminal, with_links

    shown = find_gallery(done.gallery.parent)
    console = Console(highlight=False)
    for verdict in done.verdicts:
        console.print(as_terminal(with_links(verdict, shown), every), "")
        if verdict.needed is not None and verdict.needed > verdict.items:
            console.print(f"next: {_next(file, verdict.needed, verdict.items, done.most)}", soft_wrap=True)
        if sequential:
            saved = 100 * (1 - verdict.items / done.items)
            console.print(
                f"{verdict.candidate}: {verdict.items} of {done.items} items, {saved:.0f} % of the work saved"
            )
    console.print(f"side by side: {done.page}\nto compare: {done.gallery.resolve().as_uri()}", soft_wrap=True)


def _next(file: Path, needed: int, items: int, most: int) -> str:
    """Return the command that brings `needed` items, or the most that the suite has."""
    if items < most:
        return f"blendbench check {file} --items {min(needed, most)}"
    return f"blendbench run core --plugin {file} --fresh {needed}"
