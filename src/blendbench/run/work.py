"""Work of a run: encode, blend, generate and score batch by batch.

Each batch is on disk at once.
"""

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from blendbench.models.sets import ModelSet
from blendbench.results.images import ImageStore
from blendbench.results.shards import ShardWriter
from blendbench.run.blend import Blender
from blendbench.run.embeddings import FOLDER as EMBEDDINGS
from blendbench.run.embeddings import Embeddings
from blendbench.run.encode import Prefetch
from blendbench.run.failures import StoppedError, is_lost
from blendbench.run.generate import Finished, GeneratedImage, ImageGenerator
from blendbench.run.pixels import PixelCache
from blendbench.run.plan import Plan
from blendbench.run.preflight import preflight_lines
from blendbench.run.progress import Clock, Progress, Reporter
from blendbench.run.provenance import batch_row, cell_row, planned_columns, write_opening
from blendbench.run.resume import Remaining, missing_scores
from blendbench.run.score import Scorer

Rows = list[dict[str, Any]]


class Work:
    """The state of one run while it is under way."""

    def __init__(self, plan: Plan, models: ModelSet, results: Path, remaining: Remaining, reporter: Reporter) -> None:
        self.plan, self.models, self.results = plan, models, results
        self.remaining, self.reporter = remaining, reporter
        self.run_id = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:8]}"
        self.store = ImageStore(results)
        self.cache = PixelCache(self.store)
        self.images = dict(remaining.images)
        self.clock = Clock()
        self.scorer = Scorer(plan, models, self.images, self.cache)
        self.batch_size = models.file.sampler.batch_size
        self.peaks: dict[str, int] = {}
        self.failed = self.scores_failed = 0
        self.untried = len(remaining.cells)
        self.stopped: str | None = None

    def do(self) -> None:
        """Do everything that is left; what is finished is on disk batch by batch."""
        with ShardWriter(self.results, self.run_id) as shard, self.reporter:
            write_opening(shard, self.plan, self.models, self.run_id, self.store)
            shard.append("cells", self._adopted())
            self._refuse(shard)
            if self.models.residency.budget is not None:
                self.reporter.note(f"memory plan {self.models.residency}")
            self._note_peak()
            try:
                if self.remaining.cells:
                    self._generate(shard)
                self._score_rest(shard)
            except StoppedError as error:
                self.stopped = str(error)
            shard.append("stage_times", self._stage_times())
            peaks = [{"run_id": self.run_id, "stage": s, "peak_bytes": peak} for s, peak in self.peaks.items()]
            shard.append("stage_memory", peaks)

    def _adopted(self) -> Rows:
        """Return finished cells as this experiment's, with its suite and splits."""
        rows = {row["cell_id"]: row for row in self.remaining.adopted}
        return [
            rows[cell.cell_id] | planned_columns(cell, self.plan, self.models, self.run_id)
            for cell in self.plan.cells
            if cell.cell_id in rows
        ]

    def _generate(self, shard: ShardWriter) -> None:
        """Encode, blend and generate.

        Score behind generation where the device has room for both.
        """
        embeddings = Embeddings(self.results / EMBEDDINGS, self.models)
        cells, suite = self.remaining.cells, self.plan.suite
        described: set[str] = set()
        with Prefetch(embeddings, suite, cells, self.clock, self.reporter) as prefetch:
            self._encode_first(prefetch)
            progress = self.reporter.stage("images", len(cells))
            generator = ImageGenerator(
                prefetch,
                Blender(embeddings, suite, self.models),
                self.models,
                self.store,
                dict(self.remaining.known),
                self.cache,
                self.clock,
                self.reporter,
            )
            for finished in generator.generate(cells):
                self._write(finished, shard, described, progress)
                for rows in self._score_behind(prefetch):
                    self._write_scores(rows, shard)
            self.batch_size = generator.batch_size
        self._note_peak("denoise")

    def _refuse(self, shard: ShardWriter) -> None:
        """Record and report what cannot work, before anything is loaded."""
        refused = self.remaining.refused
        failed = [GeneratedImage(c, error=refused[c.cell_id]) for c in self.plan.cells if c.cell_id in refused]
        shard.append("cells", [cell_row(image, self.plan, self.models, self.run_id) for image in failed])
        self.failed += len(failed)
        for line in preflight_lines(self.plan, self.models, refused):
            self.reporter.note(line)

    def _encode_first(self, prefetch: Prefetch) -> None:
        """Encode all before generating, unless both fit on the device together."""
        ahead = self.models.at_once("text", "vision", "generate")
        # What cannot be loaded is reported at its first use, with nothing beside it.
        if prefetch.encoders and not (ahead and self.models.load(*prefetch.encoders, "denoiser")):
            prefetch.encode_all()
            self._note_peak("encode")

    def _write(self, finished: Finished, shard: ShardWriter, described: set[str], progress: Progress) -> None:
        fresh = {row["conditioning_sha256"]: row for row in finished.conditionings}
        shard.append_all(
            {
                "conditionings": [row for sha256, row in fresh.items() if sha256 not in described],
                "cells": [cell_row(i, self.plan, self.models, self.run_id) for i in finished.images],
                "cell_batches": [batch_row(i.cell, i.batch_size, self.run_id) for i in finished.images if i.batch_size],
            }
        )
        described.update(fresh)
        self.images.update({i.cell.cell_id: i.image_sha256 for i in finished.images if i.image_sha256})
        # A cell that had rows before may have scores of this very image: the database says which are missing.
        self.scorer.add(i.cell for i in finished.images if i.cell.cell_id not in self.remaining.seen)
        failed = sum(image.image_sha256 is None for image in finished.images)
        self.failed += failed
        self.untried -= len(finished.images)
        progress.advance(len(finished.images), failed)

    def _score_behind(self, prefetch: Prefetch) -> Iterator[Rows]:
        """Score full batches while the device generates, if it has room for both."""
        if not self.models.at_once("generate", *self.scorer.groups_ahead):
            return
        # Better later than to wait for an encoder pass that is under way, but not later and later.
        if prefetch.settings_lock.acquire(blocking=self.scorer.is_behind):
            try:
                with self.models.beside(), self.clock.time("measure", 0):
                    yield from self.scorer.score_full()
            finally:
                prefetch.settings_lock.release()

    def _score_rest(self, shard: ShardWriter) -> None:
        missing = self.scorer.not_scored(missing_scores(self.plan, self.images, self.results))
        batches = self.scorer.score_rest(missing)
        progress = self.reporter.stage("scores", sum(map(len, missing.values()))) if missing else None
        while True:
            with self.clock.time("measure", 0):
                rows = next(batches, None)
            if rows is None:
                break
            self._write_scores(rows, shard)
            if progress is not None:
                progress.advance(len(rows), sum(row["status"] == "failed" for row in rows))
        if missing:
            self._note_peak("measure")

    def _write_scores(self, rows: Rows, shard: ShardWriter) -> None:
        shard.append("scores", rows)
        self.scores_failed += sum(row["status"] == "failed" for row in rows)
        self.clock.counts["measure"] += len(rows)
        if rows and all(is_lost(row["error"]) for row in rows):
            raise StoppedError(rows[0]["error"])

    def _note_peak(self, stage: str | None = None) -> None:
        """Record the peak memory since the last call as that of `stage`."""
        peak = self.models.peak_memory()
        if stage and peak is not None:
            self.peaks[stage] = peak

    def _stage_times(self) -> Rows:
        return [
            {"run_id": self.run_id, "stage": stage, "seconds": seconds, "count": self.clock.counts[stage]}
            for stage, seconds in self.clock.seconds.items()
        ]
