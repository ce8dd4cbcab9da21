"""The plan: every cell of an experiment, with the id that decides whether it was done before."""

import functools
import math
from dataclasses import dataclass
from typing import Any

from blendbench.core.errors import UsageError
from blendbench.core.hashing import sha256_json
from blendbench.core.metric_info import MetricInfo
from blendbench.core.suites import Item, Suite
from blendbench.metrics import all_metrics, get_metric
from blendbench.models.sets import ModelSet
from blendbench.registry.strategies import Configuration, get_strategy
from blendbench.run.experiments import Experiment

CONTROLS = ("blank_reference", "unrelated_reference", "noise_reference", "self_alignment", "canary")
CELL_SCHEMA = 1


@dataclass(frozen=True)
class Cell:
    """Configuration x item x seed: the unit of work."""

    cell_id: str
    configuration: Configuration
    item: Item
    seed: int
    noise_seed: int


@dataclass(frozen=True)
class Plan:
    """All cells of a run, baseline first for each item and seed; `metrics` maps names to versions."""

    experiment: Experiment
    suite: Suite
    baseline: Configuration
    configurations: tuple[Configuration, ...]
    items: tuple[Item, ...]
    cells: tuple[Cell, ...]
    sampler: dict[str, Any]
    sampler_sha256: str
    metrics: dict[str, int]

    def metric_rows(self) -> list[dict[str, Any]]:
        """Return what is stored of each metric's card: a margin or a unit that changed is a change of the plan too."""
        return [_metric_row(get_metric(name).info) for name in self.metrics]

    @property
    def sources(self) -> dict[str, str]:
        """Hash of the strategy's code, by label."""
        return {c.label: c.strategy.source_sha256 for c in self.configurations}

    def baseline_of(self, cell: Cell) -> Cell:
        """The baseline's cell of the same item and seed."""
        return self._baselines[(cell.item.id, cell.seed)]

    @functools.cached_property
    def _baselines(self) -> dict[tuple[str, int], Cell]:
        return {(c.item.id, c.seed): c for c in self.cells if c.configuration == self.baseline}


def _metric_row(info: MetricInfo) -> dict[str, Any]:
    low, high = info.range
    return {
        "metric": info.name,
        "metric_version": info.version,
        "title": info.title,
        "role": info.role,
        "direction": info.direction,
        "unit": info.unit,
        "low": low if math.isfinite(low) else None,
        "high": high if math.isfinite(high) else None,
        "margin": info.margin,
        "decimals": info.decimals,
        "paired": info.paired,
        "threshold": info.threshold,
    }


def noise_seed(item: str, seed: int) -> int:
    """The generator seed of an item's initial latents: equal for every strategy, different for every item and seed."""
    return int(sha256_json({"item": item, "seed": seed})[:12], 16)


def configurations(experiment: Experiment) -> tuple[Configuration, tuple[Configuration, ...]]:
    """The baseline, and all configurations without repetition: baseline, the experiment's own, controls, companions.

    Errors: UsageError (unknown strategy or parameter, a value outside its range).
    """
    baseline = get_strategy(experiment.baseline).bind()
    chosen = [baseline]
    for grid in experiment.strategies:
        chosen += [get_strategy(grid.name).bind(**values) for values in grid.cells()]
    if experiment.controls:
        chosen += [get_strategy(name).bind() for name in CONTROLS]
    chosen += [companion for configuration in chosen if (companion := configuration.companion())]
    unique: dict[str, Configuration] = {}
    for configuration in chosen:
        unique.setdefault(sha256_json(configuration.key()), configuration)
    labels = [configuration.label for configuration in unique.values()]
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        raise UsageError(f"{experiment.name}: two configurations are both called {twice[0]!r}")
    return baseline, tuple(unique.values())


def metric_versions(experiment: Experiment) -> dict[str, int]:
    """An experiment's metrics (all if it names none) with their versions. Errors: UsageError for an unknown one."""
    return {name: get_metric(name).version for name in experiment.metrics or all_metrics()}


def _check_layers(chosen: tuple[Configuration, ...], models: ModelSet) -> None:
    states = models.facts.hidden_states
    for configuration in chosen:
        for layer in sorted(configuration.layers):
            if not -states <= layer < states:
                raise UsageError(
                    f"{configuration.label}: layer = {layer} is outside {-states}..{states - 1}, what {models.name} has"
                )


def make_plan(experiment: Experiment, suite: Suite, models: ModelSet) -> Plan:
    """Expand an experiment on a suite and a model set. Errors: UsageError, before anything is written."""
    baseline, chosen = configurations(experiment)
    metrics = metric_versions(experiment)
    models.check()
    _check_layers(chosen, models)
    items = suite.items[: experiment.items]
    sampler = models.sampler_record
    shared = {
        "schema": CELL_SCHEMA,
        "suite": suite.sha256,
        "sampler": sampler,
        "model_set": models.sha256,
        "dtype": models.dtype,
    }
    cells = tuple(
        Cell(
            sha256_json({**shared, "item": item.id, "configuration": configuration.key(), "seed": seed}),
            configuration,
            item,
            seed,
            noise_seed(item.id, seed),
        )
        for item in items
        for seed in experiment.seeds
        for configuration in chosen
    )
    return Plan(experiment, suite, baseline, chosen, items, cells, sampler, sha256_json(sampler), metrics)
