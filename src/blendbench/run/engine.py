"""Generate and score the cells of a run with networks in this process.

A run hands its cells to an engine and writes down what the engine yields; where the networks are is the engine's own
business.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Protocol

from blendbench.models.sets import ModelSet
from blendbench.results.images import ImageStore
from blendbench.run.blend import Blender
from blendbench.run.embeddings import FOLDER as EMBEDDINGS
from blendbench.run.embeddings import Embeddings
from blendbench.run.encode import Prefetch
from blendbench.run.generate import Finished, ImageGenerator
from blendbench.run.pixels import PixelCache
from blendbench.run.plan import Cell, Missing, Plan
from blendbench.run.progress import Clock, Reporter
from blendbench.run.score import Scorer, Scores

# Cells encoded ahead, at least. On an H200 they take longer to generate than the slowest encoder pass beside them: at
# 1024 pixels 7 s and 5 s.
_ENCODED_AHEAD = 8


@dataclass(frozen=True)
class Task:
    """A plan, and what is known of its cells.

    `folder` holds images and embeddings. `images`: hashes by cell id, which grow; `known`: by (conditioning, noise
    seed), which grow too; `seen`: cells that may have scores already. `stage`:
    the name under which the progress of generating is shown.
    """

    plan: Plan
    models: ModelSet
    folder: Path
    reporter: Reporter
    images: dict[str, str] = field(default_factory=dict)
    known: dict[tuple[str, int], str] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)
    clock: Clock = field(default_factory=Clock)
    stage: str = "images"


class Engine(Protocol):
    """Generates and scores the cells of a task.

    `peaks`: the most GPU memory that was allocated, in bytes, by stage.
    """

    peaks: dict[str, int]

    @property
    def batch_size(self) -> int:
        """Return the number of images generated at once in the end."""
        ...

    def generate(self, cells: Sequence[Cell]) -> Iterator[Finished | Scores]:
        """Yield outcomes of all cells, and scores measured meanwhile.

        Images of what is yielded are stored. Errors: StoppedError if all fail alike.
        """
        ...

    def score(self, missing: Missing) -> Iterator[Scores]:
        """Yield all missing scores, a batch at a time."""
        ...


class LocalEngine:
    """Generates and scores with the task's own model set."""

    def __init__(self, task: Task, images: Path | None = None) -> None:
        """Take a task; `images`: the results folder of its images, if that is another one."""
        self.task, self.models = task, task.models
        store = ImageStore(images or task.folder)
        cache = PixelCache(store)
        self.embeddings = Embeddings(task.folder / EMBEDDINGS, task.models)
        self.scorer = Scorer(task.plan, task.models, task.images, cache)
        self.prefetch = Prefetch(self.embeddings, task.plan.suite, task.clock, task.reporter)
        self.generator = ImageGenerator(
            self.prefetch.settings_lock,
            Blender(self.embeddings, task.plan.suite, task.models),
            task.models,
            store,
            task.known,
            cache,
            task.clock,
            task.reporter,
        )
        self.peaks: dict[str, int] = {}
        self._loading: Future[bool] | None = None
        self._note_peak()

    @property
    def batch_size(self) -> int:
        """Return the number of images generated at once."""
        return self.generator.batch_size

    def generate(self, cells: Sequence[Cell]) -> Iterator[Finished | Scores]:
        """Encode, blend and generate; score behind where the device has room for both."""
        with self.prefetch.of(cells) as prefetch:
            # All is encoded first, unless the networks fit on the device together.
            ahead, encoders = self.models.at_once("text", "vision", "generate"), self.prefetch.encoders
            # What cannot be loaded is reported at its first use, with nothing beside it.
            if encoders and not (ahead and self.models.load(*encoders, "denoiser")):
                self.prefetch.encode_all()
                self._note_peak("encode")
            progress = self.task.reporter.stage(self.task.stage, len(cells))
            for outcome in self.generate_encoded(prefetch.encoded(cells, max(_ENCODED_AHEAD, 2 * self.batch_size))):
                yield outcome
                if isinstance(outcome, Finished):
                    progress.advance(len(outcome.images), outcome.failed)
        self._note_peak("denoise")

    def generate_encoded(self, cells: Iterable[Cell]) -> Iterator[Finished | Scores]:
        """Blend and generate cells as they come."""
        for finished in self.generator.generate(cells):
            yield finished
            images = {i.cell.cell_id: i for i in finished.images if i.image_sha256}
            self.task.images.update({cell_id: str(image.image_sha256) for cell_id, image in images.items()})
            # A cell that had rows before may have scores of this very image: the database says which are missing.
            self.scorer.add(image.cell for cell_id, image in images.items() if cell_id not in self.task.seen)
            yield from self._score_behind()

    def score(self, missing: Missing) -> Iterator[Scores]:
        """Yield all missing scores, a batch at a time."""
        batches = self.scorer.score_rest(missing)
        while True:
            with self.task.clock.time("measure", 0):
                scores = next(batches, None)
            if scores is None:
                break
            yield scores
        self._note_peak("measure")

    def _score_behind(self) -> Iterator[Scores]:
        """Score full batches while the device generates, if it has room for both."""
        if not self.models.at_once("generate", *self.scorer.groups_ahead):
            return
        if self._loading is None:
            # Not before the device is busy. Libraries are imported here: two threads that import at once may find each
            # other's modules half made, and a child process that is forked meanwhile would wait for them in vain.
            with suppress(ImportError):  # reported at the first use
                import_module("blendbench.models.scorers")
            pool = ThreadPoolExecutor(1, "loader")
            self._loading = pool.submit(self._load_scorers)
            pool.shutdown(wait=False)
        if not self._loading.done():
            return
        # Better later than to wait for an encoder pass that is under way, but not later and later.
        if self.prefetch.settings_lock.acquire(blocking=self.scorer.is_behind):
            try:
                with self.models.beside(), self.task.clock.time("measure", 0):
                    yield from self.scorer.score_full()
            finally:
                self.prefetch.settings_lock.release()

    def _load_scorers(self) -> bool:
        """Load the scorers on the side; what cannot be loaded is reported at its first use."""
        with self.models.beside():
            return self.models.load(*self.scorer.networks)

    def _note_peak(self, stage: str | None = None) -> None:
        """Record the peak memory since the last call as that of `stage`."""
        peak = self.models.peak_memory()
        if stage and peak is not None:
            self.peaks[stage] = peak
