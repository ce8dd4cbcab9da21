"""Denoising: conditionings into images, in batches of one fixed shape.

Cells whose conditionings are bit-equal and whose initial latents are the same share one image. A batch holds only
conditionings of one padded length and is always full (the last one is filled up with copies), so an image does not
depend on what else is drawn with it. Where a batch does not fit into memory, it and all later ones are half as large;
each cell says with how many its image was drawn.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from blendbench.core.conditioning import Conditioning
from blendbench.core.hashing import sha256_bytes
from blendbench.models.families.base import Facts, Injection, Start
from blendbench.models.sets import ModelSet
from blendbench.run.encode import Embeddings, Encodings
from blendbench.run.image_cache import Fetched, Recent, image_path, load_resized, save_image
from blendbench.run.plan import Cell
from blendbench.run.progress import Clock, Reporter

# Batches that the device may have before it while the next one is prepared: what takes this thread or the one that
# stores longer than one batch takes the device does not keep it waiting.
_FLYING = 2
# Cells that are encoded ahead, at least. On an H200 they take longer to draw than the slowest pass beside them: at 1024
# pixels 7 s and 5 s.
_COMING = 8


@dataclass(frozen=True)
class Drawn:
    """The outcome of one cell: an image, or an error; `batch_size` if the image was drawn now, not found."""

    cell: Cell
    conditioning_sha256: str | None = None
    image_sha256: str | None = None
    tokens: int | None = None
    error: str | None = None
    batch_size: int | None = None


@dataclass(frozen=True)
class Job:
    """One image to generate, and the cells that share it.

    `start` is the image to start from, below strength 1; `buckets` the padded length of the caption in units of the
    transformer's padding.
    """

    conditioning: Conditioning
    sha256: str
    noise_seed: int
    start: Path | None
    buckets: int
    cells: list[Cell]

    @property
    def key(self) -> tuple[str, int]:
        """What decides the image."""
        return (self.sha256, self.noise_seed)

    @property
    def company(self) -> tuple[object, ...]:
        """What all jobs of a batch have in common: the padded length and the way of drawing."""
        c = self.conditioning
        return (self.buckets, len(c.steps), c.blocks, c.strength)

    def outcome(self, image: str | None, error: str | None = None, batch_size: int | None = None) -> list[Drawn]:
        """The same outcome for every cell."""
        tokens = len(self.conditioning.rows)
        return [Drawn(cell, self.sha256, image, tokens, error, batch_size) for cell in self.cells]

    def record(self) -> dict[str, Any]:
        """Shape and moments of what the first transformer call reads."""
        values = self.conditioning.rows.double()
        mean, std, rms = values.mean(), values.std(correction=0), values.square().mean().sqrt()
        return {
            "conditioning_sha256": self.sha256,
            "tokens": len(values),
            "dim": values.shape[1],
            "mean": float(mean),
            "std": float(std),
            "rms": float(rms),
        }


Emit = Callable[[list[Drawn], list[dict[str, Any]]], None]


@dataclass(frozen=True)
class Flight:
    """A batch under way: its images, and their names once they are stored; neither, if memory was too small."""

    jobs: list[Job]
    batch_size: int
    images: Fetched | None
    names: Future[list[str | None]] | None


@dataclass
class Drawer:
    """Draws cells into `results`.

    `known` maps (conditioning, noise seed) to images that exist, and grows; `emit` gets the cells of a batch as soon
    as their images are stored, `recent` their pixels. `batch_size` is halved when memory runs out.

    Where the device computes by itself, a batch is stored while the next ones are drawn, and at most `_FLYING` + 1 are
    lost with the process. `meanwhile` is called while a batch is drawn.
    """

    encodings: Encodings
    models: ModelSet
    results: Path
    known: dict[tuple[str, int], str]
    emit: Emit
    recent: Recent
    meanwhile: Callable[[], None]
    clock: Clock
    reporter: Reporter
    _open: dict[tuple[str, int], Job] = field(default_factory=dict)
    _flights: deque[Flight] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self.batch_size = self.models.file.sampler.batch_size

    def draw(self, cells: Sequence[Cell]) -> None:
        """Draw all cells; one that cannot be blended or drawn is emitted with its error, and the others go on."""
        waiting: defaultdict[tuple[object, ...], list[Job]] = defaultdict(list)
        with ThreadPoolExecutor(1, "writer") as self._writer:
            for i, cell in enumerate(cells):
                self.encodings.begin(cells[i : i + 1 + max(_COMING, 2 * self.batch_size)])
                job = self._blend(cell)
                if job is None:
                    continue
                if job.key in self.known:
                    self.emit(job.outcome(self.known[job.key]), [job.record()])
                elif job.key in self._open:
                    self._open[job.key].cells.append(cell)
                else:
                    self._open[job.key] = job
                    batch = waiting[job.company]
                    batch.append(job)
                    if len(batch) >= self.batch_size:
                        self._draw_batch(batch)
                        batch.clear()
            for batch in waiting.values():
                if batch:
                    self._draw_batch(batch)
            self._land(0)

    def _blend(self, cell: Cell) -> Job | None:
        self.encodings.make(cell)
        try:
            with self.clock.time("blend"):
                return blend(cell, self.encodings.embeddings, self.models.facts)
        except Exception as error:
            # A strategy is third-party code: whatever it raises fails its own cell, and the run goes on.
            self.emit([Drawn(cell, error=f"{type(error).__name__}: {error}")], [])
            return None

    def _draw_batch(self, jobs: list[Job]) -> None:
        """Draw all of `jobs`, in as many batches as memory asks for."""
        left = list(jobs)
        while left:
            part = left[: self.batch_size]
            images = self._attempt(part)
            if images is None and self.batch_size > 1:
                self.batch_size //= 2
                self.reporter.note(f"out of memory: batches hold {self.batch_size} from here on")
                continue
            names = None if images is None else self._writer.submit(_save, self.results, images, len(part))
            self._flights.append(Flight(part, self.batch_size, images, names))
            del left[: len(part)]
            self.meanwhile()
            self._land(_FLYING if self.models.asynchronous else 0)

    def _attempt(self, jobs: list[Job]) -> Fetched | None:
        """Images on their way; None if memory ran out."""
        filled = [*jobs, *[jobs[-1]] * (self.batch_size - len(jobs))]
        while True:
            try:
                self._warm_up()
                with self.clock.time("denoise", 0):
                    images = Fetched(*self._generate(filled))
                self.clock.counts["denoise"] += len(jobs)
                return images
            except torch.OutOfMemoryError:
                pass
            # Only here, where the error and with it the frames that hold the batch are gone, can memory be given back.
            spared = self.models.denoiser.stop_replays()
            self.models.release_cache()
            if not spared:
                return None

    def _warm_up(self) -> None:
        denoiser = self.models.denoiser
        if denoiser.is_cold(self.batch_size):
            stage = self.reporter.stage("warm-up", 1)
            with self.encodings.quiet, self.clock.time("warm_up"):
                denoiser.warm_up(self.batch_size)
            stage.advance(1)

    def _land(self, flying: int) -> None:
        """Emit the oldest batches, until only so many are under way."""
        while len(self._flights) > flying:
            self._finish(self._flights.popleft())

    def _finish(self, flight: Flight) -> None:
        """Emit a batch, once its images are stored."""
        jobs = flight.jobs
        for job in jobs:
            del self._open[job.key]
        if flight.images is None or flight.names is None:
            drawn = [each for job in jobs for each in job.outcome(None, "out of memory, even with one image a batch")]
        else:
            with self.clock.time("denoise", 0):
                pixels, finite = flight.images.arrays()
            with self.clock.time("save", int(finite[: len(jobs)].sum())):
                names = flight.names.result()
            drawn = []
            for job, name, image in zip(jobs, names, pixels, strict=False):  # behind the jobs are those that fill up
                if name is None:
                    drawn += job.outcome(None, "the model drew values that are not finite")
                else:
                    self.known[job.key] = name
                    self.recent.keep(image_path(self.results, name), image)
                    drawn += job.outcome(name, batch_size=flight.batch_size)
        self.emit(drawn, [job.record() for job in jobs])

    def _generate(self, jobs: list[Job]) -> tuple[Tensor, Tensor]:
        denoiser, first = self.models.denoiser, jobs[0].conditioning
        latents = torch.stack([denoiser.initial_latents(job.noise_seed) for job in jobs])
        rows = [job.conditioning.injected for job in jobs if job.conditioning.injected is not None]
        sampler = self.models.file.sampler
        starts = [load_resized(job.start, sampler.width, sampler.height) for job in jobs if job.start]
        return denoiser.generate(
            [job.conditioning.steps for job in jobs],
            latents,
            Injection(rows, first.blocks) if rows else None,
            Start(np.stack(starts), first.strength) if starts else None,
        )


def _save(results: Path, images: Fetched, count: int) -> list[str | None]:
    """Store the first `count` images; their names, None for one that is not finite."""
    pixels, finite = images.arrays()
    return [save_image(results, pixels[i]) if finite[i] else None for i in range(count)]


def blend(cell: Cell, embeddings: Embeddings, facts: Facts) -> Job:
    """The image to draw for a cell. Errors: whatever the strategy raises; ValueError if it is too long."""
    conditioning = cell.configuration.blend(embeddings.sources(cell.item, cell.configuration))
    tokens, longest = len(conditioning.rows), facts.longest_caption
    if tokens > longest:
        raise ValueError(f"a conditioning of {tokens} tokens is longer than the {longest} that the model has room for")
    start = cell.item.reference if conditioning.strength < 1 else None
    sha256 = conditioning.sha256(sha256_bytes(start.read_bytes()) if start else "")
    return Job(conditioning, sha256, cell.noise_seed, start, -(-tokens // facts.caption_bucket), [cell])
