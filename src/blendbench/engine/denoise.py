"""Denoising: conditionings into pictures, in batches of one fixed shape.

Cells whose conditionings are bit-equal and whose initial latents are the same share one picture. A batch holds only
conditionings of one padded length and is always full (the last one is filled up with copies), so a picture does not
depend on what else is drawn with it.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from blendbench.engine.encode import Embeddings
from blendbench.engine.pictures import save_picture
from blendbench.engine.plan import Cell
from blendbench.models.sets import ModelSet
from blendbench.results.records import ConditioningRecord

BUCKET = 32


@dataclass(frozen=True)
class Drawn:
    """The outcome of one cell: a picture, or an error."""

    cell: Cell
    conditioning_sha256: str | None = None
    picture_sha256: str | None = None
    tokens: int | None = None
    error: str | None = None


@dataclass(frozen=True)
class Conditioning:
    """A blended conditioning and its identity."""

    rows: Tensor
    sha256: str

    def record(self) -> ConditioningRecord:
        """Its shape and moments."""
        values = self.rows.double()
        mean, std, rms = values.mean(), values.std(correction=0), values.square().mean().sqrt()
        return ConditioningRecord(self.sha256, len(values), values.shape[1], float(mean), float(std), float(rms))


def blend(cell: Cell, embeddings: Embeddings, longest: int) -> Conditioning:
    """The conditioning of a cell. Errors: whatever the strategy raises; ValueError if it is too long for the model."""
    rows = cell.configuration.blend(embeddings.sources(cell.item, cell.configuration))
    if len(rows) > longest:
        raise ValueError(
            f"a conditioning of {len(rows)} tokens is longer than the {longest} that the model has room for"
        )
    digest = hashlib.sha256(f"{tuple(rows.shape)}".encode())
    digest.update(rows.numpy().tobytes())
    return Conditioning(rows, digest.hexdigest())


Emit = Callable[[list[Drawn], list[ConditioningRecord]], None]


def draw(
    cells: list[Cell], embeddings: Embeddings, models: ModelSet, results: Path, batch_size: int,
    known: dict[tuple[str, int], str], emit: Emit,
) -> None:  # fmt: skip
    """Draw all cells; `known` maps (conditioning, noise seed) to pictures that exist. `emit` gets finished cells."""
    waiting: dict[int, list[tuple[Conditioning, list[Cell]]]] = defaultdict(list)
    queued: dict[tuple[str, int], list[Cell]] = {}
    for cell in cells:
        try:
            conditioning = blend(cell, embeddings, models.denoiser.longest)
        except Exception as error:
            # A strategy is third-party code: whatever it raises fails its own cell, and the run goes on.
            emit([Drawn(cell, error=f"{type(error).__name__}: {error}")], [])
            continue
        key = (conditioning.sha256, cell.noise_seed)
        if key in known:
            emit([Drawn(cell, conditioning.sha256, known[key], len(conditioning.rows))], [conditioning.record()])
        elif key in queued:
            queued[key].append(cell)
        else:
            queued[key] = [cell]
            length = -(-len(conditioning.rows) // BUCKET)
            waiting[length].append((conditioning, queued[key]))
            if len(waiting[length]) == batch_size:
                _draw_batch(waiting.pop(length), models, results, batch_size, known, queued, emit)
    for jobs in waiting.values():
        _draw_batch(jobs, models, results, batch_size, known, queued, emit)


def _draw_batch(
    jobs: list[tuple[Conditioning, list[Cell]]], models: ModelSet, results: Path, batch_size: int,
    known: dict[tuple[str, int], str], queued: dict[tuple[str, int], list[Cell]], emit: Emit,
) -> None:  # fmt: skip
    filled = [*jobs, *[jobs[-1]] * (batch_size - len(jobs))]
    latents = torch.stack([models.denoiser.initial_latents(cells[0].noise_seed) for _, cells in filled])
    pictures, finite = models.denoiser.generate([conditioning.rows for conditioning, _ in filled], latents)
    drawn: list[Drawn] = []
    for (conditioning, cells), pixels, good in zip(jobs, pictures, finite, strict=False):
        key = (conditioning.sha256, cells[0].noise_seed)
        del queued[key]
        if good:
            known[key] = save_picture(results, pixels)
        picture, error = known.get(key), None if good else "the model drew values that are not finite"
        drawn += [Drawn(c, conditioning.sha256, picture, len(conditioning.rows), error) for c in _unique(cells)]
    emit(drawn, [conditioning.record() for conditioning, _ in jobs])


def _unique(cells: list[Cell]) -> Iterator[Cell]:
    yield from {cell.cell_id: cell for cell in cells}.values()
