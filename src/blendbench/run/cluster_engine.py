"""Generate and score on the workers of a cluster.

Only the process of the run writes rows, and hidden states, which go through the object store both ways. Images are
stored by workers that reach the results folder; from others they come with their outcomes.
"""

import functools
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from blendbench.core.files import read_file, write_atomically
from blendbench.results.images import FOLDER as IMAGES
from blendbench.results.images import ImageStore, image_name
from blendbench.run.cluster import Cluster, Hand, WorkerLostError
from blendbench.run.embeddings import FOLDER as EMBEDDINGS
from blendbench.run.embeddings import Embeddings
from blendbench.run.encode import missing_views, read_views
from blendbench.run.engine import Task
from blendbench.run.failures import is_lost
from blendbench.run.generate import Finished, GeneratedImage
from blendbench.run.pixels import PixelCache
from blendbench.run.plan import Cell, Missing
from blendbench.run.score import Scorer, Scores
from blendbench.run.ship import Message, SentFiles, Unit, unpack

Job = TypeVar("Job")
_LARGEST = 1 << 32  # bytes of one file
_ENCODED_AT_ONCE = 4  # views
_AHEAD = 2  # calls that wait at a worker
_MOST_LOST = 3  # workers lost over a unit, after which its cells fail


@dataclass(eq=False)
class _Group:
    """Cells of one item and seed: `left` to be generated, with `files` of the results folder that they read."""

    left: dict[str, Cell]
    files: list[str] = field(default_factory=list)
    losses: int = 0


@dataclass(eq=False)
class _Line:
    """A worker that generates: its outcomes, what resolves when it wants a group, and the groups that it has."""

    stream: Any
    offer: Any = None
    groups: list[_Group] = field(default_factory=list)


class ClusterEngine:
    """Generates and scores the cells of a task on a cluster."""

    def __init__(self, cluster: Cluster, task: Task) -> None:
        self.cluster, self.task = cluster, task
        self._scores_behind = cluster.begin(task.plan, task.models, task.folder).scores_behind
        self._store = ImageStore(task.folder)
        self._embeddings = Embeddings(task.folder / EMBEDDINGS, task.models)
        self._key = functools.cache(self._embeddings.key)
        self._cells = {cell.cell_id: cell for cell in task.plan.cells}
        self._shared: dict[str, Any] = {}
        self._uses: Counter[str] = Counter()
        self.batch_size = task.models.file.sampler.batch_size  # of the smallest device
        self.peaks: dict[str, int] = {}

    def generate(self, cells: Sequence[Cell]) -> Iterator[Finished | Scores]:
        """Encode everything once, then generate group by group, the longest captions first."""
        self._encode(cells)
        progress = self.task.reporter.stage(self.task.stage, len(cells))
        for outcome in self._closing(self._generated(self._groups(cells))):
            yield outcome
            if isinstance(outcome, Finished):
                progress.advance(len(outcome.images), outcome.failed)

    def score(self, missing: Missing) -> Iterator[Scores]:
        """Yield the rows of all missing scores, a batch at a time."""
        scorer = Scorer(self.task.plan, self.task.models, self.task.images, PixelCache(self._store))
        self._uses.clear()

        def call(hand: Hand, job: tuple[list[Cell], Missing]) -> Any:
            batch, part = job
            both = {cell.cell_id for cell in batch} | {self.task.plan.baseline_of(cell).cell_id for cell in batch}
            images = {cell_id: self.task.images[cell_id] for cell_id in both if cell_id in self.task.images}
            files = self._sent(hand, [image_name(sha256) for sha256 in sorted(set(images.values()))])
            return hand.actor.score.remote([cell.cell_id for cell in batch], part, images, *files)

        for _, message in self._closing(self._each(scorer.batches(missing), call)):
            if isinstance(message.outcome, Scores):
                yield message.outcome

    def _encode(self, cells: Sequence[Cell]) -> None:
        missing = missing_views(cells, self._embeddings, self.task.plan.suite)
        if not missing:
            return
        progress = self.task.reporter.stage("encode", len(missing))
        # One encoder after the other: they may not fit on a device together.
        parts = [[entry for entry in missing.items() if (entry[0].image is None) == text] for text in (True, False)]
        jobs = [part[i : i + _ENCODED_AT_ONCE] for part in parts for i in range(0, len(part), _ENCODED_AT_ONCE)]
        for job, message in self._closing(self._each(jobs, lambda hand, job: hand.actor.encode.remote(job))):
            for name, data in message.files.items():
                path = self.task.folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(path, data)
            progress.advance(len(job))

    def _groups(self, cells: Sequence[Cell]) -> list[_Group]:
        """Return groups of cells that share inputs, the longest captions first."""
        groups: dict[tuple[str, int], _Group] = {}
        for cell in cells:
            groups.setdefault((cell.item.id, cell.seed), _Group({})).left[cell.cell_id] = cell
        for group in groups.values():
            group.files = self._files(group.left.values())
        self._uses = Counter(name for group in groups.values() for name in group.files)
        return sorted(groups.values(), key=lambda group: -len(next(iter(group.left.values())).item.prompt))

    def _files(self, cells: Iterable[Cell]) -> list[str]:
        """Return the files that cells read: hidden states and, to score them, their baseline's image."""
        views = read_views(cells, self._embeddings, self.task.plan.suite)
        keys = {self._key(view, layer) for view, layers in views.items() for layer in layers}
        names = [f"{EMBEDDINGS}/{key}.safetensors" for key in sorted(keys)]
        if self._scores_behind:
            baselines = {self.task.plan.baseline_of(cell).cell_id for cell in cells}
            names += [image_name(self.task.images[c]) for c in sorted(baselines) if c in self.task.images]
        return [name for name in names if (self.task.folder / name).is_file()]

    def _generated(self, groups: list[_Group]) -> Iterator[Finished | Scores]:
        waiting, lines = deque(groups), dict[Hand, _Line]()
        while lines or any(group.left for group in groups):
            for hand in self.cluster.hands:
                if hand.description and hand not in lines and waiting:
                    lines[hand] = _Line(hand.actor.generate.options(num_returns="streaming").remote())
                    self._offer(hand, lines[hand], waiting)
            waited = [part for line in lines.values() for part in (line.stream, line.offer) if part is not None]
            ready, outcomes = self.cluster.welcome_next(*waited), list[Finished | Scores]()
            try:
                for hand in list(lines):
                    outcomes += self._advance(hand, lines, ready, waiting)
            finally:
                yield from _together(outcomes)

    def _advance(
        self, hand: Hand, lines: dict[Hand, _Line], ready: list[Any], waiting: deque[_Group]
    ) -> Iterator[Finished | Scores]:
        """Do what a worker is ready for: give it a group, and yield its next outcome."""
        line = lines[hand]
        try:
            if line.offer in ready:
                self.cluster.get(line.offer)
                self._offer(hand, line, waiting)
            if line.stream in ready:
                outcome = self._next(line)
                if outcome is None:
                    del lines[hand]
                else:
                    yield outcome
        except WorkerLostError as error:
            yield from self._lost(hand, lines.pop(hand), waiting, str(error))

    def _offer(self, hand: Hand, line: _Line, waiting: deque[_Group]) -> None:
        """Give a worker its next group, or the end."""
        line.groups = [group for group in line.groups if group.left]
        if not waiting:
            hand.actor.offer.remote(None)
            line.offer = None
            return
        group = waiting.popleft()
        line.groups.append(group)
        some = next(iter(group.left.values()))
        baselines = {self.task.plan.baseline_of(cell).cell_id for cell in group.left.values()}
        unit = Unit(
            tuple(group.left),
            {key: image for key, image in self.task.known.items() if key[1] == some.noise_seed},
            {cell_id: self.task.images[cell_id] for cell_id in baselines if cell_id in self.task.images},
            frozenset(self.task.seen & group.left.keys()),
        )
        line.offer = hand.actor.offer.remote(unit, *self._sent(hand, group.files))

    def _next(self, line: _Line) -> Finished | Scores | None:
        """Return a worker's next outcome, None after the last. Errors: WorkerLostError."""
        try:
            reference = next(line.stream)
        except StopIteration:
            return None
        message = self._received(self.cluster.get(reference))
        outcome = message.outcome
        if isinstance(outcome, Finished):
            if reason := next((image.error for image in outcome.images if is_lost(image.error)), None):
                raise WorkerLostError(reason)
            for data in message.files.values():
                self._store.save_bytes(data)
            self._settle(outcome, line.groups)
        elif outcome and outcome.lost:
            raise WorkerLostError(outcome.lost)
        return outcome

    def _settle(self, outcome: Finished, groups: list[_Group]) -> None:
        for image in outcome.images:
            for group in groups:
                group.left.pop(image.cell.cell_id, None)
            if image.image_sha256 and image.conditioning_sha256:
                self.task.images[image.cell.cell_id] = image.image_sha256
                self.task.known[image.conditioning_sha256, image.cell.noise_seed] = image.image_sha256

    def _lost(self, hand: Hand, line: _Line, waiting: deque[_Group], reason: str) -> Iterator[Finished]:
        """Give the groups of a lost worker to others; those that several were lost over fail."""
        self.task.reporter.note(f"a worker is lost, its unfinished cells go to others: {reason}")
        for group in line.groups:
            group.losses += bool(group.left)
            if group.losses < _MOST_LOST and group.left:
                waiting.appendleft(group)
            elif group.left:
                cells = list(group.left.values())
                group.left.clear()
                yield Finished(
                    [GeneratedImage(c, error=f"{group.losses} workers were lost: {reason}") for c in cells], []
                )
        self.cluster.replace(hand, reason)

    def _each(self, jobs: Iterable[Job], call: Callable[[Hand, Job], Any]) -> Iterator[tuple[Job, Message]]:
        """Yield each job with the message of the worker that did it."""
        waiting, under_way = deque(jobs), dict[Any, tuple[Hand, Job]]()
        while waiting or under_way:
            for hand in self.cluster.hands * _AHEAD:
                if hand.description and waiting and sum(has is hand for has, _ in under_way.values()) < _AHEAD:
                    job = waiting.popleft()
                    under_way[call(hand, job)] = (hand, job)
            for ready in self.cluster.welcome_next(*under_way):
                if ready not in under_way:
                    continue  # its worker was lost with another call
                hand, job = under_way.pop(ready)
                try:
                    message = self._received(self.cluster.get(ready))
                except WorkerLostError as error:
                    again = [job, *(other for has, other in under_way.values() if has is hand)]
                    under_way = {key: entry for key, entry in under_way.items() if entry[0] is not hand}
                    waiting.extendleft(again)
                    self.cluster.replace(hand, str(error))
                    continue
                yield job, message

    def _sent(self, hand: Hand, names: list[str]) -> list[Any]:
        """Return references to files that a worker lacks, each of which is read once for all workers."""
        sees = hand.description is not None and hand.description.sees_results
        fresh = [name for name in names if name not in hand.sent and not (sees and name.startswith(IMAGES))]
        hand.sent.update(fresh)
        own: SentFiles = {}
        references = []
        for name in fresh:
            if self._uses[name] == 1:
                own[name] = self._read(name)
                continue
            if name not in self._shared:
                self._shared[name] = self.cluster.ray.put({name: self._read(name)})
            references.append(self._shared[name])
        return [*references, own]

    def _read(self, name: str) -> NDArray[np.uint8]:
        return np.frombuffer(read_file(self.task.folder / name, _LARGEST), np.uint8)

    def _received(self, data: bytes) -> Message:
        """Unpack a message, and take over what it says beside its outcome."""
        message = unpack(data, self._cells)
        for note in message.notes:
            self.task.reporter.note(note)
        for stage, seconds in message.clock.seconds.items():
            self.task.clock.seconds[stage] += seconds
        for stage, count in message.clock.counts.items():
            self.task.clock.counts[stage] += count
        for stage, peak in message.peaks.items():
            self.peaks[stage] = max(peak, self.peaks.get(stage, 0))
        self.batch_size = min(self.batch_size, message.batch_size)
        return message

    def _closing(self, results: Iterator[Job]) -> Iterator[Job]:
        """Yield results; end the workers if they are not taken to the end, as what they do is nobody's then."""
        finished = False
        try:
            yield from results
            finished = True
        finally:
            if not finished:
                self.cluster.close()


def _together(outcomes: list[Finished | Scores]) -> Iterator[Finished | Scores]:
    """Yield outcomes as few: what is written down at once waits for the disk once."""
    finished = [outcome for outcome in outcomes if isinstance(outcome, Finished)]
    scores = [outcome for outcome in outcomes if isinstance(outcome, Scores)]
    if finished:
        images = [image for each in finished for image in each.images]
        yield Finished(images, [row for each in finished for row in each.conditionings])
    if scores:
        errors = {key: error for each in scores for key, error in each.errors.items()}
        yield Scores([line for each in scores for line in each.lines], errors)
