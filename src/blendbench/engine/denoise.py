"""Denoising: conditionings into pictures, in batches of one fixed shape.

Cells whose conditionings are bit-equal and whose initial latents are the same share one picture. A batch holds only
conditionings of one padded length and is always full (the last one is filled up with copies), so a picture does not
depend on what else is drawn with it.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from blendbench.engine.encode import Embeddings
from blendbench.engine.pictures import save_picture
from blendbench.engine.plan import Cell
from blendbench.engine.progress import Clock
from blendbench.models.sets import ModelSet
from blendbench.results.records import ConditioningRecord

BUCKET = 32  # the transformer pads captions to multiples of this


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
    """A blended conditioning (tokens, dim) and its identity."""

    rows: Tensor
    sha256: str

    def record(self) -> ConditioningRecord:
        """Its shape and moments."""
        values = self.rows.double()
        mean, std, rms = values.mean(), values.std(correction=0), values.square().mean().sqrt()
        return ConditioningRecord(self.sha256, len(values), values.shape[1], float(mean), float(std), float(rms))


@dataclass(frozen=True)
class Job:
    """One picture to draw, and the cells that share it."""

    conditioning: Conditioning
    noise_seed: int
    cells: list[Cell]

    def outcome(self, picture: str | None, error: str | None = None) -> list[Drawn]:
        """The same outcome for every cell."""
        sha256, tokens = self.conditioning.sha256, len(self.conditioning.rows)
        return [Drawn(cell, sha256, picture, tokens, error) for cell in self.cells]


Emit = Callable[[list[Drawn], list[ConditioningRecord]], None]


@dataclass
class Drawer:
    """Draws cells into `results`.

    `known` maps (conditioning, noise seed) to pictures that exist, and grows; `emit` gets the cells of a batch as soon
    as their pictures are stored.
    """

    embeddings: Embeddings
    models: ModelSet
    results: Path
    known: dict[tuple[str, int], str]
    emit: Emit
    clock: Clock
    _open: dict[tuple[str, int], Job] = field(default_factory=dict)

    def draw(self, cells: Iterable[Cell]) -> None:
        """Draw all cells; one that cannot be blended or drawn is emitted with its error, and the others go on."""
        waiting: defaultdict[int, list[Job]] = defaultdict(list)
        size = self.models.file.sampler.batch_size
        for cell in cells:
            conditioning = self._blend(cell)
            if conditioning is None:
                continue
            key = (conditioning.sha256, cell.noise_seed)
            if key in self.known:
                job = Job(conditioning, cell.noise_seed, [cell])
                self.emit(job.outcome(self.known[key]), [conditioning.record()])
            elif key in self._open:
                self._open[key].cells.append(cell)
            else:
                self._open[key] = Job(conditioning, cell.noise_seed, [cell])
                bucket = waiting[-(-len(conditioning.rows) // BUCKET)]
                bucket.append(self._open[key])
                if len(bucket) == size:
                    self._draw_batch(bucket)
                    bucket.clear()
        for bucket in waiting.values():
            if bucket:
                self._draw_batch(bucket)

    def _blend(self, cell: Cell) -> Conditioning | None:
        try:
            with self.clock.time("blend"):
                return blend(cell, self.embeddings, self.models.longest)
        except Exception as error:
            # A strategy is third-party code: whatever it raises fails its own cell, and the run goes on.
            self.emit([Drawn(cell, error=f"{type(error).__name__}: {error}")], [])
            return None

    def _draw_batch(self, jobs: list[Job]) -> None:
        filled = [*jobs, *[jobs[-1]] * (self.models.file.sampler.batch_size - len(jobs))]
        denoiser = self.models.denoiser
        with self.clock.time("denoise", len(jobs)):
            latents = torch.stack([denoiser.initial_latents(job.noise_seed) for job in filled])
            pictures, finite = denoiser.generate([job.conditioning.rows for job in filled], latents)
        drawn: list[Drawn] = []
        for job, pixels, good in zip(jobs, pictures, finite, strict=False):
            key = (job.conditioning.sha256, job.noise_seed)
            del self._open[key]
            if good:
                with self.clock.time("save"):
                    self.known[key] = save_picture(self.results, pixels)
                drawn += job.outcome(self.known[key])
            else:
                drawn += job.outcome(None, "the model drew values that are not finite")
        self.emit(drawn, [job.conditioning.record() for job in jobs])


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
