"""A process with a device of its own that generates and scores for a run in another process."""

import os
import platform
import shutil
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from queue import SimpleQueue

from filelock import FileLock, Timeout

from blendbench.core.errors import UsageError
from blendbench.core.files import read_file, write_atomically
from blendbench.core.hashing import sha256_json
from blendbench.models.model_file import ModelSetFile
from blendbench.models.sets import ModelSet, load_model_set
from blendbench.registry.loading import load_everything
from blendbench.results.images import image_name
from blendbench.run.embeddings import FOLDER as EMBEDDINGS
from blendbench.run.engine import LocalEngine, Task
from blendbench.run.generate import Finished
from blendbench.run.inputs import View
from blendbench.run.plan import Cell, Missing
from blendbench.run.progress import Reporter
from blendbench.run.provenance import environment
from blendbench.run.ship import Description, Files, Message, SentFiles, Unit, pack, unpack_plan

_PREFIX = "blendbench-worker-"
_LOCK = "worker.lock"
_MARK = "workers.id"
_MOST = 16 << 30  # bytes of images and hidden states that a worker keeps
_FRESH = 60.0  # seconds in which a folder may not be locked yet


class _Notes(Reporter):
    """Keeps notes for the run's own reporter, and shows nothing."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        """Keep a note."""
        self.notes.append(text)


class Worker:
    """Generates and scores in a folder of its own.

    Methods may be called from several threads: while `generate` goes on, `offer` brings it units.
    """

    def __init__(self, models: str | Path, file: ModelSetFile, device: str, memory_budget: float | None) -> None:
        self.models = ModelSet(load_model_set(models).folder, file, device, memory_budget)
        # Workers that were killed on this machine have left their folders.
        for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
            try:
                if time.time() - folder.stat().st_mtime > _FRESH:
                    with FileLock(folder / _LOCK, timeout=0):
                        shutil.rmtree(folder, ignore_errors=True)
            except (Timeout, OSError):
                continue  # a worker has it, or it is somebody else's
        self.folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        self._lock = FileLock(self.folder / _LOCK)
        self._lock.acquire()
        self._kept = 0
        self._networks = threading.Lock()  # held while networks work

    def begin(self, plan: bytes, plugins: Sequence[str], results: Path, mark: str) -> Description:
        """Take a plan over; `mark` is what a file of the results folder says, if it is the same folder here.

        Errors: UsageError (plug-ins or models that are not here).
        """
        for path in plugins:
            load_everything(Path(path))
        unpacked = unpack_plan(plan)
        self._reporter = _Notes()
        self._cells = {cell.cell_id: cell for cell in unpacked.cells}
        self._task = Task(unpacked, self.models, self.folder, self._reporter)
        self._sees_results = is_marked(results, mark)
        self._engine = LocalEngine(self._task, results if self._sees_results else None)
        self._units: SimpleQueue[Unit | None] = SimpleQueue()
        self._wanted = threading.Semaphore(0)
        ahead = ("generate", *self._engine.scorer.groups_ahead)
        found = {"model set": self.models.sha256, "precision": self.models.dtype, **software()}
        behind = self.models.at_once(*ahead)
        return Description(platform.node(), os.getpid(), found, self.models.residency, behind, self._sees_results)

    def encode(self, views: Sequence[tuple[View, tuple[int, ...]]]) -> bytes:
        """Encode views at some layers; return their files.

        What cannot be encoded is left out: the cells that read it will say why.
        """
        files: Files = {}
        embeddings = self._engine.embeddings
        with self._networks:
            for view, layers in views:
                with self._task.clock.time("encode"):
                    embeddings.encode(view, layers)
                for path in (embeddings.path(embeddings.key(view, layer)) for layer in layers):
                    if path.is_file():
                        files[f"{EMBEDDINGS}/{path.name}"] = path.read_bytes()
        return self._packed(Message(None, files))

    def offer(self, unit: Unit | None, *files: SentFiles) -> None:
        """Take a unit, and return when another one is wanted; None ends `generate`."""
        for part in files:
            self._keep(part)
        self._units.put(unit)
        if unit is not None:
            self._wanted.acquire()

    def generate(self) -> Iterator[bytes]:
        """Yield the outcomes of offered units, until None was offered."""
        with self._networks:
            for outcome in self._engine.generate_encoded(self._offered()):
                files: Files = {}
                if isinstance(outcome, Finished) and not self._sees_results:
                    # Without a batch size an image was known before.
                    made = {image.image_sha256 for image in outcome.images if image.batch_size}
                    names = [image_name(sha256) for sha256 in made if sha256]
                    files = {name: (self.folder / name).read_bytes() for name in names}
                    self._kept += sum(map(len, files.values()))
                yield self._packed(Message(outcome, files))

    def score(self, cell_ids: Sequence[str], missing: Missing, images: dict[str, str], *files: SentFiles) -> bytes:
        """Score one batch; `images`: hashes of its cells' images, and of their baselines'."""
        for part in files:
            self._keep(part)
        with self._networks:
            self._task.images.update(images)
            with self._task.clock.time("measure", 0):
                scores = self._engine.scorer.score([self._cells[cell_id] for cell_id in cell_ids], missing)
        return self._packed(Message(scores, {}))

    def close(self) -> None:
        """Remove what the worker kept."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _offered(self) -> Iterator[Cell]:
        while (unit := self._units.get()) is not None:
            self._task.known.update(unit.known)
            self._task.images.update(unit.images)
            self._task.seen.update(unit.seen)
            for cell_id in unit.cell_ids:
                if cell_id == unit.cell_ids[-1]:
                    self._wanted.release()  # the next unit comes while this cell is blended
                yield self._cells[cell_id]

    def _packed(self, message: Message) -> bytes:
        """Pack a message with everything that was noted since the last."""
        notes, clock, task = self._reporter.notes, message.clock, self._task
        message.notes, notes[:] = list(notes), []
        clock.seconds.update(task.clock.seconds)
        clock.counts.update(task.clock.counts)
        task.clock.seconds.clear()
        task.clock.counts.clear()
        message.peaks, message.batch_size = dict(self._engine.peaks), self._engine.batch_size
        return pack(message)

    def _keep(self, files: SentFiles) -> None:
        """Write files to the folder of this worker; the oldest make room."""
        for name, data in files.items():
            path = self.folder / name
            if not path.is_file():
                path.parent.mkdir(parents=True, exist_ok=True)
                partial = path.with_name(f"{threading.get_ident()}-{path.name}")
                partial.write_bytes(data.tobytes())
                partial.replace(path)
                self._kept += data.nbytes
        if self._kept > _MOST:
            found = sorted((path.stat().st_mtime, path) for path in self.folder.glob("*/**/*.*") if path.is_file())
            for _, path in found[: len(found) // 2]:
                self._kept -= path.stat().st_size
                path.unlink()


def mark(results: Path) -> str:
    """Write a text into a results folder by which other machines know it, and return it."""
    text = uuid.uuid4().hex
    write_atomically(results / _MARK, text.encode())
    return text


def is_marked(results: Path, text: str) -> bool:
    """Return whether a results folder is the one that was marked with a text."""
    try:
        return read_file(results / _MARK, len(text)).decode() == text
    except (UsageError, UnicodeDecodeError):
        return False


def software() -> dict[str, str]:
    """Return what has to be the same on every machine: versions, and the hash of this package's code."""
    package = Path(__file__).parents[1]
    files = {str(path.relative_to(package)): path for path in package.rglob("*.py")}
    code = sorted((name, path.read_text("utf-8")) for name, path in files.items() if not name.startswith("_shipped"))
    versions = {name: version for name, version in environment().items() if name != "platform"}
    return versions | {"blendbench": sha256_json(code)}
