"""Encoder passes of a run, each once, at once or some cells ahead."""

import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Self

from blendbench.core.suites import Suite
from blendbench.run.embeddings import Embeddings
from blendbench.run.inputs import Input, View, inputs_of, negative_inputs
from blendbench.run.plan import Cell
from blendbench.run.progress import Clock, Progress, Reporter


def read_views(cells: Iterable[Cell], embeddings: Embeddings, suite: Suite) -> dict[View, set[int]]:
    """Map each view that a cell reads to its layers."""
    wanted: dict[View, set[int]] = {}
    for cell in cells:
        for entry in _inputs(cell, embeddings, suite):
            layers = {embeddings.text_layer} if entry.view.image is None else cell.configuration.layers
            wanted.setdefault(entry.view, set()).update(layers)
    return wanted


def missing_views(cells: Iterable[Cell], embeddings: Embeddings, suite: Suite) -> dict[View, tuple[int, ...]]:
    """Map each missing view that a cell reads to its missing layers."""
    wanted = read_views(cells, embeddings, suite)
    found = {view: embeddings.missing_layers(view, layers) for view, layers in wanted.items()}
    return {view: layers for view, layers in found.items() if layers}


def _inputs(cell: Cell, embeddings: Embeddings, suite: Suite) -> Iterator[Input]:
    yield from inputs_of(cell.configuration, cell.item, suite)
    yield from negative_inputs(cell.configuration, cell.item, suite, embeddings.models.file.sampler)


class Prefetch:
    """Encode missing views: all (`encode_all`), or some cells ahead.

    A thread encodes ahead. `settings_lock` is held during an encoder pass of that thread; process-wide torch settings
    (TF32, compilation) must not change while it is held.
    """

    def __init__(self, embeddings: Embeddings, suite: Suite, clock: Clock, reporter: Reporter) -> None:
        self.embeddings, self.suite, self.clock, self.reporter = embeddings, suite, clock, reporter
        self.settings_lock = threading.Lock()
        self._waiting: dict[View, tuple[int, ...]] = {}
        self._begun: dict[View, Future[None]] = {}
        self._stage: Progress | None = None
        self._worker = ThreadPoolExecutor(1, "encoder")

    @contextmanager
    def of(self, cells: Sequence[Cell]) -> Iterator[Self]:
        """Encode what is missing of `cells`; end with what is under way."""
        self._waiting = missing_views(cells, self.embeddings, self.suite)
        self._stage = self.reporter.stage("encode", len(self._waiting)) if self._waiting else None
        try:
            yield self
        finally:
            self._worker.shutdown(cancel_futures=True)

    @property
    def encoders(self) -> list[str]:
        """Return the parts of the model set that the passes need."""
        return sorted({"text" if view.image is None else "vision" for view in self._waiting})

    def encode_all(self) -> None:
        """Encode everything, one encoder after the other to save memory."""
        for view, layers in sorted(self._waiting.items(), key=lambda entry: entry[0].image is not None):
            with self._counted():
                self.embeddings.encode(view, layers)
        self._waiting.clear()

    def encoded(self, cells: Sequence[Cell], ahead: int) -> Iterator[Cell]:
        """Yield each cell once it is encoded, and encode the next `ahead` meanwhile."""
        for i, cell in enumerate(cells):
            self.request(cells[i : i + 1 + ahead])
            self.wait(cell)
            yield cell

    def request(self, cells: Iterable[Cell]) -> None:
        """Request encoding of what `cells` read and is missing, in this order."""
        if not self._waiting:
            return
        for view in self._views(cells):
            if layers := self._waiting.pop(view, None):
                self._begun[view] = self._worker.submit(self._encode, view, layers)

    def wait(self, cell: Cell) -> None:
        """Wait until everything that a requested `cell` reads is encoded."""
        if not self._begun:
            return
        for view in self._views([cell]):
            if encoding := self._begun.pop(view, None):
                with self._counted():
                    encoding.result()

    def _views(self, cells: Iterable[Cell]) -> list[View]:
        found = (entry.view for cell in cells for entry in _inputs(cell, self.embeddings, self.suite))
        return list(dict.fromkeys(found))

    def _encode(self, view: View, layers: tuple[int, ...]) -> None:
        with self.settings_lock, self.embeddings.models.beside():
            self.embeddings.encode(view, layers)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        with self.clock.time("encode"):
            yield
        if self._stage is not None:
            self._stage.advance(1)
