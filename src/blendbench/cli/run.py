"""`blendbench run`: plan, then do what is left."""

import json
from collections import Counter
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console

from blendbench.cli import options
from blendbench.core.errors import UsageError
from blendbench.core.numbers import counted
from blendbench.run.experiments import Experiment, Value
from blendbench.run.planning import checked_experiment, load_plugins, plan_on_models, selected, single_grid

if TYPE_CHECKING:
    from blendbench.models.sets import ModelSet
    from blendbench.run.loop import RunReport
    from blendbench.run.plan import Plan
    from blendbench.run.resume import Remaining
    from blendbench.verdict.canary import Canary


def run(
    experiment: Annotated[str, typer.Argument(help="name of a shipped experiment, or a .toml file")],
    models: Annotated[
        str | None,
        typer.Option(help="model set: a shipped name or a folder with model_set.toml; default: the experiment's own"),
    ] = None,
    strategy: Annotated[
        list[str], typer.Option(help="NAME[:param=value,...] in place of the experiment's list; repeatable")
    ] = [],  # noqa: B006
    plugin: Annotated[list[Path], typer.Option(help="Python file of strategies, steps or metrics; repeatable")] = [],  # noqa: B006
    results: Annotated[Path, typer.Option(help="results folder")] = Path("results"),
    set_: Annotated[
        list[str], typer.Option("--set", help="key=v1,v2 in place of a parameter's values; repeatable")
    ] = [],  # noqa: B006
    prompt: Annotated[str | None, typer.Option(help="a private trial: one item, with this prompt")] = None,
    image: Annotated[Path | None, typer.Option(help="a private trial: one item, with this reference image")] = None,
    device: options.Device = "auto",
    memory_budget: options.MemoryBudget = None,
    executor: options.Executor = None,
    ray_address: options.RayAddress = None,
    gpus: options.Gpus = None,
    workers: options.Workers = None,
    items: Annotated[int | None, typer.Option(min=1, help="the first items of the suite, or of --split")] = None,
    seeds: Annotated[str | None, typer.Option(help="seeds of the initial noise, as in 0,1")] = None,
    split: Annotated[
        Literal["dev", "test"] | None, typer.Option(help="only the items to tune on, or those to report")
    ] = None,
    fresh: Annotated[
        int | None, typer.Option(min=1, help="as many new items of the suite's world; the experiment is NAME-fresh")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="the experiment's quick form")] = False,
    keep_embeddings: Annotated[
        bool, typer.Option("--keep-embeddings", help="keep every stage's embeddings, found by the view embedding_files")
    ] = False,
    repeat: Annotated[
        float | None,
        typer.Option(help="percentage of images to generate again in other batches and another order, and compare"),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="print the plan and write nothing")] = False,
    json_: Annotated[bool, typer.Option("--json", help="summary as JSON; progress as JSON lines on stderr")] = False,
) -> None:
    """Run an experiment: generate what is missing, score it and store it.

    Exit code 5 if a cell, a score or a repetition failed, or if the run stopped early because everything failed alike.
    """
    if repeat is not None and not 0 < repeat <= 100:  # NaN is neither
        raise UsageError(f"--repeat {repeat:g}: write a percentage above 0 and up to 100, such as 2")
    added = load_plugins(plugin)
    chosen, _ = checked_experiment(experiment)
    models = models or chosen.model_set
    chosen = _overridden(chosen, strategy, set_, added)
    if (prompt is not None or image is not None) and items is not None:
        raise UsageError("--prompt and --image are a trial of one item; leave out --items")
    chosen = selected(chosen.quick() if quick else chosen, items, seeds, split or "", fresh)

    cluster = options.cluster_of(executor, ray_address, gpus, workers, device)
    plan, model_set = plan_on_models(
        chosen, models, device, prompt, image, memory_budget, hash_weights=not dry_run, cluster=cluster
    )

    from blendbench.run.loop import run as execute
    from blendbench.run.preflight import preflight_lines
    from blendbench.run.progress import Reporter
    from blendbench.run.resume import remaining_work

    if dry_run:
        remaining = remaining_work(plan, model_set, results)
        summary = _summary(plan, model_set, remaining)
        if json_:
            print(json.dumps(summary))
        else:
            _print_plan(summary, preflight_lines(plan, model_set, remaining.refused))
        return
    with cluster or nullcontext():
        done = execute(
            plan, model_set, results, Reporter(events=json_), keep_embeddings, cluster=cluster, repeat=repeat or 0.0
        )
    # A run with nothing to do has reported its canary before.
    canary = canary_of(results, plan.experiment.name) if done.run_id and _can_judge_canary(plan) else None
    if json_:
        print(json.dumps({**asdict(done), "canary_detected": canary.detected if canary else None}))
    else:
        console = Console(highlight=False, soft_wrap=True)
        console.print(
            f"{done.experiment}: {done.ok} of {done.expected} cells ok, {done.failed} failed; {done.generated}"
            f" generated, {done.reused} reused, {done.scored} scores measured in {done.seconds:.0f} s"
        )
        _print_repeats(done, results, console)
        console.print(f"next: blendbench leaderboard {done.experiment} --results {results}")
        errors = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
        _print_failures(done, results, errors)
        if canary and not canary.detected:
            errors.print(
                "the canary, a blend that is broken on purpose, was not found to be worse than the text alone, so these"
                f" metrics cannot be trusted here: {canary.evidence}"
            )
    if done.failed or done.scores_failed or done.repeats_failed or done.stopped:
        raise typer.Exit(5)


def _print_repeats(done: "RunReport", results: Path, console: Console) -> None:
    """Print whether the cells that were generated again have the same pixels, if there are any."""
    from blendbench.results.repeats import Repeats

    if done.repeated:
        which = f"; which: blendbench sql 'FROM repeats WHERE again_sha256 <> image_sha256' --results {results}"
        console.print(Repeats(done.repeated, done.differing).sentence + (which if done.differing else ""), markup=False)


def _print_failures(done: "RunReport", results: Path, errors: Console) -> None:
    if done.failed or done.scores_failed:
        errors.print(
            f"{done.failed} cells and {done.scores_failed} scores failed; why:"
            f" blendbench sql 'FROM failures' --results {results}"
        )
    if done.repeats_failed:
        errors.print(
            f"{counted(done.repeats_failed, 'cell')} could not be generated again; why: blendbench sql"
            f" 'FROM repeats WHERE error IS NOT NULL' --results {results}"
        )
    if done.stopped:
        errors.print(f"stopped early, {done.untried} cells were not tried: {done.stopped}")


def _summary(plan: "Plan", models: "ModelSet", remaining: "Remaining") -> dict[str, object]:
    """Return what a dry run reports; `notes`: what makes its counts uncertain."""
    from blendbench.run.preflight import obstacles, unscored

    notes = [f"{c.strategy.name}: {note}" for c in plan.configurations if (note := c.strategy.identity_note)]
    if models.provisional:
        notes.append("the weights were not read yet, so what is finished is unknown: all cells count as to generate")
    return {
        "experiment": plan.experiment.name,
        "configurations": [c.label for c in plan.configurations],
        "items": len(plan.items),
        "seeds": list(plan.experiment.seeds),
        "cells": len(plan.cells),
        "to_generate": len(remaining.cells),
        "cannot_generate": [asdict(found) for found in obstacles(plan, remaining.refused)],
        "cannot_score": [asdict(found) for found in unscored(plan, models)],
        "to_score": remaining.to_score,
        "image_tokens": _image_tokens(plan, models),
        "estimated_seconds": remaining.estimated_seconds,
        "weights_hashed": not models.provisional,
        "notes": list(dict.fromkeys(notes)),
    }


def _image_tokens(plan: "Plan", models: "ModelSet") -> dict[int, int]:
    """Count the references of the plan's items by their image tokens."""
    from blendbench.registry.strategies import get_strategy
    from blendbench.run.inputs import reference_tokens

    reading = get_strategy("vision_only").bind()
    read = {item.reference: reference_tokens(reading, item, plan.suite, models.image_tokens) for item in plan.items}
    return dict(Counter(tokens for tokens in read.values() if tokens is not None).most_common())


def _can_judge_canary(plan: "Plan") -> bool:
    """Return whether controls and items (for a corrected p of 5 %) suffice."""
    return plan.experiment.controls and len(plan.items) >= 6


def canary_of(results: Path, experiment: str) -> "Canary | None":
    """Compare the canary with the text alone, None where cells failed."""
    from blendbench.results.store import open_results
    from blendbench.verdict.canary import CANARY, REFERENCE, judge_canary
    from blendbench.verdict.comparison import compare

    try:
        return judge_canary(compare(open_results(results), experiment, CANARY, REFERENCE))
    except UsageError:
        return None


def _overridden(experiment: Experiment, strategies: list[str], settings: list[str], added: list[str]) -> Experiment:
    """Apply --set and --strategy, without which strategies of plug-ins join."""
    grids = [single_grid(text) for text in strategies]
    if not grids and added:
        experiment = replace(experiment, strategies=(*experiment.strategies, *map(single_grid, added)))
    values: dict[str, tuple[Value, ...]] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not text:
            raise UsageError(f"--set {setting}: write it as key=v1,v2")
        if key in values:
            raise UsageError(
                f"--set {setting}: {key} is given twice; write {key}={','.join(map(str, values[key]))},{text}"
            )
        values[key] = tuple(text.split(","))
    return experiment.with_overrides(values, grids)


def _print_plan(summary: dict[str, object], preflight: list[str]) -> None:
    """Print a summary for people: what cannot work comes first."""
    console = Console(highlight=False, soft_wrap=True)
    for line in preflight:
        console.print(line, markup=False)
    for key, value in summary.items():
        if key in ("cannot_generate", "cannot_score"):
            continue
        if isinstance(value, list) and key in ("configurations", "notes"):
            if value:
                console.print(f"{key} ({len(value)}):")
            for line in value:
                console.print(f"  {line}", markup=False)
        elif isinstance(value, dict):
            counts = ", ".join(f"{tokens:,} ({counted(number, 'reference')})" for tokens, number in value.items())
            console.print(f"{key}: {counts}", markup=False)
        else:
            console.print(f"{key}: {value}", markup=False)
