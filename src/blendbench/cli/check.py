"""`blendbench check`: take a file with an idea to a verdict."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from blendbench.cli.planning import load_plugins, plan_on_models, single_grid
from blendbench.core.errors import UsageError
from blendbench.run.experiments import Experiment, load_experiment

if TYPE_CHECKING:
    from blendbench.core.suites import Item
    from blendbench.run.plan import Plan
    from blendbench.verdict import Verdict

EXPERIMENT = "check"
ITEMS = 36  # development items; with the baseline and the canary generated before, half a minute on two cores


def check(
    file: Annotated[Path, typer.Argument(help="Python file that registers strategies")],
    baseline: Annotated[str, typer.Option(help="NAME[:param=value,...] to compare with")] = "text_only",
    models: Annotated[
        str, typer.Option(help="model set: a shipped name or a folder with model_set.toml")
    ] = "miniature",
    results: Annotated[Path, typer.Option(help="results folder; finished cells are reused")] = Path("results"),
    out: Annotated[Path | None, typer.Option(help="folder of the page; default: RESULTS/check")] = None,
    items: Annotated[int, typer.Option(min=1, help="how many development items to generate")] = ITEMS,
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="where the models run")] = "auto",
    memory_budget: Annotated[
        float | None,
        typer.Option(min=1, help="GiB of GPU memory to use; decides what is loaded at once; default: what is free"),
    ] = None,
    sequential: Annotated[
        bool, typer.Option("--sequential", help="judge after half of the items, and generate the rest only if need be")
    ] = False,
    all_: Annotated[bool, typer.Option("--all", help="show all metrics, not only those that decide")] = False,
) -> None:
    """Generate the strategies of FILE on development items and judge each.

    The baseline and the canary are generated beside them. Exit codes are those of `blendbench gate`; of several
    candidates the gravest counts.
    """
    added = load_plugins([file])
    reference = _label(baseline)
    _refuse_nothing(file, added, reference)
    plan, model_set = plan_on_models(_experiment(baseline, added), models, device, memory_budget=memory_budget)
    most = len(_development(plan, len(plan.items)).items)
    plan = _development(plan, items)

    from rich.console import Console

    from blendbench.reports.check import write_check
    from blendbench.reports.gallery import find_gallery, write_gallery
    from blendbench.reports.gate_formats import as_terminal, with_links
    from blendbench.results.store import open_results
    from blendbench.run.loop import run as execute
    from blendbench.run.progress import Reporter
    from blendbench.stats.decide import ALPHA
    from blendbench.verdict import gate
    from blendbench.verdict.outcome import gravest
    from blendbench.verdict.sequential import Look, looks, settled

    candidates = [c.label for c in plan.configurations if c.strategy.name in added and c.label != reference]
    verdicts: dict[str, Verdict] = {}
    for look in looks(len(plan.items)) if sequential else (Look(len(plan.items), ALPHA),):
        pending = [label for label in candidates if label not in verdicts or not settled(verdicts[label].outcome)]
        if not pending:
            break
        part = _part(plan, plan.items[: look.items], leaving_out=set(candidates) - set(pending))
        done = execute(part, model_set, results, Reporter(), wanted=pending)
        if done.stopped:
            raise UsageError(f"stopped early, {done.untried} cells were not tried: {done.stopped}")
        opened, names = open_results(results), [item.id for item in part.items]
        for label in pending:
            # What an idea loses in single items is reported; only the gate requires that it is little.
            verdicts[label] = gate(opened, label, reference, EXPERIMENT, names, look.alpha, tolerated=None)
    gallery, *_ = write_gallery(opened, results, experiment=EXPERIMENT)
    page = write_check(opened, results, list(verdicts.values()), out or results / "check")
    shown = find_gallery(gallery.parent)
    console = Console(highlight=False)
    for verdict in verdicts.values():
        console.print(as_terminal(with_links(verdict, shown), all_), "")
        if verdict.needed is not None and verdict.needed > verdict.items:
            console.print(f"next: {_next(file, verdict.needed, verdict.items, most)}", soft_wrap=True)
        if sequential:
            saved = 100 * (1 - verdict.items / len(plan.items))
            console.print(
                f"{verdict.candidate}: {verdict.items} of {len(plan.items)} items, {saved:.0f} % of the work saved"
            )
    console.print(f"side by side: {page}\nto compare: {gallery.resolve().as_uri()}", soft_wrap=True)
    raise typer.Exit(gravest([verdict.exit_code for verdict in verdicts.values()]))


def _next(file: Path, needed: int, items: int, most: int) -> str:
    """Return the command that brings `needed` items, or the most that the suite has."""
    if items < most:
        return f"blendbench check {file} --items {min(needed, most)}"
    return f"blendbench run core --plugin {file} --fresh {needed}"


def _refuse_nothing(file: Path, added: list[str], reference: str) -> None:
    """Refuse a file that has nothing to compare with the baseline."""
    if not added:
        trial = f"blendbench run core --plugin {file} --strategy lerp:align=STEP"
        raise UsageError(f"{file}: registers no strategy, only steps of strategies; try one with `{trial}`")
    if [_label(name) for name in added] == [reference]:
        raise UsageError(f"{file}: its only strategy is the baseline, {reference}; name another with --baseline")


def _experiment(baseline: str, added: list[str]) -> Experiment:
    from blendbench.verdict.canary import CANARY

    strategies = tuple(single_grid(text) for text in (baseline, *added, CANARY))
    # An experiment of its own: a candidate must not stand in the leaderboard of core. Of the controls it needs one.
    return replace(load_experiment("core"), name=EXPERIMENT, strategies=strategies, controls=False, items=None)


def _development(plan: "Plan", items: int) -> "Plan":
    """Return the plan on its first development items, or on its first items if the suite has no such part."""
    chosen = tuple(item for item in plan.items if item.split == "dev") or plan.items
    return _part(plan, chosen[:items], leaving_out=set())


def _part(plan: "Plan", items: "tuple[Item, ...]", leaving_out: set[str]) -> "Plan":
    """Return the plan on some of its items, without some configurations."""
    ids = {item.id for item in items}
    configurations = tuple(c for c in plan.configurations if c.label not in leaving_out)
    cells = tuple(cell for cell in plan.cells if cell.item.id in ids and cell.configuration in configurations)
    return replace(plan, items=items, configurations=configurations, cells=cells)


def _label(text: str) -> str:
    from blendbench.registry.strategies import parse_configuration

    return parse_configuration(text).label
