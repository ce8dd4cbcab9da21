"""Kill commands with -9 at random moments and at file operations, or let files not grow; finish, and compare.

    python tests/crashes/crash.py --kills 200

Commands run in forked children, which have all imports and networks: a trial takes a second. What is compared: every
table but what names the run and its times, the hash of every image, and every page, byte for byte. Exit code 1 if there
is a difference, a leftover that breaks the next call, or a batch that was generated more than twice.
"""

import argparse
import hashlib
import json
import os
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # a forked child has no other threads

from blendbench.core.errors import UsageError
from blendbench.core.files import file_error, write_atomically
from blendbench.core.suites import load_suite
from blendbench.models.sets import ModelSet, load_model_set
from blendbench.reports.leaderboard import write_leaderboard
from blendbench.reports.published import publish
from blendbench.results import schema
from blendbench.results.store import DATABASE, open_results
from blendbench.run.experiments import Grid, load_experiment
from blendbench.run.loop import run
from blendbench.run.plan import Plan, make_plan
from blendbench.run.progress import Reporter

BATCH = 2
NAMES = (
    *("run", "ingest into a new database", "ingest into an old database"),
    *("leaderboard", "gallery", "publish", "site"),
)
LIMITS = (0, 100, 1000, 10_000, 30_000, 100_000, 1_000_000)  # bytes that a file may have
METRICS = ("effect_size", "grid_energy", "color_drift", "blockiness")
# Events of files that change something; each is a point to be killed at.
EVENTS = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate")
# Columns that name a run, its time or its machine.
OF_RUNS = re.compile(r"run_id|sequence|shard|.*_at|seconds|times|count|environment|peak.*|name|sha256|bytes|torn")
# Files that may differ, but not half-written ones.
_RECORDS = r"results/(shards|embeddings|.*\.lock|blendbench|images/verified)(?!.*\.partial)"
RUNS_ONLY = ("stage_times", "stage_memory", "shards", "runs")
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
    from blendbench.reports.gallery import write_gallery

    with open_results(folder / "results").held() as opened:
        return write_gallery(opened, folder / "results", experiment="crash")


def _publish(folder: Path) -> object:
    return publish(folder / "results", folder / "published", ["crash"])


def _site(folder: Path) -> object:
    from blendbench.reports.site import write_site

    return write_site(folder / "published", folder / "site")


def in_child(
    task: Task, folder: Path, log: Path, point: int = 0, count: Path | None = None, largest: int | None = None
) -> int:
    """Fork, and do a task; the process id.

    The child kills itself at its `point`th file operation, or writes the number of these to `count`. No file can grow
    beyond `largest` bytes. The exit code is 2 if the task is refused in one line, and 1 after any other exception.
    """
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
        schema._trial_database.cache_clear()  # its threads are the parent's
        seen = _watch(point)
        if largest is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        task(folder)
        if count is not None:
            count.write_text(str(seen[0]))
        code = 0
    except (UsageError, OSError) as error:
        refusal = error if isinstance(error, UsageError) else file_error(error)
        os.write(2, f"{error!r}\n".encode())
        code = 1 if refusal is None else 2
    except BaseException:
        import traceback

        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(code)


def _watch(point: int) -> list[int]:
    seen = [0]

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        writes = event == "open" and len(arguments) > 2 and isinstance(arguments[2], int) and arguments[2] & 3
        if writes or event in EVENTS:
            seen[0] += 1
            if seen[0] == point:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    return seen


def finished(pid: int) -> int:
    """Wait for a child; its exit code, negative if a signal ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def contents(folder: Path) -> dict[str, Any]:
    """Return all that must not depend on interruptions."""
    found: dict[str, Any] = {}
    results = open_results(folder / "results")
    with results.connect() as connection:
        for (table,) in connection.execute("SELECT table_name FROM duckdb_tables() ORDER BY 1").fetchall():
            frame = connection.execute(f'FROM "{table}"').df()
            kept = [column for column in frame.columns if not OF_RUNS.fullmatch(column) or table == "metrics"]
            kept = [column for column in kept if table != "metrics" or column not in ("run_id", "sequence")]
            if table not in RUNS_ONLY:
                found[table] = sorted(map(repr, frame[kept].drop_duplicates().itertuples(index=False)))
    runs = set(results.query("SELECT run_id FROM runs")["run_id"])
    for path in sorted(folder.rglob("*")):
        place = path.relative_to(folder).as_posix()
        if path.is_file() and not re.match(_RECORDS, place):
            found[place] = hashlib.sha256(_without_runs(path, runs)).hexdigest()
    return found


def _without_runs(path: Path, runs: set[str]) -> bytes:
    """Return a page without the names of its runs and their times."""
    data = path.read_bytes()
    for name in runs:
        data = data.replace(name.encode(), b"RUN")
    return re.sub(rb"20\d\d-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(\.\d+)?(Z|[+]00:00)?", b"TIME", data)


def generated(folder: Path) -> list[str]:
    """Return the cells of all rows of shards that hold an image, with repetitions."""
    rows = [
        line
        for path in sorted((folder / "results" / "shards").glob("*.jsonl"))
        for line in path.read_bytes().splitlines()
        if b'"table":"cell_batches"' in line
    ]
    return [re.findall(rb'"cell_id":"(\w+)"', line)[0].decode() for line in rows]


class Trials:
    """Kill, finish and compare; with a state file, go on where an earlier process ended."""

    def __init__(self, folder: Folder, place: Path, seed: int, state: Path | None = None) -> None:
        self.folder, self.place, self.seed, self.state = folder, place, seed, state
        self.rows: list[dict[str, Any]] = []
        if state is not None and state.exists() and not (known := json.loads(state.read_text()))["finished"]:
            self.rows = known["rows"]

    @property
    def differences(self) -> list[str]:
        return [difference for row in self.rows for difference in row["found"]]

    @property
    def repeated(self) -> int:
        return max(row["repeated"] for row in self.rows)

    @property
    def count(self) -> int:
        return sum(row["trials"] for row in self.rows)

    def whole(self, name: str) -> tuple[Path, dict[str, Any], float, int]:
        """Do a command without interruption; its folder before, what it makes, its time and its file operations."""
        before, task = self.folder.tasks()[name]
        start, whole, log = self.place / "start", self.place / "whole", self.place / "log"
        for path in (start, whole):
            shutil.rmtree(path, ignore_errors=True)
        start.mkdir()
        self._must(finished(in_child(before, start, log)), name, log)
        shutil.copytree(start, whole, copy_function=shutil.copy2)
        began = time.monotonic()
        self._must(finished(in_child(task, whole, log, count=self.place / "count")), name, log)
        seconds = time.monotonic() - began
        return start, contents(whole), seconds, int((self.place / "count").read_text())

    def kill(self, name: str, kills: int) -> None:
        """Kill one command at file operations and at random moments, in turn."""
        row = self._row(name, "killed with -9")
        if row["trials"] >= kills:
            return
        start, expected, seconds, points = self.whole(name)
        cells = len(set(generated(self.place / "whole")))
        task = self.folder.tasks()[name][1]
        order = list(range(1, points + 1))
        random.Random(f"{self.seed} {name}").shuffle(order)
        for number in range(row["trials"], kills):
            rng = random.Random(f"{self.seed} {name} {number}")
            point = 0 if number % 2 else order[number // 2 % points]
            delay = rng.uniform(0, seconds)
            folder, log = self._copy(start), self.place / "log"
            for _ in range(rng.choice([1, 1, 2])):
                pid = in_child(task, folder, log, point)
                if not point:
                    time.sleep(delay)
                    os.kill(pid, signal.SIGKILL)
                finished(pid)
            where = f"{name} killed at {f'file operation {point}' if point else f'{delay:.2f} s'}"
            self._finish(row, where, task, expected)
            row["repeated"] = max(row["repeated"], len(generated(folder)) - cells)
            row["remark"] = f"{points} file operations; at most {row['repeated']} cells repeated"
            self._save()
        print(row, flush=True)

    def fill(self, name: str, limits: Sequence[int]) -> None:
        """Let no file grow beyond each of some sizes, as on a full disk."""
        row = self._row(name, "files cannot grow")
        if row["trials"] >= len(limits):
            return
        start, expected, *_ = self.whole(name)
        task = self.folder.tasks()[name][1]
        row["remark"] = f"limits from {limits[0]} to {limits[-1]:,} bytes"
        for largest in limits[row["trials"] :]:
            folder, log = self._copy(start), self.place / "log"
            log.unlink()
            where = f"{name} with files of at most {largest} bytes"
            if finished(in_child(task, folder, log, largest=largest)) not in (0, 2):
                row["found"].append(f"{where}: {log.read_text()[-800:]}")
            self._finish(row, where, task, expected)
            self._save()
        print(row, flush=True)

    def end(self) -> None:
        """Let the next process begin anew."""
        self._save(finished=True)

    def _row(self, name: str, what: str) -> dict[str, Any]:
        for row in self.rows:
            if (row["command"], row["what"]) == (name, what):
                return row
        row = {"command": name, "what": what, "trials": 0, "remark": "", "repeated": 0, "found": []}
        self.rows.append(row)
        return row

    def _save(self, finished: bool = False) -> None:
        if self.state is not None:
            write_atomically(self.state, json.dumps({"finished": finished, "rows": self.rows}, indent=1).encode())

    def _copy(self, start: Path) -> Path:
        folder = self.place / "killed"
        shutil.rmtree(folder, ignore_errors=True)
        return Path(shutil.copytree(start, folder, copy_function=shutil.copy2))

    def _finish(self, row: dict[str, Any], where: str, task: Task, expected: dict[str, Any]) -> None:
        """Repeat a command that was stopped, and compare what it makes."""
        folder, log = self.place / "killed", self.place / "log"
        row["trials"] += 1
        if finished(in_child(task, folder, log)):
            row["found"].append(f"{where}: the next call fails: {log.read_text()[-800:]}")
            return
        found = contents(folder)
        different = [key for key in sorted(found.keys() | expected.keys()) if found.get(key) != expected.get(key)]
        row["found"] += [f"{where}: {key} differs" for key in different]

    def _must(self, code: int, name: str, log: Path) -> None:
        if code:
            sys.exit(f"{name} does not work at all: {log.read_text()[-2000:]}")


def plan_of(models: ModelSet) -> Plan:
    """Return a plan of some batches: cells that share images, that fail and that need a reference."""
    grids = (Grid("lerp", (("alpha", (0.1, 0.6)),)), Grid("concatenate", ()))
    base = replace(load_experiment("smoke"), name="crash", items=3, controls=False, metrics=METRICS, strategies=grids)
    return make_plan(base, load_suite("miniature"), models)


def crash(
    kills: dict[str, int],
    fills: dict[str, Sequence[int]],
    seed: int,
    place: Path,
    untrained: Path,
    state: Path | None = None,
) -> Trials:
    """Kill every command as often as asked, and let the disk be full."""
    models = load_model_set(untrained, "cpu", {"batch_size": BATCH, "steps": 1})
    models.load("text", "vision", "denoiser")
    trials = Trials(Folder(plan_of(models), models), place, seed, state)
    for name, count in kills.items():
        trials.kill(name, count)
    for name, limits in fills.items():
        trials.fill(name, limits)
    trials.end()
    return trials


def main() -> None:
    """Kill, and print figures."""
    from miniature.untrained import write_untrained

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200, help="of `run`; of each other command a tenth")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="file for the figures; an unfinished one is continued")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        kills = {name: given.kills if name == "run" else max(1, given.kills // 10) for name in NAMES}
        write_untrained(Path(name, "models"))
        place = Path(name, "trials")
        place.mkdir()
        trials = crash(kills, dict.fromkeys(NAMES, LIMITS), given.seed, place, Path(name, "models"), given.json)
    for difference in trials.differences:
        print(f"FOUND {difference}")
    print(f"{trials.count} trials, {len(trials.differences)} differences, at most {trials.repeated} cells repeated")
    sys.exit(1 if trials.differences or trials.repeated > BATCH else 0)


if __name__ == "__main__":
    main()
