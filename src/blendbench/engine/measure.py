"""Measuring: the metrics of every finished cell that lacks them, in batches."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from blendbench.engine.pictures import load_pixels, picture_path
from blendbench.engine.plan import Cell, Plan
from blendbench.models.sets import ModelSet
from blendbench.results.records import ScoreRecord
from blendbench.scoring import Batch, Metric, Score, all_metrics, measure

BATCH = 32
_SCORERS = ("clip", "siglip", "probe")


def measure_cells(
    cells: Sequence[Cell], pictures: dict[str, str], missing: dict[str, list[str]], plan: Plan, models: ModelSet,
    results: Path, emit: Callable[[list[ScoreRecord]], None],
) -> None:  # fmt: skip
    """Score `cells`. `pictures` maps cell ids to picture hashes, `missing` cell ids to the metrics they lack.

    A cell whose baseline has no picture is measured without it: paired metrics are then skipped, not guessed.
    """
    paired = [cell for cell in cells if plan.baseline_of(cell).cell_id in pictures]
    alone = [cell for cell in cells if plan.baseline_of(cell).cell_id not in pictures]
    for group, has_baseline in ((paired, True), (alone, False)):
        for start in range(0, len(group), BATCH):
            chunk = group[start : start + BATCH]
            names = list(dict.fromkeys(name for cell in chunk for name in missing[cell.cell_id]))
            scores = measure(_batch(chunk, pictures, plan, models, results, has_baseline), names)
            emit(_records(chunk, scores, missing, models))


def _batch(
    cells: Sequence[Cell], pictures: dict[str, str], plan: Plan, models: ModelSet, results: Path, has_baseline: bool
) -> Batch:
    def load(path: Path) -> Tensor:
        return torch.from_numpy(load_pixels(path).copy()).permute(2, 0, 1).to(models.device)

    def generated(cell: Cell) -> Tensor:
        return load(picture_path(results, pictures[cell.cell_id]))

    return Batch(
        pictures=torch.stack([generated(cell) for cell in cells]),
        baselines=torch.stack([generated(plan.baseline_of(cell)) for cell in cells]) if has_baseline else None,
        references=[load(cell.item.reference) for cell in cells],
        prompts=[cell.item.prompt for cell in cells],
        expects=[cell.item.expect for cell in cells],
        reference_expects=[cell.item.reference_expect for cell in cells],
        lattice=models.lattice,
        scorers=models,
    )


def _records(
    cells: Sequence[Cell], scores: dict[str, list[Score]], missing: dict[str, list[str]], models: ModelSet
) -> list[ScoreRecord]:
    metrics = all_metrics()
    records = []
    for name, found in scores.items():
        weights = _weights(metrics[name], models)
        records += [
            ScoreRecord(cell.cell_id, name, metrics[name].version, score.value, score.status, score.error, weights)
            for cell, score in zip(cells, found, strict=True)
            if name in missing[cell.cell_id]
        ]
    return records


def _weights(metric: Metric, models: ModelSet) -> str | None:
    """Hash of the judging network's weights that a metric reads, if it reads one."""
    roots = {root for need in metric.needs for root in getattr(getattr(Batch, need, None), "requires", (need,))}
    scorer = next((getattr(models, name) for name in _SCORERS if name in roots), None)
    return getattr(scorer, "weights_sha256", None)
