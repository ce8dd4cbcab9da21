"""Generate stored images from conditionings, in fixed-shape batches.

Cells whose conditionings are bit-equal and whose initial latents are the same share one image. A batch holds only jobs
of one batch key and is always full (the last one is filled up with copies), so an image does not depend on what else is
generated with it. Where a batch does not fit into memory, it and all later ones are half as large; each cell records
the batch size of its image.
"""

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import numpy as np
import torch
from torch import Tensor

from blendbench.core.errors import UsageError, described
from blendbench.core.images import ImageError, load_image, resize_area
from blendbench.models.families.base import Injection, Start
from blendbench.models.sets import ModelSet
from blendbench.results.images import ImageStore
from blendbench.run.blend import Blender, BlendFailedError, Job
from blendbench.run.failures import Failures, StoppedError
from blendbench.run.pixels import PixelCache
from blendbench.run.plan import Cell
from blendbench.run.progress import Clock, Reporter

# Batches that may wait for the device while the next one is prepared: blending or storing longer than one batch takes
# the device does not keep it waiting.
_IN_FLIGHT = 2
_OUT_OF_MEMORY = "out of memory, even with one image a batch"


@dataclass(frozen=True)
class GeneratedImage:
    """The image or error of a cell; `batch_size` only if generated now."""

    cell: Cell
    conditioning_sha256: str | None = None
    image_sha256: str | None = None
    tokens: int | None = None
    error: str | None = None
    batch_size: int | None = None


@dataclass(frozen=True)
class Finished:
    """Outcomes that belong together, and the rows of their conditionings."""

    images: list[GeneratedImage]
    conditionings: list[dict[str, Any]]

    @property
    def failed(self) -> int:
        """Return the number of cells without an image."""
        return sum(image.image_sha256 is None for image in self.images)


@dataclass(frozen=True)
class _InFlightBatch:
    """A batch on its way with its pixels and stored hashes, or an error."""

    jobs: list[Job]
    batch_size: int
    pixels: "_Transfer | None" = None
    stored: Future[list[str | None]] | None = None
    error: str | None = None


@dataclass
class ImageGenerator:
    """Generates the images of cells.

    `settings_lock` is held while networks are compiled (`Prefetch`). `known` maps (conditioning, noise seed) to images
    that exist, and grows. `batch_size` is halved when memory runs out. Where the device computes by itself, a
    batch is stored while the next ones are generated, and at most `_IN_FLIGHT` + 1 are lost with the process.
    """

    settings_lock: Lock
    blender: Blender
    models: ModelSet
    store: ImageStore
    known: dict[tuple[str, int], str]
    cache: PixelCache
    clock: Clock
    reporter: Reporter
    _pending: dict[tuple[str, int], Job] = field(default_factory=dict, init=False)
    _in_flight: deque[_InFlightBatch] = field(default_factory=deque, init=False)
    _failures: Failures = field(default_factory=Failures, init=False)

    def __post_init__(self) -> None:
        self.batch_size = self.models.file.sampler.batch_size

    def generate(self, cells: Iterable[Cell]) -> Iterator[Finished]:
        """Yield outcomes as soon as their images are stored.

        A cell that cannot be generated has its error. Errors: StoppedError if all fail alike. While the caller handles
        what is yielded, the device works on the batches in flight.
        """
        waiting: defaultdict[tuple[object, ...], list[Job]] = defaultdict(list)
        with ThreadPoolExecutor(1, "writer") as writer:
            for cell in cells:
                try:
                    with self.clock.time("blend"):
                        job = self.blender.blend(cell)
                except BlendFailedError as error:
                    yield Finished([GeneratedImage(cell, error=str(error))], [])
                    continue
                if job.key in self.known:
                    yield Finished(_outcomes(job, self.known[job.key]), [job.row()])
                elif job.key in self._pending:
                    self._pending[job.key].cells.append(cell)
                else:
                    self._pending[job.key] = job
                    batch = waiting[job.batch_key]
                    batch.append(job)
                    if len(batch) >= self.batch_size:
                        yield from self._launch(batch, writer)
                        batch.clear()
            for batch in waiting.values():
                if batch:
                    yield from self._launch(batch, writer)
            yield from self._drain(0)

    def _launch(self, jobs: list[Job], writer: ThreadPoolExecutor) -> Iterator[Finished]:
        """Generate `jobs` in batches that fit; yield older batches that are stored."""
        left = [list(jobs)]
        while left:
            part, rest = left[0][: self.batch_size], left[0][self.batch_size :]
            pixels, error = self._attempt(part)
            if error == _OUT_OF_MEMORY and self.batch_size > 1:
                self.batch_size //= 2
                self.reporter.note(f"out of memory: batches hold {self.batch_size} from here on")
                continue
            left[:1] = [rest] if rest else []
            if error is not None and len(part) > 1:
                # One of them may be at fault: each gets a batch of its own.
                left[:0] = [[job] for job in part]
                continue
            stored = None if pixels is None else writer.submit(self._store, pixels, len(part))
            self._in_flight.append(_InFlightBatch(part, self.batch_size, pixels, stored, error))
            yield from self._drain(_IN_FLIGHT if self.models.asynchronous else 0)

    def _attempt(self, jobs: list[Job]) -> "tuple[_Transfer | None, str | None]":
        """Start a batch; return its pixels, or the reason of a failure."""
        filled = [*jobs, *[jobs[-1]] * (self.batch_size - len(jobs))]
        while True:
            try:
                self._warm_up()
                with self.clock.time("denoise", 0):
                    pixels = _Transfer(*self._sample(filled))
                self.clock.counts["denoise"] += len(jobs)
                return pixels, None
            except torch.OutOfMemoryError:
                pass
            except ImageError as error:
                return None, str(error)
            except UsageError:
                raise  # a pipeline that cannot be loaded or compiled
            except Exception as error:
                return None, described(error)
            # Only here, where the error and with it the frames that hold the batch are gone, can memory be given back.
            spared = self.models.denoiser.stop_replays()
            self.models.release_cache()
            if not spared:
                return None, _OUT_OF_MEMORY

    def _warm_up(self) -> None:
        denoiser = self.models.denoiser
        if denoiser.is_cold(self.batch_size):
            stage = self.reporter.stage("warm-up", 1)
            with self.settings_lock, self.clock.time("warm_up"):
                try:
                    denoiser.warm_up(self.batch_size)
                except torch.OutOfMemoryError:
                    raise
                except Exception as error:  # no cell is at fault
                    raise StoppedError(f"compiling the networks failed: {described(error)}") from error
            stage.advance(1)

    def _sample(self, jobs: list[Job]) -> tuple[Tensor, Tensor]:
        denoiser, first = self.models.denoiser, jobs[0]
        latents = torch.stack([denoiser.initial_latents(job.noise_seed) for job in jobs])
        conditionings = [job.conditioning for job in jobs]
        negatives = [job.negative for job in jobs if job.negative is not None]
        # Where only one of an image's two captions is injected, the blocks read the other one as it is.
        rows = [part.rows if part.injected is None else part.injected for part in (*conditionings, *negatives)]
        sampler = self.models.file.sampler
        starts = [resize_area(load_image(job.start).pixels, sampler.width, sampler.height) for job in jobs if job.start]
        return denoiser.generate(
            [conditioning.steps for conditioning in conditionings],
            latents,
            Injection(rows, first.blocks) if first.blocks else None,
            Start(np.stack(starts), first.conditioning.strength) if starts else None,
            [negative.steps for negative in negatives] or None,
        )

    def _store(self, pixels: "_Transfer", count: int) -> list[str | None]:
        """Store `count` images; return their hashes, None for one not finite."""
        arrays, finite = pixels.arrays()
        return [self.store.save(arrays[i]) if finite[i] else None for i in range(count)]

    def _drain(self, in_flight: int) -> Iterator[Finished]:
        """Yield the oldest batches until few are in flight. Errors: StoppedError."""
        while len(self._in_flight) > in_flight:
            finished = self._finish(self._in_flight.popleft())
            yield finished
            self._failures.add([image.error for image in finished.images])

    def _finish(self, batch: _InFlightBatch) -> Finished:
        jobs, error = batch.jobs, batch.error
        for job in jobs:
            del self._pending[job.key]
        images: list[GeneratedImage] = []
        pixels = finite = None
        if batch.pixels is not None:
            try:
                with self.clock.time("denoise", 0):
                    pixels, finite = batch.pixels.arrays()
            except Exception as failure:  # of the device, which is waited for only here
                error = described(failure)
        if pixels is None or finite is None or batch.stored is None:
            for job in jobs:
                images += _outcomes(job, None, error)
            return Finished(images, [job.row() for job in jobs])
        with self.clock.time("save", int(finite[: len(jobs)].sum())):
            hashes = batch.stored.result()
        # Behind the jobs are the copies that fill the batch.
        for job, sha256, image in zip(jobs, hashes, pixels, strict=False):
            if sha256 is None:
                images += _outcomes(job, None, "the model generated values that are not finite")
            else:
                self.known[job.key] = sha256
                self.cache.keep(sha256, image)
                images += _outcomes(job, sha256, batch_size=batch.batch_size)
        return Finished(images, [job.row() for job in jobs])


def _outcomes(
    job: Job, image: str | None, error: str | None = None, batch_size: int | None = None
) -> list[GeneratedImage]:
    tokens = len(job.conditioning.rows)
    return [GeneratedImage(cell, job.sha256, image, tokens, error, batch_size) for cell in job.cells]


class _Transfer:
    """Images on their way to the host: uint8 (n, h, w, 3), and finiteness.

    Nothing waits until `arrays` is called, from whichever thread.
    """

    def __init__(self, pixels: Tensor, finite: Tensor) -> None:
        # torch copies into pinned memory here, without which the thread would wait for the device.
        self._host = [part.to("cpu", non_blocking=True) for part in (pixels, finite)]
        # A blocking event sleeps; a thread that polls takes a core from the others.
        self._arrived = torch.cuda.Event(blocking=True) if pixels.is_cuda else None
        if self._arrived is not None:
            self._arrived.record()

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Return both, once they have arrived."""
        if self._arrived is not None:
            self._arrived.synchronize()
        pixels, finite = (part.numpy() for part in self._host)
        return pixels, finite
