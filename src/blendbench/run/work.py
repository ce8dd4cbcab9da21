"""Encode, blend, generate and score; write each batch to disk at once."""

import math
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from blendbench.models.sets import ModelSet
from blendbench.results.images import ImageStore
from blendbench.results.shards import ShardWriter
from blendbench.run import provenance
from blendbench.run.engine import Engine, LocalEngine, Task
from blendbench.run.failures import StoppedError
from blendbench.run.generate import Finished, GeneratedImage
from blendbench.run.plan import Cell, Plan
from blendbench.run.preflight import preflight_lines
from blendbench.run.progress import Reporter
from blendbench.run.resume import Remaining, images_of, missing_scores
from blendbench.run.score import Scores


class Work:
    """The state of one run while it is under way."""

    def __init__(
        self,
        plan: Plan,
        models: ModelSet,
        results: Path,
        remaining: Remaining,
        reporter: Reporter,
        engine: Callable[[Task], Engine] = LocalEngine,
        repeat: float = 0.0,
    ) -> None:
        """Prepare a run; `repeat`: percentage of its images to generate again in the end."""
        self.plan, self.models, self.results = plan, models, results
        self.remaining, self.reporter = remaining, reporter
        self.run_id = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:8]}"
        self.store = ImageStore(results)
        images, known = dict(remaining.images), dict(remaining.known)
        self.task = Task(plan, models, results, reporter, images, known, set(remaining.seen))
        self._new_engine, self._repeat_percent = engine, repeat
        self.engine = engine(self.task)
        self.clock = self.task.clock
        self.failed = 0
        self.untried = len(remaining.cells)
        self.stopped: str | None = None
        self.repeated = self.differing = self.repeats_failed = 0
        self._failed_scores: set[tuple[str, str]] = set()

    @property
    def scores_failed(self) -> int:
        """Return the number of scores that failed."""
        return len(self._failed_scores)

    def do(self) -> None:
        """Do everything that is left; what is finished is on disk batch by batch."""
        with ShardWriter(self.results, self.run_id) as shard, self.reporter:
            provenance.write_opening(
                shard,
                self.plan,
                provenance.run_row(self.plan, self.run_id) | provenance.made_by(self.models),
                self.store,
            )
            provenance.write_models(shard, self.models, self.run_id)
            shard.append("cells", self._adopted())
            self._refuse(shard)
            if self.models.residency.budget is not None:
                self.reporter.note(f"memory plan {self.models.residency}")
            try:
                if self.remaining.cells:
                    described: set[str] = set()
                    for outcome in self.engine.generate(self.remaining.cells):
                        if isinstance(outcome, Finished):
                            self._write(outcome, shard, described)
                        else:
                            self._write_scores(outcome, shard)
                self._score_rest(shard)
                if self._repeat_percent:
                    self._repeat(shard)
            except StoppedError as error:
                self.stopped = str(error)
            shard.append("stage_times", self._stage_times())
            peaks = [{"run_id": self.run_id, "stage": s, "peak_bytes": peak} for s, peak in self.engine.peaks.items()]
            shard.append("stage_memory", peaks)

    def _adopted(self) -> list[dict[str, Any]]:
        """Return finished cells as this experiment's, with its suite and splits."""
        rows = {row["cell_id"]: row for row in self.remaining.adopted}
        return [
            rows[cell.cell_id] | provenance.planned_columns(cell, self.plan, self.models, self.run_id)
            for cell in self.plan.cells
            if cell.cell_id in rows
        ]

    def _refuse(self, shard: ShardWriter) -> None:
        """Record and report what cannot work, before anything is loaded."""
        refused = self.remaining.refused
        failed = [GeneratedImage(c, error=refused[c.cell_id]) for c in self.plan.cells if c.cell_id in refused]
        shard.append("cells", [provenance.cell_row(image, self.plan, self.models, self.run_id) for image in failed])
        self.failed += len(failed)
        for line in preflight_lines(self.plan, self.models, refused):
            self.reporter.note(line)

    def _write(self, finished: Finished, shard: ShardWriter, described: set[str]) -> None:
        fresh = {row["conditioning_sha256"]: row for row in finished.conditionings}
        shard.append_all(
            {
                "conditionings": [row for sha256, row in fresh.items() if sha256 not in described],
                "cells": [provenance.cell_row(i, self.plan, self.models, self.run_id) for i in finished.images],
                "cell_batches": [
                    provenance.batch_row(i.cell, i.batch_size, self.run_id) for i in finished.images if i.batch_size
                ],
            }
        )
        described.update(fresh)
        self.failed += finished.failed
        self.untried -= len(finished.images)

    def _score_rest(self, shard: ShardWriter) -> None:
        # What failed in this run is not measured again in it.
        left = {
            cell_id: tuple(name for name in metrics if (cell_id, name) not in self._failed_scores)
            for cell_id, metrics in missing_scores(self.plan, self.task.images, self.results).items()
        }
        missing = {cell_id: metrics for cell_id, metrics in left.items() if metrics}
        if not missing:
            return
        progress = self.reporter.stage("scores", sum(map(len, missing.values())))
        for scores in self.engine.score(missing):
            self._write_scores(scores, shard)
            progress.advance(len(scores.lines), len(scores.errors))

    def _repeat(self, shard: ShardWriter) -> None:
        """Generate some cells again with an engine that knows no image, and write down whether they are the same."""
        images = images_of(self.plan, self.results)
        cells = cells_to_repeat(self.plan, images, self._repeat_percent)
        with self.clock.time("repeat", 0):
            for outcome in self._new_engine(repeating_task(self.task, cells)).generate(cells):
                if isinstance(outcome, Finished):
                    rows = repeat_rows(outcome, images, self.run_id)
                    shard.append("repeats", rows)
                    self.repeated += len(rows) - outcome.failed
                    self.repeats_failed += outcome.failed
                    self.differing += sum(row["again_sha256"] not in (None, row["image_sha256"]) for row in rows)
                    self.clock.counts["repeat"] += len(rows)

    def _write_scores(self, scores: Scores, shard: ShardWriter) -> None:
        shard.append_lines(scores.lines)
        self._failed_scores.update(scores.errors)
        self.clock.counts["measure"] += len(scores.lines)
        if scores.lost:
            raise StoppedError(scores.lost)

    def _stage_times(self) -> list[dict[str, Any]]:
        return [
            {"run_id": self.run_id, "stage": stage, "seconds": seconds, "count": self.clock.counts[stage]}
            for stage, seconds in self.clock.seconds.items()
        ]


def cells_to_repeat(plan: Plan, images: Mapping[str, str], percent: float) -> list[Cell]:
    """Return `percent` % of the cells with different images, rounded up, in the order that they are generated in.

    `images`: hashes by cell id. Cell ids are hashes: their order spreads over strategies and items, and is not that of
    the plan, so that batches hold other jobs than before.
    """
    by_image: dict[str, Cell] = {}
    for cell in sorted(plan.cells, key=lambda cell: cell.cell_id):
        if image := images.get(cell.cell_id):
            by_image.setdefault(image, cell)
    cells = list(by_image.values())
    # Rounded first: 1.1 % of 1,000 is 11.000000000000002.
    return cells[: math.ceil(round(len(cells) * percent / 100, 9))]


def repeating_task(task: Task, cells: list[Cell]) -> Task:
    """Return a task that knows no image, and measures nothing."""
    seen = {cell.cell_id for cell in cells}  # what may have scores is not scored beside generation
    return Task(replace(task.plan, metrics=()), task.models, task.folder, task.reporter, seen=seen, stage="repeat")


def repeat_rows(outcome: Finished, images: Mapping[str, str], run_id: str) -> list[dict[str, Any]]:
    """Return the rows of `repeats`; `images`: hashes of the first images, by cell id."""
    return [
        {
            "run_id": run_id,
            "cell_id": image.cell.cell_id,
            "image_sha256": images[image.cell.cell_id],
            "again_sha256": image.image_sha256,
            "batch_size": image.batch_size,
            "error": image.error,
        }
        for image in outcome.images
    ]
