"""`blendbench check`: take a file with an idea to a verdict."""

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from blendbench.cli import options
from blendbench.run.planning import CHECK_ITEMS

if TYPE_CHECKING:
    from blendbench.session import CheckResult


def check(
    file: options.IdeaFile,
    baseline: options.Baseline = "text_only",
    models: options.Models = "miniature",
    results: options.ResultsFolder = Path("results"),
    out: Annotated[Path | None, typer.Option(help="folder of the page; default: RESULTS/check")] = None,
    items: options.CheckItems = CHECK_ITEMS,
    device: options.Device = "auto",
    memory_budget: options.MemoryBudget = None,
    executor: options.Executor = None,
    ray_address: options.RayAddress = None,
    gpus: options.Gpus = None,
    workers: options.Workers = None,
    sequential: options.Sequential = True,
    all_: Annotated[bool, typer.Option("--all", help="show all metrics, not only those that decide")] = False,
) -> None:
    """Generate the strategies of FILE on development items and judge each.

    The baseline and the canary are generated beside them. What half of the items settle is judged by them alone. Exit
    codes are those of `blendbench gate`; of several candidates the gravest counts.
    """
    from blendbench.session import Session

    cluster = options.cluster_of(executor, ray_address, gpus, workers, device)
    with (
        cluster or nullcontext(),
        Session(models, results, device, memory_budget=memory_budget, cluster=cluster) as session,
    ):
        done = session.check(file, baseline=baseline, items=items, sequential=sequential, out=out)
    print_check(done, file, all_)
    raise typer.Exit(done.exit_code)


def print_check(done: "CheckResult", file: Path, every: bool = False) -> None:
    """Print verdicts with the effects that decide (or `every`), and pages."""
    from blendbench.reports.gallery.links import find_gallery
    from blendbench.reports.gate_formats import as_terminal, with_links

    shown = find_gallery(done.gallery.parent)
    console = Console(highlight=False)
    for verdict in done.verdicts:
        console.print(as_terminal(with_links(verdict, shown), every), "")
        if verdict.needed is not None and verdict.needed > verdict.items:
            console.print(f"next: {_next(file, verdict.needed, verdict.items, done.most)}", soft_wrap=True)
        if verdict.items < done.items:
            console.print(f"{verdict.candidate}: settled by {verdict.items} of {done.items} items")
    console.print(f"side by side: {done.page}\nto compare: {done.gallery.resolve().as_uri()}", soft_wrap=True)


def _next(file: Path, needed: int, items: int, most: int) -> str:
    """Return the command that brings `needed` items, or the most that the suite has."""
    if items < most:
        return f"blendbench check {file} --items {min(needed, most)}"
    return f"blendbench run core --plugin {file} --fresh {needed}"
