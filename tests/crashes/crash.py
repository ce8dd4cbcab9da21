"""Kill commands with -9 at random moments and at file operations, or spoil their disk; finish, and compare.

    python tests/crashes/crash.py --kills 200

Commands run in forked children, which have all imports and networks: a trial takes a second or two. What is compared:
every table but what names the run and its times, the hash of every image, and every page, byte for byte. Exit code 1 if
there is a difference, a leftover that breaks the next call, a refusal of more than one line, or a batch that was
generated more than twice.
"""

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # a forked child has no other threads

from commands import Folder, Task, finished, in_child, plan_of
from compare import contents, generated
from disks import Spoilt, all_spoilt, written

from blendbench.core.files import write_atomically
from blendbench.models.sets import load_model_set

BATCH = 2
NAMES = (
    *("run", "ingest into a new database", "ingest into an old database"),
    *("leaderboard", "gallery", "publish", "site"),
)


# A command's folder before, what it makes, its seconds and its file operations.
Whole = tuple[Path, dict[str, Any], float, int]


class Trials:
    """Kill, finish and compare; with a state file, go on where an earlier process ended."""

    def __init__(self, folder: Folder, place: Path, seed: int, state: Path | None = None) -> None:
        self.folder, self.place, self.seed, self.state = folder, place, seed, state
        self.rows: list[dict[str, Any]] = []
        self._whole: tuple[str, Whole] | None = None  # the last one, whose folders are still there
        if state is not None and state.exists() and not (known := json.loads(state.read_text()))["finished"]:
            self.rows = known["rows"]

    @property
    def differences(self) -> list[str]:
        return [difference for row in self.rows for difference in row["found"]]

    @property
    def repeated(self) -> int:
        return max(int(row["repeated"]) for row in self.rows)

    @property
    def count(self) -> int:
        return sum(int(row["trials"]) for row in self.rows)

    def whole(self, name: str) -> Whole:
        """Do a command without interruption; its folder before, what it makes, its time and its file operations."""
        if self._whole is not None and self._whole[0] == name:  # nothing but copies was made since
            return self._whole[1]
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
        made = start, contents(whole), seconds, int((self.place / "count").read_text())
        self._whole = (name, made)
        return made

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

    def spoil(self, name: str, spoilt: Spoilt) -> None:
        """Spoil the disk of one command in several ways; repair it, finish and compare."""
        row = self._row(name, spoilt.what)
        if row["trials"] >= len(spoilt.ways):
            return
        start, expected, _, points = self.whole(name)
        task = self.folder.tasks()[name][1]
        row["remark"] = spoilt.remark
        most = written(start, self.place / "whole")
        for way in spoilt.ways[row["trials"] :]:
            folder, log = self.place / "killed", self.place / "log"
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            with spoilt.disk(folder) as disk:
                shutil.copytree(start, folder, copy_function=shutil.copy2, dirs_exist_ok=True)
                log.unlink()
                with disk(way, most):
                    code = finished(in_child(task, folder, log, **spoilt.options(way, points)))
                where, lines = f"{name}, {spoilt.what}, {way:g}", log.read_text().splitlines()
                # No line at all: what could not be written was not needed, or stands in the report of a run.
                if code not in (0, 2) or (code == 2 and not any(word in lines[-1] for word in spoilt.words)):
                    row["found"].append(f"{where}: exit code {code}: {' '.join(lines)[-800:]}")
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


def crash(
    kills: dict[str, int],
    disks: Sequence[tuple[str, Spoilt]],
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
    for name, spoilt in disks:
        trials.spoil(name, spoilt)
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
        disks = [(name, spoilt) for spoilt in all_spoilt() for name in NAMES]
        write_untrained(Path(name, "models"))
        place = Path(name, "trials")
        place.mkdir()
        trials = crash(kills, disks, given.seed, place, Path(name, "models"), given.json)
    for difference in trials.differences:
        print(f"FOUND {difference}")
    print(f"{trials.count} trials, {len(trials.differences)} differences, at most {trials.repeated} cells repeated")
    sys.exit(1 if trials.differences or trials.repeated > BATCH else 0)


if __name__ == "__main__":
    main()
