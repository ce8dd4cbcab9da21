"""Feed damaged input to everything that reads files: each is read, or refused in one line.

    python tests/fuzz/fuzz.py --inputs 200000

Every reader runs in a process of its own, which may crash. Findings are a traceback, a crash, a hang and a message that
is not one line; their inputs are kept in --out. Exit code 1 if there is one.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any, Self

from mutations import mutated
from readers import READERS, Reader

SECONDS, CPU_SECONDS = 60.0, 10.0  # after which an input hangs
LONGEST_MESSAGE = 2000
MEMORY_MIB = 1024
MOST_CRASHES = 5  # of one reader
PROCESS = 4000  # inputs


class FindingError(Exception):
    """What an input must not do."""


def refusals() -> tuple[type[BaseException], ...]:
    from blendbench.core.errors import UsageError
    from blendbench.results.schema import RowError

    return (UsageError, RowError)


def attempt(reader: Reader, folder: Path, data: bytes) -> bool:
    """Read one input; whether it was accepted. Errors: FindingError."""
    limit = _TimeLimit()
    try:
        with limit:
            reader.read(folder, data)
    except refusals() as error:
        if limit.reached:
            raise FindingError("hangs") from None
        message = str(error)
        if not message or not message.isprintable():
            raise FindingError(f"not one printable line: {message[:200]!r}") from None
        if len(message) > LONGEST_MESSAGE:
            raise FindingError(f"a message of {len(message)} characters: {message[:200]!r}") from None
        return False
    except _HangError:
        raise FindingError("hangs") from None
    except Exception as error:
        raise FindingError(f"{type(error).__name__}: {' '.join(str(error).split())[:200]} {_place(error)}") from error
    return True


class _HangError(BaseException):
    pass


class _TimeLimit:
    """Raise _HangError in the block after some time."""

    def __init__(self) -> None:
        self.reached = False

    def __enter__(self) -> Self:
        for number in (signal.SIGALRM, signal.SIGPROF):
            signal.signal(number, self._raise)
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
        return self

    def __exit__(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.setitimer(signal.ITIMER_PROF, 0)

    def _raise(self, _: int, __: FrameType | None) -> None:
        self.reached = True
        raise _HangError


def _place(error: BaseException) -> str:
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "blendbench" in f.filename]
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""


def work(name: str, first: int, last: int, seed: int, out: Path) -> None:
    """Read the inputs `first` to `last` of one reader; a line of JSON after each finding, and one at the end."""
    reader, counts, slowest = READERS[name], {"accepted": 0, "refused": 0, "found": 0}, 0.0
    known: set[str] = set()
    seeds = reader.seeds()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made, "input")
        folder.mkdir()
        for seed_input in seeds[:3]:
            with suppress(FindingError):
                attempt(reader, folder, seed_input)  # so that imports do not count as time of an input
        for number in range(first, last):
            data = mutated(seeds, reader.form, random.Random(f"{seed} {name} {number}"))
            (out / f"{name}.at").write_text(str(number))
            began = time.process_time()
            try:
                counts["accepted" if attempt(reader, folder, data) else "refused"] += 1
            except FindingError as found:
                counts["found"] += 1
                if str(found) not in known:
                    known.add(str(found))
                    (out / f"{name}-{number}.bin").write_bytes(data)
                    print(json.dumps({"reader": name, "number": number, "finding": str(found)}), flush=True)
            slowest = max(slowest, time.process_time() - began)
    # Not `ru_maxrss`, which begins with what the calling process had.
    status = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) // 1024
    print(json.dumps({"reader": name, **counts, "slowest": round(slowest, 2), "peak_mib": peak}), flush=True)


class Figures:
    """A row of counts a reader; with a state file, those of an earlier process that did not finish."""

    def __init__(self, state: Path | None) -> None:
        self.state, self.rows = state, list[dict[str, Any]]()
        if state is not None and state.exists() and not (known := json.loads(state.read_text()))["finished"]:
            self.rows = known["rows"]

    def of(self, name: str) -> dict[str, Any]:
        for row in self.rows:
            if row["reader"] == name:
                return row
        counts = dict.fromkeys(("inputs", "accepted", "refused", "found", "slowest", "peak_mib", "crashes"), 0)
        self.rows.append({"reader": name, **counts})
        return self.rows[-1]

    def save(self, finished: bool = False) -> None:
        if self.state is not None:
            self.state.write_text(json.dumps({"finished": finished, "rows": self.rows}, indent=1))


def fuzz(inputs: int, seed: int, out: Path, names: list[str], state: Path | None) -> list[dict[str, Any]]:
    """Run every reader in processes of their own, some thousand inputs each; a row of figures for each reader."""
    out.mkdir(parents=True, exist_ok=True)
    figures = Figures(state)
    for name in names:
        row, last = figures.of(name), max(20, int(inputs * READERS[name].share))
        while row["inputs"] < last and row["crashes"] < MOST_CRASHES:
            _some(row, min(last, row["inputs"] + PROCESS), seed, out)
            figures.save()
        print(json.dumps(row), flush=True)
    figures.save(finished=True)
    return figures.rows


def _some(row: dict[str, Any], last: int, seed: int, out: Path) -> None:
    """Add the figures of the inputs up to `last`, or to one that ends the process."""
    name, first = row["reader"], row["inputs"]
    arguments = ["--worker", name, "--first", str(first), "--inputs", str(last), "--seed", str(seed)]
    command = [sys.executable, __file__, *arguments, "--out", str(out)]
    at = out / f"{name}.at"
    at.unlink(missing_ok=True)
    done = subprocess.run(command, check=False, capture_output=True, text=True, errors="replace")
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    for line in lines:
        if "finding" in line:
            print(f"FOUND {line['reader']} {line['number']}: {line['finding']}", flush=True)
    if done.returncode == 0:
        end = lines[-1]
        row |= {key: row[key] + end[key] for key in ("accepted", "refused", "found")}
        row |= {key: max(row[key], end[key]) for key in ("slowest", "peak_mib")}
        row["found"] += end["peak_mib"] > MEMORY_MIB
        row["inputs"] = last
        return
    number = int(at.read_text()) if at.exists() else first
    print(f"FOUND {name} {number}: exit status {done.returncode}: {done.stderr[-500:]}", flush=True)
    row |= {"inputs": number + 1, "found": row["found"] + 1, "crashes": row["crashes"] + 1}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(tempfile.gettempdir()) / "blendbench-fuzz")
    parser.add_argument("--readers", nargs="+", default=list(READERS))
    parser.add_argument("--json", type=Path, help="file for the figures; an unfinished one is continued")
    parser.add_argument("--worker")
    parser.add_argument("--first", type=int, default=0)
    given = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"  # the network may take as long as it likes
    if given.worker:
        work(given.worker, given.first, given.inputs, given.seed, given.out)
    else:
        figures = fuzz(given.inputs, given.seed, given.out, given.readers, given.json)
        print(f"{sum(row['inputs'] for row in figures):,} inputs, {sum(row['found'] for row in figures)} findings")
        sys.exit(1 if any(row["found"] for row in figures) else 0)
