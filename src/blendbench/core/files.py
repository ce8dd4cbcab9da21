"""Read regular files within a size limit, and write files atomically."""

import errno
import os
import re
import stat
import uuid
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from blendbench.core.errors import UsageError

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
_IS_PARTIAL = re.compile(r"[0-9a-f]{32}\.partial").fullmatch
_FIXES = {
    errno.ENOENT: "create its folder first",
    errno.ENOTDIR: "create its folder first",
    errno.EISDIR: "name a file",
    errno.EACCES: "check the permissions of the file and its folder",
    errno.EPERM: "check the permissions of the file and its folder",
    errno.EROFS: "name a folder that can be written",
    errno.ENOSPC: "free some disk space",
    errno.EDQUOT: "free some disk space",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f)",
    errno.ENAMETOOLONG: "use a shorter name",
}


def cache_folder() -> Path:
    """Return the package's folder in the user's cache, which holds only what can be made again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "blendbench"


def printable(name: str | os.PathLike[str]) -> str:
    """Return a file name that stays on one line of a message."""
    text = os.fspath(name)
    return text if text.isprintable() else ascii(text)


def require_regular_file(path: Path) -> int:
    """Return the size of a regular file in bytes, following links.

    Anything else is refused before it is opened: opening a named pipe would wait for its other end. Errors: UsageError.
    """
    try:
        found = path.stat()
    except ValueError as error:  # a null byte in the name
        raise UsageError(f"{printable(path)}: not a file name; name a file") from error
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            if path.is_symlink():
                raise UsageError(f"{printable(path)}: a link to a file that is missing; name a file") from error
            raise UsageError(f"{printable(path)}: no such file; check the name") from error
        raise _usage_error(path, "cannot be read", error) from error
    if not stat.S_ISREG(found.st_mode):
        kind = next((kind for is_kind, kind in _KINDS if is_kind(found.st_mode)), "something else")
        raise UsageError(f"{printable(path)}: {kind}, not a regular file; name a file")
    return found.st_size


def file_times(path: Path | str) -> tuple[int, ...]:
    """Return what changes when a file does: size, times and inode. Errors: OSError."""
    found = os.stat(path)  # noqa: PTH116  also of text
    return (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)


def read_file(path: Path, limit: int) -> bytes:
    """Read a regular file of at most `limit` bytes. Errors: UsageError."""
    size = require_regular_file(path)
    if size <= limit:
        try:
            with path.open("rb") as file:
                data = file.read(limit + 1)  # the file may have grown since its size was read
        except OSError as error:
            raise _usage_error(path, "cannot be read", error) from error
        if len(data) <= limit:
            return data
    raise UsageError(f"{printable(path)}: more than {limit:,} bytes; use a smaller file")


def write_atomically(path: Path, data: bytes) -> None:
    """Replace a file as a whole: readers see its old or new content.

    Threads and processes may write the same path at once; the last one wins. Errors: UsageError.
    """
    try:
        while not _replaced(path, data):
            pass
    except OSError as error:
        raise _usage_error(path, "cannot be written", error) from error


def _replaced(path: Path, data: bytes) -> bool:
    """Write a file beside another and rename it; False if it was swept before that."""
    # Same folder, because a rename across file systems is not atomic. `uuid4` ignores random seeds.
    partial = path.with_name(f"{uuid.uuid4().hex}.partial")
    try:
        with partial.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        try:
            partial.replace(path)
        except FileNotFoundError:
            if path.parent.is_dir():
                return False
            raise
        return True
    finally:
        partial.unlink(missing_ok=True)


def partial_files(folder: Path) -> list[Path]:
    """Return what writers are writing, or have left half-written, in a folder and those within it."""
    return [Path(place, name) for place, _, names in os.walk(folder) for name in names if _IS_PARTIAL(name)]


def sweep_partial(paths: Iterable[Path]) -> None:
    """Remove what killed writers have left half-written; a writer that is at work writes again."""
    for path in paths:
        if _IS_PARTIAL(path.name):
            with suppress(OSError):
                path.unlink()


def file_error(error: OSError) -> UsageError | None:
    """Return a file error that no code expected in one line; None if it is none.

    Errors of writing do not name the file.
    """
    if error.errno not in _FIXES:
        return None
    if error.errno == errno.ENOENT and error.filename is None:  # `tempfile` could write nowhere
        return UsageError(f"{error.strerror}; free some disk space or name another folder in TMPDIR")
    name = "a file" if error.filename is None else printable(str(error.filename))
    return UsageError(f"{name}: {error.strerror}; {_FIXES[error.errno]}")


def _usage_error(path: Path, problem: str, error: OSError) -> UsageError:
    reason = error.strerror or type(error).__name__
    fix = _FIXES.get(error.errno or 0, "check the disk and the folder")
    return UsageError(f"{printable(path)}: {problem}: {reason}; {fix}")
