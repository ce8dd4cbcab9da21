"""Measuring: the metrics of every finished cell that lacks them, in batches."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from blendbench.metrics import Batch, Score, get_metric, measure
from blendbench.models.sets import ModelSet
from blendbench.run.image_cache import Recent, image_path
from blendbench.run.plan import Cell, Plan

# Images at once. On a GPU always so many, so that rounding is always the same, in a GiB at 1024 pixels.
_BATCH = {"cpu": 32, "cuda": 8}


@dataclass
class Measuring:
    """Scores cells, in the end or as soon as there are enough of them to fill a batch.

    `missing` maps cell ids to the metrics they lack, `images` to image hashes, and grows while images are drawn;
    `scorers` are the hashes of the weights by metric; `emit` gets the rows of a batch.
    """

    plan: Plan
    models: ModelSet
    results: Path
    missing: dict[str, list[str]]
    images: dict[str, str]
    recent: Recent
    scorers: dict[str, str]
    emit: Callable[[list[dict[str, Any]]], None]
    _waiting: list[Cell] = field(default_factory=list)
    _done: set[str] = field(default_factory=set)

    def add(self, cells: Iterable[Cell]) -> None:
        """Cells that have been drawn, if they could be."""
        self._waiting += [cell for cell in cells if cell.cell_id in self.missing and cell.cell_id in self.images]

    def measure_full(self) -> None:
        """Score one batch of what was added, if there is one whose baselines have images too."""
        ready = [cell for cell in self._waiting if self._is_paired(cell)][: self._size]
        if len(ready) == self._size:
            self._measure(ready)
            self._waiting = [cell for cell in self._waiting if cell.cell_id not in self._done]

    @property
    def is_behind(self) -> bool:
        """Whether more than one batch waits."""
        return len(self._waiting) >= 2 * self._size

    def measure_rest(self) -> None:
        """Score all cells of the plan that have images and lack scores.

        One whose baseline has no image is measured without it: paired metrics are then skipped, not guessed.
        """
        cells = [
            cell
            for cell in self.plan.cells
            if cell.cell_id in self.missing and cell.cell_id in self.images and cell.cell_id not in self._done
        ]
        paired = [cell for cell in cells if self._is_paired(cell)]
        alone = [cell for cell in cells if not self._is_paired(cell)]
        for group in (paired, alone):
            for start in range(0, len(group), self._size):
                self._measure(group[start : start + self._size])

    @property
    def _size(self) -> int:
        return _BATCH[self.models.device]

    def _is_paired(self, cell: Cell) -> bool:
        return self.plan.baseline_of(cell).cell_id in self.images

    def _measure(self, cells: Sequence[Cell]) -> None:
        names = list(dict.fromkeys(name for cell in cells for name in self.missing[cell.cell_id]))
        filling = self._size - len(cells) if self.models.asynchronous else 0
        scores = measure(self._batch([*cells, *[cells[-1]] * filling]), names)
        self._done.update(cell.cell_id for cell in cells)
        self.emit(self._rows(cells, scores))

    def _batch(self, cells: Sequence[Cell]) -> Batch:
        def load(path: Path) -> Tensor:
            return torch.from_numpy(self.recent.load(path).copy()).permute(2, 0, 1).to(self.models.device)

        def generated(cell: Cell) -> Tensor:
            return load(image_path(self.results, self.images[cell.cell_id]))

        baselines = [self.plan.baseline_of(cell) for cell in cells] if self._is_paired(cells[0]) else []
        return Batch(
            images=torch.stack([generated(cell) for cell in cells]),
            baselines=torch.stack([generated(cell) for cell in baselines]) if baselines else None,
            references=[load(cell.item.reference) for cell in cells],
            prompts=[cell.item.prompt for cell in cells],
            expects=[cell.item.expect for cell in cells],
            reference_expects=[cell.item.reference_expect for cell in cells],
            patch_grid=self.models.facts.patch_grid,
            scorers=self.models,
        )

    def _rows(self, cells: Sequence[Cell], scores: dict[str, list[Score]]) -> list[dict[str, Any]]:
        baselines = {cell.cell_id: self.images.get(self.plan.baseline_of(cell).cell_id, "") for cell in cells}
        return [
            {
                "cell_id": cell.cell_id,
                "metric": name,
                "metric_version": self.plan.metrics[name],
                "scorer_sha256": self.scorers[name],
                "baseline_image_sha256": baselines[cell.cell_id] if get_metric(name).info.paired else "",
                "image_sha256": self.images[cell.cell_id],
                "value": score.value,
                "status": score.status,
                "error": score.error,
            }
            for name, found in scores.items()
            # Behind the cells are those that fill the batch.
            for cell, score in zip(cells, found, strict=False)
            if name in self.missing[cell.cell_id]
        ]
