"""Keeping embeddings of every stage: the blended conditionings as files, and which files each cell was made from."""

import uuid
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from blendbench.core.hashing import sha256_bytes
from blendbench.models.sets import ModelSet
from blendbench.results.shards import ShardWriter, shard_paths
from blendbench.results.store import open_results
from blendbench.run.encode import Embeddings
from blendbench.run.generate import Job, blend
from blendbench.run.plan import Cell, Plan
from blendbench.run.progress import Reporter

CONDITIONING = "conditioning"
_BATCH = 32  # cells whose records are written at once


def keep_embeddings(plan: Plan, models: ModelSet, results: Path, reporter: Reporter) -> int:
    """Keep the conditioning of every finished cell of `plan` that lacks it, and record the cell's files; how many.

    Only blending is repeated, so that a finished run can be given its files later. A conditioning that is not the
    recorded one (a strategy that is not deterministic) is counted as failed: the image was made from another.
    """
    waiting = _without_files(plan, results)
    if not waiting:
        return 0
    folder, kept = results / "embeddings", 0
    embeddings = Embeddings(folder, models, plan.suite)
    with ShardWriter(results, f"embeddings-of-{plan.experiment.name}-{uuid.uuid4().hex[:8]}") as shard, reporter:
        stage = reporter.stage("keep", len(waiting))
        while batch := waiting[:_BATCH]:
            del waiting[:_BATCH]
            jobs = [blend(cell, embeddings, models.facts) for cell, _ in batch]
            same = [job for job, (_, sha256) in zip(jobs, batch, strict=True) if job.sha256 == sha256]
            for job in same:
                save_conditioning(folder, job)
            shard.append("cell_embeddings", [row for job in same for row in _rows(job, embeddings)])
            stage.advance(len(batch), len(batch) - len(same))
            kept += len(same)
    return kept


def save_conditioning(folder: Path, job: Job) -> None:
    """Write `<folder>/<sha256>.safetensors` by write-then-rename, unless it is there.

    Tensors: `steps` (transformer calls or 1, tokens, dim) float32 and, if there is an injection, `injected` (tokens,
    dim); the metadata holds its blocks, the strength, and the hash of the image that denoising starts from.
    """
    path = folder / f"{job.sha256}.safetensors"
    if path.is_file():
        return
    conditioning = job.conditioning
    tensors = {"steps": torch.stack(conditioning.steps)}
    if conditioning.injected is not None:
        tensors["injected"] = conditioning.injected
    metadata = {
        "blocks": ",".join(map(str, conditioning.blocks)),
        "strength": repr(conditioning.strength),
        "start_sha256": sha256_bytes(job.start.read_bytes()) if job.start else "",
    }
    partial = path.with_suffix(".partial")
    save_file(tensors, partial, metadata)
    partial.replace(path)


def _without_files(plan: Plan, results: Path) -> list[tuple[Cell, str]]:
    """The finished cells, with their conditionings, whose files are not all recorded and there."""
    if not shard_paths(results):
        return []
    opened = open_results(results)
    conditionings = dict(
        opened.rows("SELECT cell_id, conditioning_sha256 FROM cells WHERE status = 'ok' AND conditioning_sha256 <> ''")
    )
    recorded: set[str] = set()
    missing: set[str] = set()
    for cell_id, sha256 in opened.rows("SELECT cell_id, sha256 FROM cell_embeddings"):
        there = (results / "embeddings" / f"{sha256}.safetensors").is_file()
        (recorded if there else missing).add(cell_id)
    return [
        (cell, conditionings[cell.cell_id])
        for cell in plan.cells
        if cell.cell_id in conditionings and cell.cell_id not in recorded - missing
    ]


def _rows(job: Job, embeddings: Embeddings) -> list[dict[str, Any]]:
    cell = job.cells[0]
    read = [{"cell_id": cell.cell_id, **asdict(file)} for file in embeddings.files(cell.item, cell.configuration)]
    return [*read, {"cell_id": cell.cell_id, "stage": CONDITIONING, "sha256": job.sha256}]
