"""Notice that files were saved, by looking at them."""

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

POLL = 0.2  # seconds between two looks
_SETTLED = 0.05  # an editor may write a file in several steps, or remove it first
# Times of files are as coarse as the system's ticks.
_TICK_NS = 20_000_000

State = dict[Path, tuple[int, ...] | None]


def saves(files: Callable[[], Iterable[Path]]) -> Iterator[None]:
    """Yield at once, and then whenever a file was saved, replaced or removed.

    `files` is asked again after each time: what is read may depend on what is in the files. A save while the caller is
    busy counts when it comes back; several of them count once.
    """
    while True:
        began = time.time_ns()
        before = _state(files())
        yield
        known = {path: before.get(path, _unless_since(began, path)) for path in files()}
        while _state(known) == known:
            time.sleep(POLL)
        state: State | None = None
        while (now := _state(known)) != state:
            state = now
            time.sleep(_SETTLED)


def _state(files: Iterable[Path]) -> State:
    return {path: _times(path) for path in files}


def _times(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_size, found.st_ino)


def _unless_since(began: int, path: Path) -> tuple[int, ...] | None:
    """Return the times of a file, None if it was written since."""
    times = _times(path)
    return times if times is not None and times[0] < began - _TICK_NS else None
