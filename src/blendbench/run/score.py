"""Scoring: the metrics of every finished cell that lacks them, in batches."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from blendbench.core.errors import UsageError, described
from blendbench.metrics import Batch, Score, measure
from blendbench.metrics.shared import SCORERS
from blendbench.metrics.style_space import StylePairs, style_pairs
from blendbench.models.sets import ModelSet
from blendbench.results.schema import RowChecker
from blendbench.run.failures import is_lost
from blendbench.run.pixels import PixelCache
from blendbench.run.plan import Cell, Missing, Plan

# Images at once. On a GPU always so many, so that rounding is always the same, in a GiB at 1024 pixels.
_BATCH = {"cpu": 32, "cuda": 8}
# Of images of up to so many pixels four times as many, for which a GPU starts as many kernels.
_SMALL, _MORE = 1 << 16, 4


@dataclass(frozen=True)
class Scores:
    """Measured scores: checked `lines` of a shard, and the `errors` of those that failed, by cell id and metric.

    They are checked where they are measured: the process that writes those of many devices down would be busy with it.
    """

    lines: list[str]
    errors: dict[tuple[str, str], str]

    @property
    def lost(self) -> str | None:
        """Return the error if all of them failed with the loss of the device."""
        errors = list(self.errors.values())
        return errors[0] if self.lines and len(errors) == len(self.lines) and all(map(is_lost, errors)) else None


@dataclass
class Scorer:
    """Score cells when a batch is full, and the rest in the end.

    `images` maps cell ids to image hashes and grows while images are generated. `groups_ahead`: networks that scoring
    takes while images are generated.
    """

    plan: Plan
    models: ModelSet
    images: dict[str, str]
    cache: PixelCache
    groups_ahead: tuple[str, ...] = field(init=False)
    _passes: list[list[str]] = field(init=False, repr=False)
    _pairs: StylePairs | None = field(init=False, repr=False)
    _waiting: list[Cell] = field(default_factory=list, init=False)
    _checker: RowChecker = field(default_factory=RowChecker, init=False, repr=False)

    def __post_init__(self) -> None:
        """Open the suite's pairs, which are embedded once a process."""
        metrics = [(metric.name, metric.metric.reads("judge")) for metric in self.plan.metrics]
        if self.models.share("score", "judge"):
            self.groups_ahead, self._passes = ("score", "judge"), [[name for name, _ in metrics]]
        else:
            # A judge that cannot stay beside the others would be loaded again for every batch: it comes last.
            self.groups_ahead = ("score",)
            self._passes = [[name for name, judged in metrics if judged == last] for last in (False, True)]
        files = tuple((pair.image, pair.plain) for pair in self.plan.suite.pairs)
        self._pairs = style_pairs(files) if files else None

    @property
    def networks(self) -> list[str]:
        """Return the scorers that can be loaded while images are generated.

        Not the judge: loading it changes settings of the whole process for a moment.
        """
        ahead = [self.plan.metric(name).metric for name in self._ahead]
        return [name for name in SCORERS if name != "judge" and any(metric.reads(name) for metric in ahead)]

    def add(self, cells: Iterable[Cell]) -> None:
        """Take cells that lack every score; one without an image is left out."""
        self._waiting += [cell for cell in cells if cell.cell_id in self.images]

    @property
    def is_behind(self) -> bool:
        """Return whether more than one batch waits."""
        return len(self._waiting) >= 2 * self._size

    def score_full(self) -> Iterator[Scores]:
        """Yield the scores of a full batch whose baselines have images too."""
        ready = [cell for cell in self._waiting if self._has_baseline(cell)][: self._size]
        if len(ready) == self._size:
            scores = self.score(ready, dict.fromkeys((cell.cell_id for cell in ready), self._ahead))
            done = {cell.cell_id for cell in ready}
            self._waiting = [cell for cell in self._waiting if cell.cell_id not in done]
            yield scores

    def score_rest(self, missing: Missing) -> Iterator[Scores]:
        """Yield the scores of all cells of `missing`, a batch at a time."""
        for cells, part in self.batches(missing):
            yield self.score(cells, part)

    def batches(self, missing: Missing) -> Iterator[tuple[list[Cell], Missing]]:
        """Yield batches of cells, with the metrics that each of their cells lacks.

        A cell whose baseline has no image is measured without it: paired metrics are then skipped, not guessed.
        """
        for names in self._passes:
            part = {cell_id: tuple(n for n in metrics if n in names) for cell_id, metrics in missing.items()}
            part = {cell_id: metrics for cell_id, metrics in part.items() if metrics}
            cells = [cell for cell in self.plan.cells if cell.cell_id in part]
            paired = [cell for cell in cells if self._has_baseline(cell)]
            alone = [cell for cell in cells if not self._has_baseline(cell)]
            for group in (paired, alone):
                for start in range(0, len(group), self._size):
                    batch = group[start : start + self._size]
                    yield batch, {cell.cell_id: part[cell.cell_id] for cell in batch}

    @property
    def _ahead(self) -> tuple[str, ...]:
        """Return the metrics that are measured while images are generated."""
        return tuple(self._passes[0])

    @property
    def _size(self) -> int:
        sampler = self.models.file.sampler
        small = sampler.height * sampler.width <= _SMALL and self.models.device == "cuda"
        return _BATCH[self.models.device] * (_MORE if small else 1)

    def _has_baseline(self, cell: Cell) -> bool:
        return self.plan.baseline_of(cell).cell_id in self.images

    def score(self, cells: Sequence[Cell], missing: Missing) -> Scores:
        """Return the scores of one batch, which has a baseline for all of its cells or for none."""
        readable, rows = self._readable(cells, missing)
        if readable:
            names = list(dict.fromkeys(name for cell in readable for name in missing[cell.cell_id]))
            filling = self._size - len(readable) if self.models.asynchronous else 0
            try:
                scores = measure(self._batch([*readable, *[readable[-1]] * filling]), names)
            except Exception as error:
                failed = Score(None, "failed", described(error))
                scores = dict.fromkeys(names, [failed] * len(readable))
            # Behind the cells are the copies that fill the batch.
            rows += [
                self._row(cell, name, score)
                for name, found in scores.items()
                for cell, score in zip(readable, found, strict=False)
                if name in missing[cell.cell_id]
            ]
        errors = {(row["cell_id"], row["metric"]): row["error"] for row in rows if row["status"] == "failed"}
        return Scores(self._checker.lines("scores", rows), errors)

    def _readable(self, cells: Sequence[Cell], missing: Missing) -> tuple[list[Cell], list[dict[str, Any]]]:
        """Split off cells with a damaged image, whose scores fail for now."""
        readable, failed = [], []
        for cell in cells:
            try:
                self.cache.image(self.images[cell.cell_id])
                if self._has_baseline(cell):
                    self.cache.image(self.images[self.plan.baseline_of(cell).cell_id])
            except UsageError as error:
                failed += [self._row(cell, name, Score(None, "failed", str(error))) for name in missing[cell.cell_id]]
            else:
                readable.append(cell)
        return readable, failed

    def _batch(self, cells: Sequence[Cell]) -> Batch:
        def placed(pixels: Any) -> Tensor:
            return torch.from_numpy(pixels.copy()).permute(2, 0, 1).to(self.models.device)

        def generated(cell: Cell) -> Tensor:
            return placed(self.cache.image(self.images[cell.cell_id]))

        baselines = [self.plan.baseline_of(cell) for cell in cells] if self._has_baseline(cells[0]) else []
        return Batch(
            images=torch.stack([generated(cell) for cell in cells]),
            baselines=torch.stack([generated(cell) for cell in baselines]) if baselines else None,
            references=[placed(self.cache.reference(cell.item.reference)) for cell in cells],
            prompts=[cell.item.prompt for cell in cells],
            facts=[cell.item.facts for cell in cells],
            expects=[cell.item.expect for cell in cells],
            reference_expects=[cell.item.reference_expect for cell in cells],
            patch_grid=self.models.facts.patch_grid,
            pairs=self._pairs,
            scorers=self.models,
        )

    def _row(self, cell: Cell, name: str, score: Score) -> dict[str, Any]:
        planned = self.plan.metric(name)
        baseline = self.images.get(self.plan.baseline_of(cell).cell_id, "") if planned.paired else ""
        return {
            "cell_id": cell.cell_id,
            "metric": name,
            "metric_version": planned.version,
            "scorer_sha256": planned.scorer_sha256,
            "image_sha256": self.images[cell.cell_id],
            "baseline_image_sha256": baseline,
            "value": score.value,
            "status": score.status,
            "error": score.error,
        }
