"""`blendbench check`: take a file with an idea to a verdict."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from blendbench.cli.planning import load_plugins, plan_on_models, single_grid
from blendbench.core.errors import UsageError
from blendbench.run.experiments import Experiment, load_experiment

if TYPE_CHECKING:
    from blendbench.run.plan import Plan
    from blendbench.verdict import Verdict

# Which verdict decides the exit code when several candidates are checked.
_GRAVEST = ("canary not detected", "cells failed", "regression", "inconclusive", "pass", "no-op")


def check(
    file: Annotated[Path, typer.Argument(help="Python file that registers strategies")],
    baseline: Annotated[str, typer.Option(help="NAME[:param=value,...] to compare with")] = "text_only",
    models: Annotated[
        str, typer.Option(help="model set: a shipped name or a folder with model_set.toml")
    ] = "miniature",
    results: Annotated[Path, typer.Option(help="results folder; finished cells are reused")] = Path("results"),
    out: Annotated[Path | None, typer.Option(help="folder of the page; default: RESULTS/check")] = None,
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="where the models run")] = "auto",
    memory_budget: Annotated[
        float | None,
        typer.Option(min=1, help="GiB of GPU memory to use; decides what is loaded at once; default: what is free"),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="fewer items and one seed; less can be decided")] = False,
    sequential: Annotated[
        bool, typer.Option("--sequential", help="judge after half of the items, and generate the rest only if need be")
    ] = False,
) -> None:
    """Generate the strategies of FILE on core and gate each.

    The baseline and the controls are generated beside them.

    Exit codes are those of `blendbench gate`; of several candidates the gravest counts.
    """
    added = load_plugins([file])
    reference = _label(baseline)
    _refuse_nothing(file, added, reference)
    plan, model_set = plan_on_models(_experiment(baseline, added, quick), models, device, memory_budget=memory_budget)

    from blendbench.reports.check import write_check
    from blendbench.reports.gallery import find_gallery, write_gallery
    from blendbench.reports.gate_formats import as_text, with_links
    from blendbench.results.store import open_results
    from blendbench.run.loop import run as execute
    from blendbench.run.progress import Reporter
    from blendbench.stats.decide import ALPHA
    from blendbench.verdict import gate
    from blendbench.verdict.sequential import Look, looks, settled

    candidates = [c.label for c in plan.configurations if c.strategy.name in added and c.label != reference]
    verdicts: dict[str, Verdict] = {}
    for look in looks(len(plan.items)) if sequential else (Look(len(plan.items), ALPHA),):
        pending = [label for label in candidates if label not in verdicts or not settled(verdicts[label].verdict)]
        if not pending:
            break
        part = _part(plan, look.items, leaving_out=set(candidates) - set(pending))
        execute(part, model_set, results, Reporter())
        opened, cell_ids = open_results(results), [cell.cell_id for cell in part.cells]
        for label in pending:
            verdicts[label] = gate(opened, label, reference, plan.experiment.name, cell_ids, look.alpha)
    gallery, *_ = write_gallery(opened, results, experiment=plan.experiment.name)
    page = write_check(
        opened, results, list(verdicts.values()), [cell.cell_id for cell in plan.cells], out or results / "check"
    )
    shown = find_gallery(gallery.parent)
    typer.echo("\n\n".join(as_text(with_links(verdict, shown)) for verdict in verdicts.values()))
    for verdict in verdicts.values() if sequential else ():
        saved = 100 * (1 - verdict.items / len(plan.items))
        typer.echo(f"{verdict.candidate}: {verdict.items} of {len(plan.items)} items, {saved:.0f} % of the work saved")
    typer.echo(f"\nside by side: {page}\nto compare: {gallery.resolve().as_uri()}")
    raise typer.Exit(_gravest(list(verdicts.values())).exit_code)


def _refuse_nothing(file: Path, added: list[str], reference: str) -> None:
    """Refuse a file that has nothing to compare with the baseline."""
    if not added:
        trial = f"blendbench run core --plugin {file} --strategy lerp:align=STEP"
        raise UsageError(f"{file}: registers no strategy, only steps of strategies; try one with `{trial}`")
    if [_label(name) for name in added] == [reference]:
        raise UsageError(f"{file}: its only strategy is the baseline, {reference}; name another with --baseline")


def _experiment(baseline: str, added: list[str], quick: bool) -> Experiment:
    from blendbench.verdict.sequential import LEAST_ITEMS

    core = load_experiment("core")
    if quick:
        short = core.quick()
        core = replace(short, items=max(short.items or 0, LEAST_ITEMS))
    strategies = tuple(single_grid(text) for text in (baseline, *added))
    # An experiment of its own: a candidate of a quick look must not stand in the leaderboard of core with gaps.
    return replace(core, name="check", strategies=strategies)


def _part(plan: "Plan", items: int, leaving_out: set[str]) -> "Plan":
    """Return the plan on its first items, without some configurations."""
    kept = plan.items[:items]
    configurations = tuple(c for c in plan.configurations if c.label not in leaving_out)
    cells = tuple(cell for cell in plan.cells if cell.item in kept and cell.configuration in configurations)
    return replace(plan, items=kept, configurations=configurations, cells=cells)


def _label(text: str) -> str:
    from blendbench.registry.strategies import parse_configuration

    return parse_configuration(text).label


def _gravest(verdicts: list["Verdict"]) -> "Verdict":
    return min(verdicts, key=lambda verdict: _GRAVEST.index(verdict.verdict))
