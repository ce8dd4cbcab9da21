"""Keep embeddings: conditionings as files, and each cell's files."""

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from blendbench.core.files import write_atomically
from blendbench.core.images import image_identity
from blendbench.models.sets import ModelSet
from blendbench.results.shards import ShardWriter
from blendbench.results.state import open_state
from blendbench.run.blend import Blender, BlendFailedError, Job
from blendbench.run.embeddings import FOLDER, Embeddings
from blendbench.run.inputs import inputs_of, negative_inputs
from blendbench.run.plan import Cell, Plan
from blendbench.run.progress import Reporter

CONDITIONING = "conditioning"
_BATCH = 32  # cells whose rows are written at once


def keep_embeddings(plan: Plan, models: ModelSet, results: Path, reporter: Reporter) -> int:
    """Keep missing conditionings of finished cells; return their number.

    The files of each cell are recorded. Only blending is repeated, so that a finished run can be given its files later.
    A conditioning that is not the recorded one is counted as failed: the image was made from another.
    """
    waiting = _without_files(plan, results)
    if not waiting:
        return 0
    folder, kept = results / FOLDER, 0
    embeddings = Embeddings(folder, models)
    blender = Blender(embeddings, plan.suite, models)
    with ShardWriter(results, f"embeddings-{uuid.uuid4().hex[:8]}") as shard, reporter:
        progress = reporter.stage("keep", len(waiting))
        for start in range(0, len(waiting), _BATCH):
            batch = waiting[start : start + _BATCH]
            same = [job for cell, sha256 in batch if (job := _blended(blender, cell)) and job.sha256 == sha256]
            for job in same:
                _save_conditioning(folder, job)
            shard.append("cell_embeddings", [row for job in same for row in _rows(job, embeddings, plan)])
            progress.advance(len(batch), len(batch) - len(same))
            kept += len(same)
    return kept


def _blended(blender: Blender, cell: Cell) -> Job | None:
    try:
        return blender.blend(cell)
    except BlendFailedError:
        return None


def _save_conditioning(folder: Path, job: Job) -> None:
    """Write `<folder>/<sha256>.safetensors`, unless it exists.

    Tensors: `steps` (steps or 1, tokens, dim) float32 and, if there is an injection, `injected` (tokens, dim); the same
    two of a blended negative, with `negative_` before their names. The metadata holds the blocks, the strength, and the
    hash of the image that sampling starts from.
    """
    path = folder / f"{job.sha256}.safetensors"
    if path.is_file():
        return
    conditioning = job.conditioning
    tensors: dict[str, torch.Tensor] = {}
    for prefix, part in (("", conditioning), ("negative_", job.blended_negative)):
        if part is not None:
            tensors[f"{prefix}steps"] = torch.stack(part.steps)
            if part.injected is not None:
                tensors[f"{prefix}injected"] = part.injected
    metadata = {
        "blocks": ",".join(map(str, job.blocks)),
        "strength": repr(conditioning.strength),
        "start_sha256": image_identity(job.start) if job.start else "",
    }
    write_atomically(path, save(tensors, metadata))


def _without_files(plan: Plan, results: Path) -> list[tuple[Cell, str]]:
    """Return finished cells that lack a recorded file, and their conditionings."""
    with open_state(results) as state:
        rows = state.finished_cells([cell.cell_id for cell in plan.cells])
        finished = {cell_id: row for cell_id, row in rows.items() if row.status == "ok"}
        recorded = state.embedding_files(list(finished))
    kept = {path.stem for path in (results / FOLDER).glob("*.safetensors")}
    complete = {cell_id for cell_id, files in recorded.items() if files and kept.issuperset(files)}
    return [
        (cell, str(finished[cell.cell_id].conditioning_sha256))
        for cell in plan.cells
        if cell.cell_id in finished and cell.cell_id not in complete
    ]


def _rows(job: Job, embeddings: Embeddings, plan: Plan) -> Iterator[dict[str, Any]]:
    cell = job.cells[0]
    sampler = embeddings.models.file.sampler
    given = (cell.configuration, cell.item, plan.suite)
    for entry in (*inputs_of(*given), *negative_inputs(*given, sampler)):
        image = entry.view.image
        for layer in sorted(cell.configuration.layers) if image else [embeddings.text_layer]:
            yield {
                "cell_id": cell.cell_id,
                "stage": entry.part,
                "sha256": embeddings.key(entry.view, layer),
                "layer": layer,
                "image_sha256": image_identity(image) if image else None,
                "prompt": entry.view.prompt,
            }
    yield {"cell_id": cell.cell_id, "stage": CONDITIONING, "sha256": job.sha256}
