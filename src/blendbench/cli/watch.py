"""`blendbench watch`: check a file whenever it is saved."""

import functools
from contextlib import nullcontext
from pathlib import Path

import typer
from rich.console import Console

from blendbench.cli import options
from blendbench.core.errors import UsageError
from blendbench.run.planning import CHECK_ITEMS

STOPPED = 130


def watch(
    file: options.IdeaFile,
    baseline: options.Baseline = "text_only",
    models: options.Models = "miniature",
    results: options.ResultsFolder = Path("results"),
    items: options.CheckItems = CHECK_ITEMS,
    device: options.Device = "auto",
    memory_budget: options.MemoryBudget = None,
    executor: options.Executor = None,
    ray_address: options.RayAddress = None,
    gpus: options.Gpus = None,
    workers: options.Workers = None,
    sequential: options.Sequential = True,
) -> None:
    """Check FILE now and whenever it, or a file that it reads, is saved.

    The models stay loaded. RESULTS/check/watch.html shows the last verdict, and loads itself again after the next.
    An error in FILE is one line, and watching goes on. Ctrl-C ends it, with the exit code of the last check: that of
    `blendbench check`, 2 after an error in FILE, 130 before the first has ended.
    """
    if not file.is_file():
        raise UsageError(f"{file}: no such file")

    from blendbench.core.saves import saves
    from blendbench.registry.loading import files_behind
    from blendbench.reports.gallery.links import find_gallery
    from blendbench.reports.gate_formats import headline
    from blendbench.reports.watch_page import WatchPage
    from blendbench.session import EXPERIMENT, Session

    console, code = Console(highlight=False), STOPPED
    shown: object = None  # the verdicts or the error that were printed last
    cluster = options.cluster_of(executor, ray_address, gpus, workers, device)
    with (
        cluster or nullcontext(),
        Session(models, results, device, memory_budget=memory_budget, cluster=cluster) as session,
    ):
        session.models.check()
        page = WatchPage(results / EXPERIMENT, file.name)
        try:
            for _ in saves(functools.partial(files_behind, file)):
                page.state(f"checking {file.name} ...")
                try:
                    done = session.check(file, baseline=baseline, items=items, sequential=sequential)
                except UsageError as error:
                    if shown != str(error):
                        console.print(str(error), style="red", markup=False, soft_wrap=True)
                    code, shown = 2, str(error)
                    page.state(str(error), error=True)
                    continue
                text = f"{done.generated} cells generated in {done.seconds:.1f} s"
                if done.verdicts is shown:
                    text = f"unchanged, {text}"
                    page.state(text)
                else:
                    page.show(done.verdicts, find_gallery(done.gallery.parent, seen_from=page.folder), text)
                    for verdict in done.verdicts:
                        console.print(headline(verdict), soft_wrap=True)
                        for line in verdict.failed[:1]:
                            console.print(f"failed: {line}", style="red", markup=False, soft_wrap=True)
                console.print(f"{text}: {page.address}", style="dim", soft_wrap=True)
                code, shown = done.exit_code, done.verdicts
        except KeyboardInterrupt:
            pass
        finally:
            page.close()
    raise typer.Exit(code)
