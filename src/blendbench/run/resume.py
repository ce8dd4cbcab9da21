"""Resume: compare a plan with a results folder's database."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from blendbench.models.sets import ModelSet
from blendbench.results.images import ImageStore
from blendbench.results.state import LastPlan, MetricKey, PlannedScore, State, open_state
from blendbench.run.plan import Cell, Missing, Plan
from blendbench.run.preflight import Refused, refused_cells
from blendbench.run.provenance import metric_row


@dataclass(frozen=True)
class Remaining:
    """The rest of a plan.

    `pace`: seconds a thing, by stage, as the last run here went. `cells` to generate; `adopted`: rows of finished cells
    that this experiment lacks or has newer ones of; `images` of finished cells by cell id (none if nothing is left);
    `seen`: cells that the folder has rows of; `known`: images by (conditioning, noise seed); `to_score` counts the
    values that are missing; `replanned`: the last run of this experiment planned something else. `refused`: reasons of
    cells that cannot be generated on this model set and suite; `recorded`: the folder holds these reasons.
    """

    pace: dict[str, float]
    cells: tuple[Cell, ...] = ()
    adopted: list[dict[str, Any]] = field(default_factory=list)
    images: dict[str, str] = field(default_factory=dict)
    seen: frozenset[str] = frozenset()
    known: dict[tuple[str, int], str] = field(default_factory=dict)
    to_score: int = 0
    replanned: bool = False
    refused: Refused = field(default_factory=dict)
    recorded: bool = True

    @property
    def empty(self) -> bool:
        """Return whether nothing has to be done."""
        return self.recorded and not (self.cells or self.adopted or self.to_score or self.replanned)

    @property
    def estimated_seconds(self) -> float | None:
        """Return how long the rest takes at the last run's pace, None without one."""
        counts = {"denoise": len(self.cells), "measure": self.to_score}
        if not self.pace.keys() >= counts.keys():
            return None
        return round(sum(count * self.pace[stage] for stage, count in counts.items()), 1)


def remaining_work(plan: Plan, models: ModelSet, results: Path) -> Remaining:
    """Compare a plan with a results folder, bringing its database up to date."""
    name, store = plan.experiment.name, ImageStore(results)
    with open_state(results) as state:
        if _is_finished(plan, models, store, state):
            return Remaining(pace=state.pace())
        rows = state.finished_cells([cell.cell_id for cell in plan.cells])
        ok = {cell_id: str(row.image_sha256) for cell_id, row in rows.items() if row.status == "ok"}
        # A missing or damaged image is generated again.
        present = store.present(set(ok.values()))
        images = {cell_id: image for cell_id, image in ok.items() if image in present}
        refused = refused_cells(plan, models, images)
        todo = tuple(cell for cell in plan.cells if cell.cell_id not in images and cell.cell_id not in refused)
        known = state.known_images(plan.sampler_sha256, models.sha256, models.dtype) if todo else []
        usable = store.present({image for *_, image in known})
        return Remaining(
            cells=todo,
            adopted=state.outdated_members(name, plan.suite.sha256, list(images)),
            images=images,
            seen=frozenset(rows),
            known={(conditioning, noise): image for conditioning, noise, image in known if image in usable},
            to_score=len(todo) * len(plan.metrics) + sum(1 for _ in _missing(plan, images, state)),
            replanned=not _is_planned(plan, models, state.last_plan(name)),
            pace=state.pace(),
            refused=refused,
            recorded=all(cell_id in rows and rows[cell_id].error == reason for cell_id, reason in refused.items()),
        )


def is_finished(plan: Plan, models: ModelSet, results: Path) -> bool:
    """Return whether the last run here had this plan and everything of it is there."""
    with open_state(results) as state:
        return _is_finished(plan, models, ImageStore(results), state)


def _is_finished(plan: Plan, models: ModelSet, store: ImageStore, state: State) -> bool:
    return _is_planned(plan, models, state.last_plan(plan.experiment.name)) and state.is_complete(
        plan.experiment.name,
        plan.suite.sha256,
        [(c.cell_id, plan.baseline_of(c).cell_id) for c in plan.cells],
        _metrics(plan),
        store.present,
    )


def images_of(plan: Plan, results: Path) -> dict[str, str]:
    """Return the images that cells of a plan have now, by cell id."""
    with open_state(results) as state:
        rows = state.finished_cells([cell.cell_id for cell in plan.cells])
    return {cell_id: row.image_sha256 for cell_id, row in rows.items() if row.status == "ok" and row.image_sha256}


def missing_scores(plan: Plan, images: dict[str, str], results: Path) -> Missing:
    """Return the metrics that each cell with an image lacks."""
    with open_state(results) as state:
        of_cells = itertools.groupby(_missing(plan, images, state), key=lambda found: found[0])
        sets: dict[tuple[str, ...], tuple[str, ...]] = {}  # most cells lack the same metrics, and share one tuple
        found = ((cell_id, tuple(metric for _, metric in each)) for cell_id, each in of_cells)
        return {cell_id: sets.setdefault(metrics, metrics) for cell_id, metrics in found}


def _missing(plan: Plan, images: dict[str, str], state: State) -> Iterator[tuple[str, str]]:
    cells = [
        PlannedScore(cell.cell_id, image, images.get(plan.baseline_of(cell).cell_id, ""))
        for cell in plan.cells
        if (image := images.get(cell.cell_id))
    ]
    return state.missing_scores(cells, _metrics(plan))


def _metrics(plan: Plan) -> list[MetricKey]:
    return [MetricKey(m.name, m.version, m.paired, m.scorer_sha256) for m in plan.metrics]


def _is_planned(plan: Plan, models: ModelSet, last: LastPlan | None) -> bool:
    """Return whether the latest run had the same plan, metric cards included."""
    if last is None:
        return False
    expected = plan.expected()
    return (
        (last.suite_sha256, last.model_set_sha256, last.dtype, last.sampler_sha256, last.baseline)
        == (plan.suite.sha256, models.sha256, models.dtype, plan.sampler_sha256, plan.baseline.label)
        and (last.items, last.seeds) == (expected["items"], expected["seeds"])
        and last.sources == {c.label: c.strategy.source_sha256 for c in plan.configurations}
        and last.metrics == {m.name: {**metric_row(m), "scorer_sha256": m.scorer_sha256} for m in plan.metrics}
    )
