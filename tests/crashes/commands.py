"""Commands of a small results folder, in forked children that can be killed or refused a file operation."""

import os
import resource
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from blendbench.core.errors import UsageError
from blendbench.core.files import file_error
from blendbench.core.suites import load_suite
from blendbench.models.sets import ModelSet
from blendbench.reports.leaderboard import write_leaderboard
from blendbench.reports.published import publish
from blendbench.results import schema
from blendbench.results.store import DATABASE, open_results
from blendbench.run.experiments import Grid, load_experiment
from blendbench.run.loop import run
from blendbench.run.plan import Plan, make_plan
from blendbench.run.progress import Reporter

METRICS = ("effect_size", "grid_energy", "color_drift", "blockiness")
# Events of files that change something; each is a point to be killed at.
EVENTS = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate")
Task = Callable[[Path], object]


class Folder:
    """A results folder whose commands can be killed."""

    def __init__(self, plan: Plan, models: ModelSet) -> None:
        self.plan, self.models = plan, models

    def tasks(self) -> dict[str, tuple[Task, Task]]:
        """Return what comes before each command, and the command."""
        return {
            "run": (_nothing, self.run),
            "ingest into a new database": (self.run_without_database, _ingest),
            "ingest into an old database": (self.run_twice_with_old_database, _ingest),
            "leaderboard": (self.run, _leaderboard),
            "gallery": (self.run, _gallery),
            "publish": (self.run, _publish),
            "site": (self.published, _site),
        }

    def run(self, folder: Path) -> object:
        """Generate what is left."""
        return run(self.plan, self.models, folder / "results", Reporter(quiet=True))

    def run_without_database(self, folder: Path) -> None:
        """Leave shards alone."""
        self.run(folder)
        (folder / "results" / DATABASE).unlink()

    def run_twice_with_old_database(self, folder: Path) -> None:
        """Leave a database that a later run is not in."""
        first = replace(self.plan, cells=self.plan.cells[: len(self.plan.cells) // 2])
        run(first, self.models, folder / "results", Reporter(quiet=True))
        old = (folder / "results" / DATABASE).read_bytes()
        self.run(folder)
        (folder / "results" / DATABASE).write_bytes(old)

    def published(self, folder: Path) -> None:
        """Leave published pages."""
        self.run(folder)
        _publish(folder)


def _nothing(folder: Path) -> None:
    folder.mkdir(exist_ok=True)


def _ingest(folder: Path) -> object:
    return open_results(folder / "results").rows("SELECT count(*) FROM cells")


def _leaderboard(folder: Path) -> object:
    return write_leaderboard(folder / "results", folder / "reports", "crash")


def _gallery(folder: Path) -> object:
    from blendbench.reports.gallery.write import write_gallery

    with open_results(folder / "results").held() as opened:
        return write_gallery(opened, folder / "results", experiment="crash")


def _publish(folder: Path) -> object:
    return publish(folder / "results", folder / "published", ["crash"])


def _site(folder: Path) -> object:
    from blendbench.reports.site.write import write_site

    return write_site(folder / "published", folder / "site")


def in_child(
    task: Task,
    folder: Path,
    log: Path,
    point: int = 0,
    error: int = 0,
    count: Path | None = None,
    largest: int | None = None,
) -> int:
    """Fork, and do a task; the process id.

    The child kills itself at its `point`th file operation, or gets an `error` from that and all later ones; or it
    writes the number of operations to `count`. No file can grow beyond `largest` bytes. The exit code is 2 if the task
    is refused in one line, and 1 after any other exception.
    """
    pid = os.fork()
    if pid:
        return pid
    code, unlimited = 1, resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
        schema._trial_database.cache_clear()  # its threads are the parent's
        seen = _watch(point, error)
        if largest is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest, unlimited[1]))
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        task(folder)
        if count is not None:
            count.write_text(str(seen[0]))
        code = 0
    except (UsageError, OSError) as caught:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)  # the log is a file too
        refusal = caught if isinstance(caught, UsageError) else file_error(caught)
        os.write(2, f"{refusal or repr(caught)}\n".encode())
        code = 1 if refusal is None else 2
    except BaseException:
        import traceback

        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(code)


def _watch(point: int, error: int) -> list[int]:
    seen = [0]

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        writes = event == "open" and len(arguments) > 2 and isinstance(arguments[2], int) and arguments[2] & 3
        if writes or event in EVENTS:
            seen[0] += 1
            if error and event != "os.remove" and seen[0] >= point:
                raise OSError(error, os.strerror(error))
            if seen[0] == point and not error:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    return seen


def finished(pid: int) -> int:
    """Wait for a child; its exit code, negative if a signal ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def plan_of(models: ModelSet) -> Plan:
    """Return a plan of some batches: cells that share images, that fail and that need a reference."""
    grids = (Grid("lerp", (("alpha", (0.1, 0.6)),)), Grid("concatenate", ()))
    base = replace(load_experiment("smoke"), name="crash", items=2, controls=False, metrics=METRICS, strategies=grids)
    return make_plan(base, load_suite("miniature"), models)
