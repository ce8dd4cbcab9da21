"""Plan every cell of an experiment, with an id that detects repeats."""

import functools
from dataclasses import asdict, dataclass
from typing import Any

from blendbench.core.depths import Depth
from blendbench.core.errors import UsageError
from blendbench.core.hashing import sha256_json
from blendbench.core.images import image_identity
from blendbench.core.suites import Item, Suite
from blendbench.metrics import Metric, all_metrics, get_metric
from blendbench.metrics.shared import SCORERS
from blendbench.models.sets import ModelSet
from blendbench.registry.parameters import at_depth
from blendbench.registry.strategies import Configuration, get_strategy
from blendbench.run.experiments import Experiment
from blendbench.run.inputs import InputIdentities

CONTROLS = ("blank_reference", "unrelated_reference", "noise_reference", "self_alignment", "canary")
Missing = dict[str, tuple[str, ...]]  # metrics that lack a value, by cell id
CELL_SCHEMA = 2  # raise it when an unchanged key would stand for other pixels


@dataclass(frozen=True)
class Cell:
    """Configuration x item x seed: the unit of work."""

    cell_id: str
    configuration: Configuration
    item: Item
    seed: int
    noise_seed: int


@dataclass(frozen=True)
class PlannedMetric:
    """A metric of a run; `scorer_sha256` identifies its code and networks."""

    metric: Metric
    scorer_sha256: str

    @property
    def name(self) -> str:
        """Return the metric's name."""
        return self.metric.info.name

    @property
    def version(self) -> int:
        """Return the metric's version."""
        return self.metric.info.version

    @property
    def paired(self) -> bool:
        """Return True if a value depends on the baseline's image."""
        return self.metric.info.paired


@dataclass(frozen=True)
class Plan:
    """All cells of a run, baseline first for each item and seed."""

    experiment: Experiment
    suite: Suite
    baseline: Configuration
    configurations: tuple[Configuration, ...]
    items: tuple[Item, ...]
    cells: tuple[Cell, ...]
    sampler: dict[str, Any]
    sampler_sha256: str
    metrics: tuple[PlannedMetric, ...]

    def expected(self) -> dict[str, list[Any]]:
        """Return what must exist in the end, for reports to count against."""
        return {
            "items": [item.id for item in self.items],
            "seeds": list(self.experiment.seeds),
            "labels": [configuration.label for configuration in self.configurations],
        }

    def baseline_of(self, cell: Cell) -> Cell:
        """Return the baseline's cell of the same item and seed."""
        return self._baselines[(cell.item.id, cell.seed)]

    def metric(self, name: str) -> PlannedMetric:
        """Return a metric of the run by name."""
        return self._by_name[name]

    @functools.cached_property
    def _by_name(self) -> dict[str, PlannedMetric]:
        return {metric.name: metric for metric in self.metrics}

    @functools.cached_property
    def _baselines(self) -> dict[tuple[str, int], Cell]:
        return {(c.item.id, c.seed): c for c in self.cells if c.configuration == self.baseline}


def noise_seed(item: str, seed: int) -> int:
    """Return the seed of initial latents, equal for all strategies."""
    return int(sha256_json({"item": item, "seed": seed})[:12], 16)


def configurations(experiment: Experiment, depth: Depth) -> tuple[Configuration, tuple[Configuration, ...]]:
    """Return each configuration once: baseline, own, controls, companions.

    `depth` is the model set's: two depths that are one there give one configuration.
    Errors: UsageError (unknown strategy or parameter, a value outside its range).
    """
    baseline = get_strategy(experiment.baseline).bind()
    chosen = [baseline]
    for grid in experiment.strategies:
        strategy = get_strategy(grid.name)
        chosen += [strategy.bind(**at_depth(strategy.parameters, values, depth)) for values in grid.cells()]
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


def metrics_of(experiment: Experiment) -> list[Metric]:
    """Return an experiment's metrics, by default all. Errors: UsageError."""
    return [get_metric(name) for name in experiment.metrics or all_metrics()]


def make_plan(experiment: Experiment, suite: Suite, models: ModelSet) -> Plan:
    """Expand an experiment before anything is written. Errors: UsageError."""
    for role, name in suite.primaries:
        try:
            get_metric(name)
        except UsageError as error:
            raise UsageError(f"suite {suite.name}: primary.{role}: {error}") from None
    models.check()
    baseline, chosen = configurations(experiment, models.facts.depth)
    metrics = tuple(PlannedMetric(metric, scorer_sha256(metric, suite, models)) for metric in metrics_of(experiment))
    items, sampler = _items(experiment, suite), models.sampler_record
    shared = sha256_json([CELL_SCHEMA, models.sha256, models.dtype, sampler])
    inputs = InputIdentities(suite, models.facts)
    keys = {id(configuration): sha256_json(configuration.key()) for configuration in chosen}
    cells: list[Cell] = []
    for item in items:
        read = {id(configuration): inputs.of(configuration, item) for configuration in chosen}
        judged = judged_by(item)
        for seed in experiment.seeds:
            noise = noise_seed(item.id, seed)
            for configuration in chosen:
                # Suites, items, model sets and files enter by content alone: names and paths are no part of a cell.
                key = [shared, keys[id(configuration)], read[id(configuration)], judged, noise]
                cells.append(Cell(sha256_json(key), configuration, item, seed, noise))
    return Plan(experiment, suite, baseline, chosen, items, tuple(cells), sampler, sha256_json(sampler), metrics)


def _items(experiment: Experiment, suite: Suite) -> tuple[Item, ...]:
    items = suite.of_split(experiment.split)
    if experiment.items is not None and experiment.items > len(items):
        which = f"{experiment.split} items" if experiment.split else "items"
        raise UsageError(
            f"{experiment.name}: {experiment.items} items asked for; {suite.name} has {len(items)} {which}"
        )
    return items[: experiment.items]


def judged_by(item: Item) -> str:
    """Hash what metrics compare an item's images with: its reference, and what must be true of the two.

    It is part of a cell because scores are kept by cell: another reference is another cell even for a strategy that
    does not read it. Its image is not generated again, since equal conditionings share one.
    """
    stated = [None if part is None else asdict(part) for part in (item.expect, item.reference_expect)]
    facts = [asdict(fact) for fact in item.facts]
    return sha256_json([item.prompt, image_identity(item.reference), stated, facts])


def scorer_sha256(metric: Metric, suite: Suite, models: ModelSet) -> str:
    """Hash a metric's code and the networks and pairs that it reads."""
    networks: dict[str, Any] = {name: models.scorer_sha256(name) for name in SCORERS if metric.reads(name)}
    if metric.reads("pairs"):
        networks["pairs"] = [(image_identity(pair.image), image_identity(pair.plain)) for pair in suite.pairs]
    return sha256_json([metric.source_sha256, networks])
