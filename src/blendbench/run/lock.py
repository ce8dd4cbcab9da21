"""The lock of a results folder: one run writes at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from blendbench.core.errors import UsageError
from blendbench.core.files import partial_files, sweep_partial


@contextmanager
def folder_lock(results: Path) -> Iterator[None]:
    """Hold a results folder for one run. Errors: UsageError if that fails."""
    try:
        results.mkdir(parents=True, exist_ok=True)
        lock = FileLock(results / "run.lock", timeout=0)
        lock.acquire()
    except Timeout:
        raise UsageError(
            f"{results}: another run is writing here; wait for it or give --results another folder"
        ) from None
    except OSError as error:
        raise UsageError(f"{results}: cannot be written: {error.strerror}; give --results another folder") from error
    try:
        sweep_partial(partial_files(results))
        yield
    finally:
        lock.release()
