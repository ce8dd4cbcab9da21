"""`blendbench verify`: check published results before they are taken into a leaderboard."""

import tempfile
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from blendbench.cli import options
from blendbench.core.errors import UsageError

_REFUSED = 1


def verify(
    submission: Annotated[
        Path, typer.Argument(help="folder that `blendbench publish --out` wrote", show_default=False)
    ],
    experiment: Annotated[
        list[Path], typer.Option(help="file of a submitted experiment that is not shipped; repeatable")
    ] = [],  # noqa: B006
    models: Annotated[
        str | None, typer.Option(help="model set: a shipped name or a folder; default: the submission's, if shipped")
    ] = None,
    plugin: Annotated[
        list[Path], typer.Option(help="submitted file of strategies, which is run: read it first; repeatable")
    ] = [],  # noqa: B006
    items: Annotated[int, typer.Option(min=0, help="items of which all cells are generated again")] = 2,
    device: options.Device = "auto",
    executor: options.Executor = None,
    ray_address: options.RayAddress = None,
    gpus: options.Gpus = None,
    workers: options.Workers = None,
) -> None:
    """Check that published results belong to this code, are whole, and come out again.

    Exit code 1 if they do not: every reason is one line.
    """
    from blendbench.models.sets import list_model_sets
    from blendbench.reports.published import differing
    from blendbench.reports.verify import named_models, submitted
    from blendbench.reports.verify import verify as compare
    from blendbench.results.imported import MODEL_SET
    from blendbench.run.planning import checked_experiment, load_plugins, plan_on_models, single_grid

    data, names = submitted(submission)
    added = [single_grid(name) for name in load_plugins(plugin)]
    given = {chosen.name: path for path in experiment for chosen, _ in [checked_experiment(path)]}
    console = Console(highlight=False, markup=False, soft_wrap=True)
    refused = False
    for name in names:
        if named_models(data, name) == MODEL_SET:
            raise UsageError(f"{name}: its images were imported; nothing here can generate them again")
        chosen, _ = checked_experiment(given.get(name, name))
        chosen = replace(chosen, strategies=(*chosen.strategies, *added))
        where = models or named_models(data, name)
        if models is None and where not in list_model_sets():
            raise UsageError(f"{name}: made with the model set {where!r}, which is not shipped; name it by --models")
        cluster = options.cluster_of(executor, ray_address, gpus, workers, device)
        plan, model_set = plan_on_models(chosen, where, device, cluster=cluster)
        with cluster or nullcontext(), tempfile.TemporaryDirectory(prefix="blendbench-") as work:
            found = compare(data, plan, model_set, items, Path(work), cluster)
        # Pages of data that are refused need not be looked at.
        page = f"{name}.md"
        stale = not found.problems and (submission / page).exists() and bool(differing(submission, [name]))
        problems = [*found.problems, *([f"{page} is not what its data give"] if stale else [])]
        for line in problems:
            console.print(f"refused: {name}: {line}")
        refused = refused or bool(problems)
        if found.items:
            console.print(
                f"{name}: {found.cells} cells of {', '.join(found.items)} generated again, {found.same_pixels} with the"
                f" published pixels; {found.scores} scores compared"
            )
        if not problems:
            console.print(f"accepted: {name}: {len(plan.cells)} cells")
    if refused:
        raise typer.Exit(_REFUSED)
