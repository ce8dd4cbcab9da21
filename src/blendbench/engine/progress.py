"""Progress on the terminal: bars where there is one, a line now and then where there is none."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class Reporter:
    """Stages with counts; `quiet` prints nothing."""

    def __init__(self, quiet: bool = False) -> None:
        self.console = Console(stderr=True, quiet=quiet)
        self.live = self.console.is_terminal and not quiet
        self.bars = Progress(
            TextColumn("{task.description:<8}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[note]}"),
            TimeRemainingColumn(), console=self.console, disable=not self.live,
        )  # fmt: skip
        self.failures = 0

    def __enter__(self) -> Self:
        self.bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bars.stop()

    def stage(self, name: str, total: int) -> "Stage":
        """Begin a stage of `total` things."""
        return Stage(self, name, total)


class Stage:
    """One stage: how many are done, how fast, how many failed."""

    def __init__(self, reporter: Reporter, name: str, total: int) -> None:
        self.reporter, self.name, self.total = reporter, name, total
        self.done, self.started, self.printed = 0, time.monotonic(), time.monotonic()
        self.task = reporter.bars.add_task(name, total=total, note="")

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    def advance(self, count: int, failed: int = 0) -> None:
        """`count` more are done, `failed` of them without success."""
        self.done += count
        self.reporter.failures += failed
        rate = self.done / max(self.seconds, 1e-9)
        note = f"{rate:.1f}/s" + (f", {self.reporter.failures} failed" if self.reporter.failures else "")
        self.reporter.bars.update(self.task, completed=self.done, note=note)
        if not self.reporter.live and (time.monotonic() - self.printed > 10 or self.done == self.total):
            self.printed = time.monotonic()
            self.reporter.console.print(f"{self.name}: {self.done}/{self.total}, {note}", highlight=False)
