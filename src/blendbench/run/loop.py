"""One run: what is left of the plan is encoded, blended, drawn, measured and brought into the database."""

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from blendbench.core.errors import UsageError
from blendbench.models.residency import GIB
from blendbench.models.sets import ModelSet
from blendbench.results.shards import FOLDER, ShardWriter
from blendbench.results.store import DatabaseHeldError, ingest
from blendbench.run.encode import Embeddings, Encodings
from blendbench.run.generate import Drawer, Drawn
from blendbench.run.image_cache import Recent
from blendbench.run.keep import keep_embeddings
from blendbench.run.plan import Plan
from blendbench.run.progress import Clock, Reporter, Stage
from blendbench.run.provenance import cell_row, opening_rows, scorer_hashes
from blendbench.run.resume import Todo, locked, what_is_left
from blendbench.run.score import Measuring


@dataclass(frozen=True)
class Summary:
    """What a run did. `expected` cells are in the plan; of these `ok` and `failed` are so now, `drawn` were finished by
    this run (`images` of them with an image of their own), `reused` before it; `scored` and `scores_failed` count
    values; of `kept` cells the embeddings are now there that were not; `seconds` is wall time, of which `stages` says
    where it went. `residency` names the memory plan, `batch_size` the images drawn at once in the end, `peak_gib` the
    most GPU memory that was allocated, by stage. `run_id` is None if nothing was left to do.
    """

    run_id: str | None
    experiment: str
    expected: int
    ok: int
    failed: int
    drawn: int
    images: int
    reused: int
    scored: int
    scores_failed: int
    kept: int
    seconds: float
    stages: dict[str, float]
    residency: str | None
    batch_size: int
    peak_gib: dict[str, float]


def run(plan: Plan, models: ModelSet, results: Path, reporter: Reporter, keep: bool = False) -> Summary:
    """Do what is left of `plan` in `results`; `keep`: also keep the embeddings of every stage, and record where.

    Errors: UsageError if another run holds the folder.
    """
    began = time.perf_counter()
    with locked(results):
        todo = what_is_left(plan, models, results)
        work = _Work(plan, models, results, todo, reporter, images=dict(todo.images))
        if not todo.empty:
            work.do()
        kept = keep_embeddings(plan, models, results, reporter) if keep else 0
        _bring_in(results, plan.experiment.name)
    return Summary(
        run_id=None if todo.empty else work.run_id,
        experiment=plan.experiment.name,
        expected=len(plan.cells),
        ok=len(plan.cells) - work.failed,
        failed=work.failed,
        drawn=len(todo.cells) - work.failed,
        images=work.clock.counts["save"],
        reused=len(plan.cells) - len(todo.cells),
        scored=work.clock.counts["measure"],
        scores_failed=work.scores_failed,
        kept=kept,
        seconds=round(time.perf_counter() - began, 3),
        stages={stage: round(seconds, 3) for stage, seconds in work.clock.seconds.items()},
        residency=None if todo.empty else models.residency.name,
        batch_size=work.batch_size,
        peak_gib={stage: round(peak / GIB, 3) for stage, peak in work.peaks.items()},
    )


def _bring_in(results: Path, experiment: str) -> None:
    """Ingest what a run has appended. Errors: UsageError that says where it is safe if the database cannot be had."""
    try:
        ingest(results)
    except DatabaseHeldError as error:
        raise UsageError(
            f"the run is complete and safe in {results / FOLDER}, only not in the database yet ({error}); any command"
            f" that reads results brings it in, such as `blendbench leaderboard {experiment} --results {results}`"
        ) from error


@dataclass
class _Work:
    """The state of one run while it is under way: `images` by cell id grows, failures are counted; `scores` is the
    progress of scoring."""

    plan: Plan
    models: ModelSet
    results: Path
    todo: Todo
    reporter: Reporter
    images: dict[str, str]
    recent: Recent = field(default_factory=Recent)
    clock: Clock = field(default_factory=Clock)
    scores: Stage | None = None
    peaks: dict[str, int] = field(default_factory=dict)
    failed: int = 0
    scores_failed: int = 0

    def __post_init__(self) -> None:
        self.batch_size = self.models.file.sampler.batch_size
        self.began = datetime.now(UTC)
        self.run_id = f"{self.began:%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:8]}"
        self.measuring = Measuring(
            self.plan,
            self.models,
            self.results,
            self.todo.missing_scores,
            self.images,
            self.recent,
            scorer_hashes(self.plan.metrics, self.models),
            self._emit_scores,
        )

    def do(self) -> None:
        """Everything that is left; what is finished is on disk batch by batch."""
        experiment = self.plan.experiment.name
        with ShardWriter(self.results, self.run_id) as self.shard, self.reporter:
            self.shard.append_all(opening_rows(self.plan, self.models, self.run_id, self.began, self.results))
            adopted = {"run_id": self.run_id, "experiment": experiment}
            self.shard.append("cells", [row | adopted for row in self.todo.adopt])
            if self.models.residency.budget is not None:
                self.reporter.note(f"memory plan {self.models.residency}")
            self._peak()
            if self.todo.cells:
                self._draw()
            self._measure()
            times = [
                {"run_id": self.run_id, "stage": stage, "seconds": seconds, "count": self.clock.counts[stage]}
                for stage, seconds in self.clock.seconds.items()
            ]
            self.shard.append("stage_times", times)
            peaks = [{"run_id": self.run_id, "stage": stage, "peak_bytes": peak} for stage, peak in self.peaks.items()]
            self.shard.append("stage_memory", peaks)

    def _peak(self, stage: str | None = None) -> None:
        """Note the most memory that was allocated since the last call as that of `stage`."""
        peak = self.models.peak_memory()
        if stage and peak is not None:
            self.peaks[stage] = peak

    def _draw(self) -> None:
        """Encode, blend and draw. Where the device has room, what comes next is encoded and what is drawn is scored
        while it draws: launching a batch takes this thread a small part of the time that the device needs for it."""
        embeddings = Embeddings(self.results / "embeddings", self.models, self.plan.suite)
        with Encodings(embeddings, self.todo.cells, self.clock, self.reporter) as encodings:
            encoders, ahead = encodings.encoders, self.models.at_once("text", "vision", "generate")
            # What cannot be loaded is left to its first use to tell, with nothing beside it.
            if encoders and not (ahead and self.models.load(*encoders, "denoiser")):
                encodings.make_all()
                self._peak("encode")
            self._draw_encoded(encodings)
        self._peak("denoise")

    def _draw_encoded(self, encodings: Encodings) -> None:
        score_behind = self.models.at_once("generate", "score")
        stage = self.reporter.stage("images", len(self.todo.cells))
        described: set[str] = set()

        def emit(drawn: list[Drawn], conditionings: list[dict[str, Any]]) -> None:
            fresh = {str(c["conditioning_sha256"]): c for c in conditionings}
            fresh = {sha256: row for sha256, row in fresh.items() if sha256 not in described}
            described.update(fresh)
            self.shard.append_all(
                {
                    "conditionings": list(fresh.values()),
                    "cells": [cell_row(d, self.plan, self.models, self.run_id) for d in drawn],
                    "cell_batches": [
                        {"cell_id": d.cell.cell_id, "run_id": self.run_id, "batch_size": d.batch_size}
                        for d in drawn
                        if d.batch_size
                    ],
                }
            )
            self.images.update({d.cell.cell_id: d.image_sha256 for d in drawn if d.image_sha256})
            self.measuring.add(d.cell for d in drawn)
            bad = sum(d.image_sha256 is None for d in drawn)
            self.failed += bad
            stage.advance(len(drawn), bad)

        def meanwhile() -> None:
            # Better later than to wait for a pass that is under way, but not later and later.
            if score_behind and encodings.quiet.acquire(blocking=self.measuring.is_behind):
                try:
                    with self.models.beside():
                        self._score(self.measuring.measure_full)
                finally:
                    encodings.quiet.release()

        drawer = Drawer(
            encodings,
            self.models,
            self.results,
            dict(self.todo.known),
            emit,
            self.recent,
            meanwhile,
            self.clock,
            self.reporter,
        )
        drawer.draw(self.todo.cells)
        self.batch_size = drawer.batch_size

    def _measure(self) -> None:
        missing = self.todo.missing_scores
        total = sum(len(metrics) for cell_id, metrics in missing.items() if cell_id in self.images)
        if total and self.scores is None:
            self.scores = self.reporter.stage("scores", total)
        elif self.scores is not None:
            self.scores.expect(total)
        self._score(self.measuring.measure_rest)
        if total:
            self._peak("measure")

    def _score(self, measure: Callable[[], None]) -> None:
        with self.clock.time("measure", 0):
            measure()

    def _emit_scores(self, rows: list[dict[str, Any]]) -> None:
        if self.scores is None:
            self.scores = self.reporter.stage("scores", sum(map(len, self.todo.missing_scores.values())))
        bad = sum(row["status"] == "failed" for row in rows)
        self.shard.append("scores", rows)
        self.scores_failed += bad
        self.clock.counts["measure"] += len(rows)
        self.scores.advance(len(rows), bad)
