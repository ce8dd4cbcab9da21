"""Measuring: the metrics of every finished cell that lacks them, equal pictures once."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from blendbench.engine.pictures import load_pixels, picture_path
from blendbench.engine.plan import Cell, Plan
from blendbench.models.sets import ModelSet
from blendbench.results.records import ScoreRecord
from blendbench.scoring import Batch, Score, all_metrics, measure

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
            emit(_records(chunk, names, scores, missing, models))


def _batch(
    cells: Sequence[Cell], pictures: dict[str, str], plan: Plan, models: ModelSet, results: Path, has_baseline: bool
) -> Batch:
    def load(path: Path) -> torch.Tensor:
        return torch.from_numpy(load_pixels(path).copy()).permute(2, 0, 1).to(models.device)

    def generated(cell: Cell) -> torch.Tensor:
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
    cells: Sequence[Cell], names: Sequence[str], scores: dict[str, list[Score]], missing: dict[str, list[str]],
    models: ModelSet,
) -> list[ScoreRecord]:  # fmt: skip
    metrics = all_metrics()
    records = []
    for name in names:
        scorer = next((s for s in _SCORERS if name.startswith(s)), None)
        weights = getattr(getattr(models, scorer), "weights_sha256", None) if scorer else None
        for cell, score in zip(cells, scores[name], strict=True):
            if name in missing[cell.cell_id]:
                version = metrics[name].version
                records.append(
                    ScoreRecord(cell.cell_id, name, version, score.value, score.status, score.error, weights)
                )
    return records
