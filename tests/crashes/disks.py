"""Disks that are full, read-only or over quota: real ones where this process may mount, else limits and errors."""

import errno
import functools
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Given a way to spoil it and the bytes that the whole command writes, a disk is spoilt in the block.
Disk = Callable[[float, int], AbstractContextManager[Any]]
LIMITS = (0, 100, 1000, 10_000, 30_000, 100_000, 1_000_000)  # bytes that a file may have
FREE = (0, 0.03, 0.1, 0.25, 0.5, 0.75, 0.95)  # of what the command writes
PARTS = (0, 0.05, 0.2, 0.4, 0.6, 0.8, 0.95)  # of its file operations
_LARGE = "size=1g"


def _sound(folder: Path) -> AbstractContextManager[Disk]:
    return nullcontext(lambda way, size: nullcontext())


def _no_options(way: float, points: int) -> dict[str, Any]:
    return {}


@dataclass(frozen=True)
class Spoilt:
    """A kind of spoilt disk.

    `ways`: numbers that say how much. `words`: one of them is in the line that refuses. `disk`: makes a folder one.
    `options`: of the child, for a way and the number of the command's file operations.
    """

    what: str
    ways: Sequence[float]
    words: Sequence[str]
    remark: str
    disk: Callable[[Path], AbstractContextManager[Disk]] = _sound
    options: Callable[[float, int], dict[str, Any]] = _no_options


@contextmanager
def _small(folder: Path) -> Iterator[Disk]:
    """Make a folder a file system of its own, which can be made as small as its content and a bit more."""
    _mount("-t", "tmpfs", "-o", _LARGE, "tmpfs", str(folder))

    @contextmanager
    def full(way: float, size: int) -> Iterator[None]:
        found = os.statvfs(folder)
        used = (found.f_blocks - found.f_bfree) * found.f_frsize
        _mount("-o", f"remount,size={max(4096, used + int(way * size))}", str(folder))
        try:
            yield
        finally:
            _mount("-o", f"remount,{_LARGE}", str(folder))

    try:
        yield full
    finally:
        subprocess.run(["umount", folder], check=True)


@contextmanager
def _bound(folder: Path) -> Iterator[Disk]:
    """Mount a folder on itself, so that it can be made read-only, for root too."""
    _mount("--bind", str(folder), str(folder))

    @contextmanager
    def read_only(way: float, size: int) -> Iterator[None]:
        _mount("-o", "remount,bind,ro", str(folder))
        try:
            yield
        finally:
            _mount("-o", "remount,bind,rw", str(folder))

    try:
        yield read_only
    finally:
        subprocess.run(["umount", folder], check=True)


FILES = Spoilt(
    "files cannot grow",
    LIMITS,
    ("File too large",),
    f"limits from {LIMITS[0]} to {LIMITS[-1]:,} bytes",
    options=lambda way, points: {"largest": int(way)},
)
QUOTA = Spoilt(
    "over quota",
    PARTS,
    ("Disk quota exceeded",),
    "from some file operation on, each has this error",
    options=lambda way, points: {"point": 1 + int(way * points), "error": errno.EDQUOT},
)
FULL = Spoilt("a full disk", FREE, ("No space left", "full"), "a small file system in memory", _small)
READ_ONLY = Spoilt("a read-only disk", (0,), ("Read-only file system",), "mounted so", _bound)


def all_spoilt() -> list[Spoilt]:
    """Return the kinds that can be had here."""
    return [FILES, QUOTA, *((FULL, READ_ONLY) if may_mount() else ())]


@functools.cache
def may_mount() -> bool:
    """Report whether this process may mount file systems."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["mount", "-t", "tmpfs", "-o", "size=4096", "tmpfs", folder]
        try:
            if subprocess.run(command, check=False, capture_output=True).returncode:
                return False
        except OSError:
            return False
        subprocess.run(["umount", folder], check=True)
        return True


def written(before: Path, after: Path) -> int:
    """Return the bytes of files that are new or newer in the second of two folders."""
    times = {path.relative_to(before): path.stat().st_mtime_ns for path in before.rglob("*") if path.is_file()}
    found = {path.relative_to(after): path.stat() for path in after.rglob("*") if path.is_file()}
    return sum(status.st_size for path, status in found.items() if times.get(path) != status.st_mtime_ns)


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True)
