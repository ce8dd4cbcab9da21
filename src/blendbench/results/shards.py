"""Shards: append-only JSON-lines files from which the database is made."""

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from filelock import FileLock

from blendbench.core.errors import UsageError
from blendbench.core.files import printable, require_regular_file
from blendbench.core.hashing import canonical_json
from blendbench.results.schema import FORMAT, RowChecker, RowError, parse_line, row_of

FOLDER = "shards"
LOCK = "shards.lock"
_LONGEST_HEADER = 1 << 16
_BATCH = 4096  # lines whose rules are checked at once


class ShardWriter:
    """Appends rows to a new file `<results_dir>/shards/<run_id>.jsonl`.

    What `append` returned from survives kill -9. `sequence` orders it: 1 + the greatest of the folder, taken while no
    other process can take one.
    """

    def __init__(self, results_dir: Path | str, run_id: str) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", run_id):
            raise UsageError(f"{run_id!r}: not the name of a run; use letters, digits, '.', '_' and '-'")
        results_dir = Path(results_dir)
        self.path = results_dir / FOLDER / f"{run_id}.jsonl"
        self._checker = RowChecker()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(results_dir / LOCK):
                self.sequence = next_sequence(results_dir)
                self._file = self.path.open("xb")
                self._write([canonical_json({"format": FORMAT, "sequence": self.sequence, "run_id": run_id})])
        except FileExistsError:
            raise UsageError(f"{printable(self.path)}: there already; every run writes a file of its own") from None
        except OSError as error:
            raise UsageError(f"{printable(self.path)}: cannot be written: {error.strerror}") from error

    def append(self, table: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write rows of one table and wait until they are on disk.

        Nothing is written if one is invalid. Errors: RowError for a row that does not fit its table; UsageError if the
        disk is full.
        """
        self.append_all({table: rows})

    def append_all(self, rows: Mapping[str, Iterable[Mapping[str, Any]]]) -> None:
        """Write rows of several tables with one disk sync. Errors: as `append`."""
        self.append_lines([line for table, every in rows.items() for line in self._checker.lines(table, every)])

    def append_lines(self, lines: list[str]) -> None:
        """Write lines that a `RowChecker` returned, with one disk sync. Errors: UsageError if the disk is full."""
        if lines:
            try:
                self._write(lines)
            except OSError as error:
                raise UsageError(f"{printable(self.path)}: cannot be written: {error.strerror}") from error

    def close(self) -> None:
        """Close the file; what was appended is already on disk."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write(self, lines: list[str]) -> None:
        self._file.write("".join(f"{line}\n" for line in lines).encode())
        self._file.flush()
        os.fsync(self._file.fileno())


@dataclass(frozen=True)
class Shard:
    """A file as it was read: whole `lines` with header, and an unended one."""

    path: Path
    sequence: int
    run_id: str
    bytes: int
    lines: int
    longest: int  # bytes of a line
    torn: bool
    sha256: str
    prefix_sha256: str  # of as many first bytes as were asked for

    @property
    def order(self) -> tuple[int, str]:
        """Sort key of a shard; files that two machines numbered alike go by name."""
        return (self.sequence, self.path.name)


def shard_paths(results_dir: Path | str) -> list[Path]:
    """Return the shard files by name. Errors: UsageError."""
    folder = Path(results_dir) / FOLDER
    try:
        # Not a glob: the folder's name may hold its special characters.
        paths = sorted(path for path in folder.iterdir() if path.name.endswith(".jsonl"))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise UsageError(f"{printable(folder)}: cannot be read: {error.strerror}") from error
    for path in paths:
        require_regular_file(path)
    return paths


def next_sequence(results_dir: Path | str) -> int:
    """Return 1 + the greatest sequence of the shards. Errors: UsageError."""
    return 1 + max((header[0] for path in shard_paths(results_dir) if (header := read_header(path))), default=0)


def read_header(path: Path) -> tuple[int, str] | None:
    """Return sequence and run id; None without a whole line. Errors: UsageError."""
    with _readable(path).open("rb") as file:
        line = file.readline(_LONGEST_HEADER)
    if not line.endswith(b"\n"):
        if len(line) == _LONGEST_HEADER:
            raise _error(path, 1, "not the header of a shard")
        return None
    try:
        header = parse_line(line)
    except RowError as error:
        raise _error(path, 1, str(error)) from None
    written, sequence, run_id = (header.get(name) for name in ("format", "sequence", "run_id"))
    if "record" in header and written is None:
        raise UsageError(
            f"{printable(path)}: written by an older blendbench (format 1); convert the folder once with"
            f" `blendbench convert {printable(path.parent.parent)}`"
        )
    if isinstance(written, int) and written > FORMAT:
        raise UsageError(f"{printable(path)}: written by a newer blendbench (format {written}); update blendbench")
    fits = written == FORMAT and isinstance(sequence, int) and 0 < sequence < 2**62 and isinstance(run_id, str)
    if not fits or isinstance(sequence, bool):
        raise _error(path, 1, "not the header of a shard")
    return int(str(sequence)), str(run_id)


def read_shard(path: Path, prefix: int = 0) -> Shard:
    """Read a shard once: size, lines, hashes, also of the first `prefix` bytes."""
    sequence, run_id = read_header(path) or (0, path.stem)
    digest, start = hashlib.sha256(), hashlib.sha256()
    size = lines = longest = begun = 0
    with _readable(path).open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
            start.update(block[: max(0, prefix - size)])
            size, lines = size + len(block), lines + block.count(b"\n")
            lengths = [len(line) for line in block.split(b"\n")]
            lengths[0] += begun
            longest, begun = max(longest, *lengths), lengths[-1]
    return Shard(path, sequence, run_id, size, lines, longest, begun > 0, digest.hexdigest(), start.hexdigest())


def check_shards(paths: Iterable[Path]) -> None:
    """Raise UsageError with shard and line of the first broken rule; slow."""
    checker = RowChecker()
    for path in paths:
        read_header(path)
        waiting: dict[str, list[tuple[int, str]]] = {}
        for number, (table, row) in enumerate(_rows_of(path), start=2):
            waiting.setdefault(table, []).append((number, canonical_json({"table": table, **row})))
            if len(waiting[table]) == _BATCH:
                _check_rules(checker, path, table, waiting.pop(table))
        for table, lines in waiting.items():
            _check_rules(checker, path, table, lines)


def _check_rules(checker: RowChecker, path: Path, table: str, lines: list[tuple[int, str]]) -> None:
    try:
        checker.check_rules(table, [line for _, line in lines])
    except RowError as error:
        if len(lines) == 1:
            raise _error(path, lines[0][0], str(error)) from None
        middle = len(lines) // 2
        _check_rules(checker, path, table, lines[:middle])
        _check_rules(checker, path, table, lines[middle:])
        raise _error(path, lines[0][0], str(error)) from None


def _rows_of(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    with _readable(path).open("rb") as file:
        for number, line in enumerate(file, start=1):
            if number == 1 or not line.endswith(b"\n"):
                continue
            try:
                yield row_of(parse_line(line))
            except RowError as error:
                raise _error(path, number, str(error)) from None


def _readable(path: Path) -> Path:
    require_regular_file(path)
    return path


def _error(path: Path, line: int, problem: str) -> UsageError:
    return UsageError(f"{printable(path)}:{line}: {problem}; move the shard away or restore it")
