"""Report progress and stage times: bars, log lines or events."""

import json
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBars

LINE_EVERY = 10.0  # seconds between lines where there is no terminal
EVENT_EVERY = 1.0  # seconds between events


class Clock:
    """Wall time and number of things handled, by stage; stages may take turns."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.counts: defaultdict[str, int] = defaultdict(int)

    @contextmanager
    def time(self, stage: str, count: int = 1) -> Iterator[None]:
        """Add the block's time to `stage`, in which it handles `count` things."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] += time.perf_counter() - began
            self.counts[stage] += count


class Reporter:
    """Stages with counts, on stderr. `quiet` prints nothing.

    `events` prints one JSON object a line. Events are {"event": "progress", "stage", "done", "total", "failed",
    "per_second", "seconds_left"} at the begin of a stage (done 0), about once a second and at its end, {"event":
    "note", "text"}, and {"event": "interrupted"} on Ctrl-C.
    """

    def __init__(self, quiet: bool = False, events: bool = False) -> None:
        self.console = Console(stderr=True, quiet=quiet or events)
        self.events = events
        self.live = self.console.is_terminal and not self.console.quiet
        self.bars = ProgressBars(
            TextColumn("{task.description:<8}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeRemainingColumn(),
            console=self.console,
            disable=not self.live,
        )

    def __enter__(self) -> Self:
        self.bars.start()
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self.bars.stop()
        if isinstance(error, KeyboardInterrupt):
            self.event("interrupted")

    def stage(self, name: str, total: int) -> "Progress":
        """Begin a stage of `total` things."""
        stage = Progress(self, name, total, self.bars.add_task(name, total=total, note=""))
        stage.report()
        return stage

    def note(self, text: str) -> None:
        """Print a note to the user, and an event if events are wanted."""
        self.event("note", text=text)
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def event(self, name: str, **values: object) -> None:
        """Write an event, if events are wanted."""
        if self.events:
            sys.stderr.write(json.dumps({"event": name, **values}) + "\n")
            sys.stderr.flush()


class Progress:
    """One stage: how many are done, how fast, how many failed."""

    def __init__(self, reporter: Reporter, name: str, total: int, task: TaskID) -> None:
        self.reporter, self.name, self.total, self.task = reporter, name, total, task
        self.done, self.failed = 0, 0
        self.started = self.reported = time.monotonic()

    def expect(self, total: int) -> None:
        """Fewer or more things than thought are to be done in all."""
        if total != self.total:
            self.total = total
            self.reporter.bars.update(self.task, total=total)
            self.report()

    @property
    def rate(self) -> float:
        """Return things per second since the stage began; 0 before the first."""
        return self.done / max(time.monotonic() - self.started, 1e-9)

    @property
    def seconds_left(self) -> float | None:
        """Return the remaining time at this rate; None before the first is done."""
        return (self.total - self.done) / self.rate if self.done else None

    def advance(self, count: int, failed: int = 0) -> None:
        """Count `count` more as done, `failed` of them without success."""
        self.done += count
        self.failed += failed
        failures = f", [bold red]{self.failed} failed[/]" if self.failed else ""
        self.reporter.bars.update(self.task, completed=self.done, note=f"{self.rate:.1f}/s{failures}")
        every = EVENT_EVERY if self.reporter.events else LINE_EVERY
        if time.monotonic() - self.reported > every or self.done == self.total:
            self.report()

    def report(self) -> None:
        """Say how far the stage is: an event, or a line where there are no bars."""
        self.reported = time.monotonic()
        left = self.seconds_left
        self.reporter.event(
            "progress",
            stage=self.name,
            done=self.done,
            total=self.total,
            failed=self.failed,
            per_second=round(self.rate, 3),
            seconds_left=None if left is None else round(left, 1),
        )
        if not self.reporter.live:
            self.reporter.console.print(self.line(), highlight=False, markup=False, soft_wrap=True)

    def line(self) -> str:
        """Return the stage's progress in words."""
        parts = [f"{self.name}: {self.done}/{self.total}"]
        if self.done:
            parts.append(f"{self.rate:.1f}/s")
        if self.failed:
            parts.append(f"{self.failed} failed")
        if self.seconds_left:
            parts.append(f"about {duration(self.seconds_left)} left")
        return ", ".join(parts)


def duration(seconds: float) -> str:
    """Format seconds: 40 s, 12 min, 3 h 20 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
