"""Take many cells of a stub engine from plan to page; measure memory and time of each command.

    python tests/scale/soak.py --cells 50000 100000 200000 --json soak.json

The stub stores small images and values that are made up; all else is what `run` does. Each stage is a process of its
own. More cells are more seeds: 100 configurations on 250 items, 500 cells an item and seed. Exit code 1 if a stage
takes more than 1 GiB, or more than in proportion to the cells.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zlib import crc32

if TYPE_CHECKING:
    from blendbench.run.engine import Task
    from blendbench.run.generate import Finished
    from blendbench.run.plan import Cell, Missing, Plan
    from blendbench.run.score import Scores

ALPHAS, ITEMS = 94, 250  # with the baseline and five controls, 100 configurations
SHARED = 10  # cells that share an image
METRICS = (
    *("attribute_adherence", "reference_style", "grid_severity", "color_elsewhere"),
    *("blockiness", "effect_size", "grid_energy", "color_drift"),
)
COMMANDS = {
    "leaderboard": ["leaderboard", "soak", "--out", "{out}/board"],
    "gate": ["gate", "--experiment", "soak", "--candidate", "lerp:alpha=0.5", "--format", "json"],
    "gallery": ["gallery", "soak"],
    "publish": ["publish", "soak", "--out", "{out}/published"],
}
MEMORY_MIB = 1024
TOLERANCE = 1.5  # of the time in proportion
Row = dict[str, Any]


class StubEngine:
    """Stores images of 32 pixels, and makes values up."""

    def __init__(self, task: "Task") -> None:
        from blendbench.results.images import ImageStore
        from blendbench.run.pixels import PixelCache
        from blendbench.run.score import Scorer

        self.task, self.store, self.batch_size = task, ImageStore(task.folder), 64
        self.peaks: dict[str, int] = {}
        self.scorer = Scorer(task.plan, task.models, task.images, PixelCache(self.store))

    def generate(self, cells: "Sequence[Cell]") -> "Iterator[Finished | Scores]":
        """Store an image for every few cells."""
        import numpy as np

        from blendbench.core.hashing import sha256_json
        from blendbench.run.generate import Finished, GeneratedImage

        images: dict[int, str] = {}
        for start in range(0, len(cells), self.batch_size):
            finished = Finished([], [])
            for number, cell in enumerate(cells[start : start + self.batch_size], start):
                if number // SHARED not in images:
                    rng = np.random.default_rng(number // SHARED)
                    images = {number // SHARED: self.store.save(rng.integers(0, 256, (32, 32, 3), np.uint8))}
                sha256 = sha256_json([cell.configuration.label, cell.item.id])
                row = {"conditioning_sha256": sha256, "tokens": 40, "dim": 256, "mean": 0.0, "std": 1.0, "rms": 1.0}
                image = GeneratedImage(cell, sha256, images[number // SHARED], 40, None, self.batch_size)
                finished.conditionings.append(row)
                finished.images.append(image)
                self.task.images[cell.cell_id] = str(image.image_sha256)
            yield finished

    def score(self, missing: "Missing") -> "Iterator[Scores]":
        """Make up the item's part of a value, the dose's, and one of its own."""
        from blendbench.metrics import Score
        from blendbench.results.schema import RowChecker
        from blendbench.run.score import Scores

        checker = RowChecker()
        for cells, names in self.scorer.batches(missing):
            rows = []
            for cell in cells:
                label, item = cell.configuration.label, cell.item.id
                for metric in names[cell.cell_id]:
                    parts = (item, metric), (label, metric), (label, item, cell.seed, metric)
                    value = 0.25 + sum(crc32(repr(part).encode()) % 997 for part in parts) / 6000
                    if label == "canary":
                        higher = self.task.plan.metric(metric).metric.info.direction == "higher"
                        value = 0.01 * value if higher else 1 - 0.01 * value
                    rows.append(self.scorer._row(cell, metric, Score(value, "ok")))
            yield Scores(checker.lines("scores", rows), {})


def plan_of(count: int) -> "Plan":
    """Plan an experiment of that many cells."""
    from blendbench.core.suites import load_suite
    from blendbench.models.sets import load_model_set
    from blendbench.run.experiments import Grid, load_experiment
    from blendbench.run.plan import make_plan

    items = min(ITEMS, count // (ALPHAS + 6))
    alphas = (*(round((n + 1) / (ALPHAS + 1), 4) for n in range(ALPHAS - 1)), 0.5)
    grids = (Grid("lerp", (("alpha", alphas),)),)
    seeds = tuple(range(count // (ALPHAS + 6) // items))
    experiment = replace(load_experiment("smoke"), name="soak", items=items, seeds=seeds, metrics=METRICS)
    experiment = replace(experiment, strategies=grids)
    return make_plan(experiment, load_suite("miniature"), load_model_set("miniature", "cpu"))


def generate(count: int, results: Path) -> None:
    """Do what `run` does, with the stub."""
    from blendbench.models.sets import load_model_set
    from blendbench.run.lock import folder_lock
    from blendbench.run.progress import Reporter
    from blendbench.run.resume import remaining_work
    from blendbench.run.work import Work

    os.fsync = lambda _: None  # type: ignore[assignment]  # what is measured is not the disk
    plan, models = plan_of(count), load_model_set("miniature", "cpu")
    with folder_lock(results):
        remaining = remaining_work(plan, models, results)
        Work(plan, models, results, remaining, Reporter(quiet=True), StubEngine).do()


def nothing_left(count: int, results: Path) -> None:
    """Find that nothing is left to do."""
    from blendbench.models.sets import load_model_set
    from blendbench.run.resume import remaining_work

    assert remaining_work(plan_of(count), load_model_set("miniature", "cpu"), results).empty


def ingest_all(count: int, results: Path) -> None:
    """Make the database from the shards."""
    from blendbench.results.store import DATABASE, ingest

    (results / DATABASE).unlink(missing_ok=True)
    ingest(results)


STAGES: dict[str, Callable[[int, Path], object]] = {
    "plan": lambda count, _: plan_of(count),
    "run with a stub": generate,
    "ingest": ingest_all,
    "nothing left to do": nothing_left,
}


# The peak memory of a process begins with that of the one that started it, so a small one does.
_LAUNCHER = """
import json, resource, subprocess, sys
with open(sys.argv[1], "ab") as log:
    code = subprocess.call(sys.argv[2:], stdout=log, stderr=log)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([code, used.ru_utime + used.ru_stime, used.ru_maxrss]))
"""


def measured(command: list[str], log: Path) -> Row:
    """Run a command in a process of its own: its exit code, CPU seconds and peak memory in MiB."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", _LAUNCHER, str(log), *command], stdout=subprocess.PIPE, text=True, check=True
    )
    code, cpu, peak = json.loads(done.stdout)
    return {"code": code, "peak_mib": peak // 1024, "cpu": round(cpu, 1), "wall": round(time.monotonic() - began, 1)}


def soak(counts: Sequence[int], place: Path, state: Path | None = None) -> list[Row]:
    """Take each number of cells through all stages; with a state file, leave out what an unfinished process did."""
    rows: list[Row] = []
    if state is not None and state.exists() and not (known := json.loads(state.read_text()))["finished"]:
        rows = known["rows"]
    for count in counts:
        if sum(row["cells"] == count for row in rows) == len(STAGES) + len(COMMANDS):
            continue
        rows = [row for row in rows if row["cells"] != count]
        with tempfile.TemporaryDirectory(dir=place) as name:
            results, log = Path(name, "results"), Path(name, "log")
            own = [sys.executable, __file__, "--folder", str(results), "--cells", str(count), "--stage"]
            jobs = {stage: [*own, stage] for stage in STAGES}
            for verb, arguments in COMMANDS.items():
                words = [word.format(out=name) for word in arguments]
                jobs[verb] = [sys.executable, "-m", "blendbench", *words, "--results", str(results)]
            for stage, command in jobs.items():
                rows.append({"stage": stage, "cells": count, **measured(command, log)})
                print(json.dumps(rows[-1]), flush=True)
                if rows[-1]["code"] not in ((0, 1, 3, 4) if stage == "gate" else (0,)):
                    sys.exit(f"{stage} does not work: {log.read_text()[-2000:]}")
        if state:
            state.write_text(json.dumps({"finished": count == counts[-1], "rows": rows}, indent=1))
    return rows


def faults(rows: list[Row]) -> list[str]:
    """Return what takes too much memory, or time out of proportion to that of half the cells."""
    found = [f"{row['stage']}, {row['cells']:,} cells: {row['peak_mib']} MiB" for row in rows]
    found = [line for line, row in zip(found, rows, strict=True) if row["peak_mib"] > MEMORY_MIB]
    cpu = {(row["stage"], row["cells"]): row["cpu"] for row in rows}
    for (stage, cells), seconds in cpu.items():
        half = cpu.get((stage, cells // 2))
        if half is not None and seconds > 2 * half * TOLERANCE:
            found.append(f"{stage}: {half} s for {cells // 2:,} cells, {seconds} s for {cells:,}")
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, nargs="+", default=[50_000, 100_000, 200_000])
    parser.add_argument("--json", type=Path, help="file for the figures; an unfinished one is continued")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--stage", choices=STAGES)
    given = parser.parse_args()
    if given.stage:
        STAGES[given.stage](given.cells[0], given.folder)
    else:
        with tempfile.TemporaryDirectory() as made:
            wrong = faults(soak(given.cells, Path(made), given.json))
        for line in wrong:
            print(f"TOO MUCH {line}")
        sys.exit(1 if wrong else 0)
