"""Progress on the terminal and the time of each stage: bars where there is a terminal, else a line now and then."""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

LINE_EVERY = 10.0  # seconds between lines where there is no terminal


class Clock:
    """Wall time and number of things handled, by stage; stages may take turns."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.counts: defaultdict[str, int] = defaultdict(int)

    @contextmanager
    def time(self, stage: str, count: int = 1) -> Iterator[None]:
        """Add the time of the block to `stage`, in which it handles `count` things."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] += time.perf_counter() - began
            self.counts[stage] += count


class Reporter:
    """Stages with counts; `quiet` prints nothing."""

    def __init__(self, quiet: bool = False) -> None:
        self.console = Console(stderr=True, quiet=quiet)
        self.live = self.console.is_terminal and not quiet
        self.bars = Progress(
            TextColumn("{task.description:<8}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[note]}"),
            TimeRemainingColumn(), console=self.console, disable=not self.live,
        )  # fmt: skip

    def __enter__(self) -> Self:
        self.bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bars.stop()

    def stage(self, name: str, total: int) -> "Stage":
        """Begin a stage of `total` things."""
        return Stage(self, name, total, self.bars.add_task(name, total=total, note=""))


class Stage:
    """One stage: how many are done, how fast, how many failed."""

    def __init__(self, reporter: Reporter, name: str, total: int, task: TaskID) -> None:
        self.reporter, self.name, self.total, self.task = reporter, name, total, task
        self.done, self.failed = 0, 0
        self.started = self.printed = time.monotonic()

    def advance(self, count: int, failed: int = 0) -> None:
        """`count` more are done, `failed` of them without success."""
        self.done += count
        self.failed += failed
        rate = self.done / max(time.monotonic() - self.started, 1e-9)
        note = f"{rate:.1f}/s" + (f", {self.failed} failed" if self.failed else "")
        self.reporter.bars.update(self.task, completed=self.done, note=note)
        if not self.reporter.live and (time.monotonic() - self.printed > LINE_EVERY or self.done == self.total):
            self.printed = time.monotonic()
            self.reporter.console.print(f"{self.name}: {self.done}/{self.total}, {note}", highlight=False)
