"""Resuming: what a results folder holds already, and what is left of a plan."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blendbench.core.errors import UsageError
from blendbench.models.sets import ModelSet
from blendbench.results.records import CellRecord, RunRecord, ScoreRecord, StageTimeRecord
from blendbench.results.shards import read_shards
from blendbench.run.image_cache import drop_partial_images, image_path
from blendbench.run.plan import Cell, Plan

_SCORED = ("ok", "unscorable")


@dataclass(frozen=True)
class Ledger:
    """What a results folder holds.

    `cells`: the finished ones whose image is there; `members`: (experiment, cell id) of the finished ones;
    `scores`: status by (cell id, metric, version); `plans`: what the last run of each experiment meant to have;
    `pace`: seconds a thing, by stage, in the last run that had that stage.
    """

    cells: dict[str, CellRecord]
    members: frozenset[tuple[str, str]]
    scores: dict[tuple[str, str, int], str]
    plans: dict[str, tuple[Any, ...]]
    pace: dict[str, float]


@dataclass(frozen=True)
class Todo:
    """What is left of a plan.

    `cells` to draw; `adopt`: finished in another experiment; `images` by cell id; `missing_scores`: metrics by cell
    id; `known`: images by (conditioning, noise seed); `replanned`: the last run of this experiment meant something
    else; `pace`: seconds a thing, by stage, as the last run here went.
    """

    cells: tuple[Cell, ...]
    adopt: tuple[CellRecord, ...]
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


def read_ledger(results: Path) -> Ledger:
    """Read the shards of a results folder once; a finished cell whose image file is gone counts as not finished."""
    cells: dict[str, CellRecord] = {}
    members: set[tuple[str, str]] = set()
    scores: dict[tuple[str, str, int], str] = {}
    plans: dict[str, tuple[Any, ...]] = {}
    pace: dict[str, float] = {}
    for record in read_shards(results).records:
        if isinstance(record, ScoreRecord):
            scores[(record.cell_id, record.metric, record.metric_version)] = record.status
        elif isinstance(record, CellRecord) and record.status == "ok":
            cells[record.cell_id] = record
            members.add((record.experiment, record.cell_id))
        elif isinstance(record, RunRecord):
            plans[record.experiment] = (record.plan, record.metrics, record.metric_cards)
        elif isinstance(record, StageTimeRecord) and record.count:
            pace[record.stage] = record.seconds / record.count
    kept = {cell_id: record for cell_id, record in cells.items() if _image(results, record).is_file()}
    return Ledger(kept, frozenset(members), scores, plans, pace)


def what_is_left(plan: Plan, models: ModelSet, results: Path) -> Todo:
    """Compare a plan with what a results folder holds; writes nothing."""
    ledger = read_ledger(results)
    settings = (plan.sampler_sha256, models.sha256, models.dtype)
    drawn = [cell for cell in plan.cells if cell.cell_id in ledger.cells]
    to_draw = tuple(cell for cell in plan.cells if cell.cell_id not in ledger.cells)
    waiting = {cell.cell_id for cell in to_draw}
    missing = {cell.cell_id: _lacking(cell, plan, ledger, waiting) for cell in plan.cells}
    name = plan.experiment.name
    return Todo(
        cells=to_draw,
        adopt=tuple(ledger.cells[c.cell_id] for c in drawn if (name, c.cell_id) not in ledger.members),
        images={cell.cell_id: str(ledger.cells[cell.cell_id].image_sha256) for cell in drawn},
        missing_scores={cell_id: metrics for cell_id, metrics in missing.items() if metrics},
        known={
            (str(record.conditioning_sha256), record.noise_seed): str(record.image_sha256)
            for record in ledger.cells.values()
            if (record.sampler_sha256, record.model_set_sha256, record.dtype) == settings
        },
        replanned=ledger.plans.get(name) != (plan.expected(), plan.metrics, plan.metric_cards()),
        pace=ledger.pace,
    )


def _lacking(cell: Cell, plan: Plan, ledger: Ledger, waiting: set[str]) -> list[str]:
    # What a model set cannot measure stays skipped; only a missing baseline may come later, when it is drawn.
    settled = _SCORED if plan.baseline_of(cell).cell_id in waiting else (*_SCORED, "skipped")
    return [
        metric
        for metric, version in plan.metrics.items()
        if ledger.scores.get((cell.cell_id, metric, version)) not in settled
    ]


def _image(results: Path, record: CellRecord) -> Path:
    return image_path(results, str(record.image_sha256))


@contextmanager
def locked(results: Path) -> Iterator[None]:
    """Hold a results folder for one run; a killed run's lock goes with its process. Errors: UsageError if taken."""
    results.mkdir(parents=True, exist_ok=True)
    with (results / "run.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(
                f"{results}: another run is writing here; wait for it or give --results another folder"
            ) from None
        drop_partial_images(results)
        yield
