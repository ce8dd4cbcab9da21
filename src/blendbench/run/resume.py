"""Resuming: what is left of a plan in a results folder."""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from blendbench.core.errors import UsageError
from blendbench.models.sets import ModelSet
from blendbench.results.images import ImageStore
from blendbench.results.state import PlannedMetric, PlannedScore, State, open_state
from blendbench.run.plan import Cell, Plan
from blendbench.run.provenance import scorer_hashes


@dataclass(frozen=True)
class Todo:
    """What is left of a plan.

    `cells` to draw; `adopt`: rows of finished cells that this experiment has to count as its own; `images` by cell id;
    `missing_scores`: metrics by cell id; `known`: images by (conditioning, noise seed); `replanned`: the last run of
    this experiment meant something else; `pace`: seconds a thing, by stage, as the last run here went.
    """

    cells: tuple[Cell, ...]
    adopt: tuple[dict[str, Any], ...]
    images: dict[str, str]
    missing_scores: dict[str, list[str]]
    known: dict[tuple[str, int], str]
    replanned: bool
    pace: dict[str, float]

    @property
    def empty(self) -> bool:
        return not (self.cells or self.adopt or self.missing_scores or self.replanned)

    @property
    def estimated_seconds(self) -> float | None:
        """How long the rest takes if it goes as fast as the last run here; None if there was none."""
        counts = {"denoise": len(self.cells), "measure": sum(map(len, self.missing_scores.values()))}
        if not self.pace.keys() >= counts.keys():
            return None
        return round(sum(count * self.pace[stage] for stage, count in counts.items()), 1)


def what_is_left(plan: Plan, models: ModelSet, results: Path) -> Todo:
    """Compare a plan with what a results folder holds; a cell whose image is missing or damaged is left too."""
    with open_state(results) as state:
        known = state.finished_cells([cell.cell_id for cell in plan.cells])
        named = {cell_id: str(cell.image_sha256) for cell_id, cell in known.items() if cell.status == "ok"}
        settings = (plan.sampler_sha256, models.sha256, models.dtype)
        drawn = {(sha256, seed): image for sha256, seed, image in state.known_images(*settings)}
        there = ImageStore(results).present({*named.values(), *drawn.values()})
        images = {cell_id: image for cell_id, image in named.items() if image in there}
        return Todo(
            cells=tuple(cell for cell in plan.cells if cell.cell_id not in images),
            adopt=tuple(state.outdated_members(plan.experiment.name, list(images))),
            images=images,
            missing_scores=_missing_scores(plan, models, state, images),
            known={key: image for key, image in drawn.items() if image in there},
            replanned=_is_replanned(plan, models, state),
            pace=state.pace(),
        )


def _missing_scores(plan: Plan, models: ModelSet, state: State, images: dict[str, str]) -> dict[str, list[str]]:
    baselines = {cell.cell_id: plan.baseline_of(cell).cell_id for cell in plan.cells}
    scorers = scorer_hashes(plan.metrics, models)
    paired = {str(row["metric"]): bool(row["paired"]) for row in plan.metric_rows()}
    metrics = [PlannedMetric(name, version, paired[name], scorers[name]) for name, version in plan.metrics.items()]
    missing: dict[str, list[str]] = defaultdict(list)
    finished = [
        PlannedScore(cell_id, images[cell_id], images.get(baseline, ""))
        for cell_id, baseline in baselines.items()
        if cell_id in images
    ]
    for cell_id, metric in state.missing_scores(finished, metrics):
        missing[cell_id].append(metric)
    for cell_id, baseline in baselines.items():
        if cell_id not in images:
            missing[cell_id] = list(plan.metrics)
        elif baseline not in images:
            # Its paired scores may stand, but the baseline will have another image.
            missing[cell_id] = [name for name in plan.metrics if paired[name] or name in missing[cell_id]]
    return {cell_id: metrics for cell_id, metrics in missing.items() if metrics}


def _is_replanned(plan: Plan, models: ModelSet, state: State) -> bool:
    last = state.last_plan(plan.experiment.name)
    if last is None:
        return True
    scorers = scorer_hashes(plan.metrics, models)
    cards = {str(row["metric"]): row | {"scorer_sha256": scorers[str(row["metric"])]} for row in plan.metric_rows()}
    settings = (plan.suite.sha256, models.sha256, models.dtype, plan.sampler_sha256, plan.baseline.label)
    return (
        settings != (last.suite_sha256, last.model_set_sha256, last.dtype, last.sampler_sha256, last.baseline)
        or (tuple(item.id for item in plan.items), tuple(plan.experiment.seeds)) != (last.items, last.seeds)
        or plan.sources != last.sources
        or cards != last.metrics
    )


@contextmanager
def locked(results: Path) -> Iterator[None]:
    """Hold a results folder for one run; a killed run's lock goes with its process. Errors: UsageError if taken."""
    results.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(results / "run.lock", timeout=0):
            ImageStore(results).drop_partial()
            yield
    except Timeout:
        raise UsageError(
            f"{results}: another run is writing here; wait for it or give --results another folder"
        ) from None
