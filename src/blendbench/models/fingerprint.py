"""Cache sha256 of weight files, of which 35 GB are read once.

An entry is for a path, inode, size, and times of modification and change, in nanoseconds. The time of change is the
system's: whoever writes to a file cannot set it back. A file that was written just now is read again next time: it may
be written once more within the resolution of these times.
"""

import hashlib
import json
import os
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from blendbench.core.files import cache_folder

# Small files: hashing is cheaper than validating a cache entry.
LARGE = 64 * 1024 * 1024
_REPORTED = 1024**3
_SETTLED = 2.0  # seconds, the coarsest resolution of a file system's times


@dataclass(frozen=True)
class WeightFile:
    """One weight file: name in the component's folder, size and hash."""

    component: str
    file: str
    bytes: int
    sha256: str


def cache_file() -> Path:
    """Return the file in the user's cache that holds hashes of large files."""
    return cache_folder() / "weights.json"


def unread(paths: Iterable[Path]) -> list[Path]:
    """Return the large files whose hashes are not known yet."""
    known = _known()
    return [path for path in paths if path.stat().st_size >= LARGE and known.get(_key(path)) is None]


def file_hashes(paths: Iterable[Path]) -> dict[Path, str]:
    """Hash files, several at a time.

    Large ones are read at most once, and a note is printed if that takes long.
    """
    chosen = list(paths)
    known = _known()
    keys = {path: _key(path) for path in chosen}
    found = {path: known[key] for path, key in keys.items() if key in known}
    fresh = [path for path in chosen if path not in found]
    fresh.sort(key=lambda path: -path.stat().st_size)  # the largest first, or one is left at the end
    size = sum(path.stat().st_size for path in fresh)
    if size > _REPORTED:
        _note(f"reading {size / 1e9:.1f} GB of weights once, to identify them by their sha256")
    with ThreadPoolExecutor(8) as pool:
        found |= dict(zip(fresh, pool.map(_read, fresh), strict=True))
    if large := {keys[path]: found[path] for path in fresh if _is_settled(path, keys[path])}:
        _keep(large)
    return found


def _is_settled(path: Path, before: str) -> bool:
    """Report whether a large file's hash can be kept: it is as it was before it was read, and not just written."""
    status = path.stat()
    changed = max(status.st_mtime_ns, status.st_ctime_ns) / 1e9
    return status.st_size >= LARGE and _key(path) == before and time.time() - changed > _SETTLED


def identities(paths: Iterable[Path], read_large: bool = True) -> dict[Path, str]:
    """Return what files count by: the sha256 of their content.

    Without `read_large`, large files that were never read count by size and time of change.
    """
    chosen = list(paths)
    found = {} if read_large else {path: _key(path) for path in unread(chosen)}
    return found | file_hashes(path for path in chosen if path not in found)


def _read(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _key(path: Path) -> str:
    status = path.stat()
    numbers = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return "\0".join(map(str, (path.resolve(), *numbers)))


def _known() -> dict[str, str]:
    try:
        found = json.loads(cache_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        # No cache, or a damaged one: read everything again and write a new cache.
        return {}
    return found if isinstance(found, dict) else {}


def _keep(fresh: dict[str, str]) -> None:
    path = cache_file()
    partial = path.with_suffix(f".{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(_known() | fresh), encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        _note(f"{path}: {error.strerror}; the weights will be read again next time")


def _note(line: str) -> None:
    sys.stderr.write(f"{line}\n")
