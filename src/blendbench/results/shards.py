"""Shards: the append-only JSON-lines files that a run writes and that the database can be rebuilt from."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from blendbench.core.errors import UsageError
from blendbench.results.records import Record, RecordError, RunRecord, from_line, to_line

FOLDER = "shards"


class ShardWriter:
    """Appends records to `<results_dir>/shards/<run_id>.jsonl`; what `append` returned from survives kill -9."""

    def __init__(self, results_dir: Path | str, run_id: str) -> None:
        self.path = Path(results_dir) / FOLDER / f"{run_id}.jsonl"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("a+b")
        self._drop_torn_line()

    def append(self, records: Iterable[Record]) -> None:
        """Write the records, one a line, and wait until they are on disk. Nothing is written if one is invalid."""
        lines = "".join(f"{to_line(record)}\n" for record in records)
        if lines:
            self._file.write(lines.encode())
            self._file.flush()
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file; what was appended is already on disk."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _drop_torn_line(self) -> None:
        # A line without its newline was never acknowledged; appending after it would corrupt the next record too.
        self._file.seek(0)
        content = self._file.read()
        if content and not content.endswith(b"\n"):
            self._file.truncate(content.rfind(b"\n") + 1)


@dataclass(frozen=True)
class Shards:
    """All records of a results folder, oldest run first, and how many torn last lines were left out."""

    records: tuple[Record, ...]
    torn_lines: int


def shard_paths(results_dir: Path | str) -> list[Path]:
    """The shard files by name."""
    return sorted((Path(results_dir) / FOLDER).glob("*.jsonl"))


def read_shards(results_dir: Path | str) -> Shards:
    """Read every shard. Errors: UsageError naming shard and line of a bad record; a torn last line is only counted."""
    runs: list[tuple[str, str, list[Record]]] = []
    torn = 0
    for path in shard_paths(results_dir):
        records, is_torn = _read_shard(path)
        torn += is_torn
        started = next((record.started_at for record in records if isinstance(record, RunRecord)), "")
        runs.append((started, path.name, records))
    runs.sort(key=lambda run: run[:2])
    return Shards(tuple(record for _, _, records in runs for record in records), torn)


def _read_shard(path: Path) -> tuple[list[Record], bool]:
    lines = path.read_bytes().split(b"\n")
    # Every whole line ends with a newline, so the last piece is empty unless the writer was killed within a line.
    torn = lines.pop() != b""
    records = []
    for number, line in enumerate(lines, start=1):
        try:
            records.append(from_line(line.decode()))
        except (RecordError, UnicodeDecodeError) as error:
            raise UsageError(f"{path}:{number}: {error}; move the shard away or restore it") from error
    return records, torn
