"""Refuse to let code open a file that its identity does not hold.

What follows code reads its text, and a text can open files in ways that it does not show. Whatever Python itself opens
for reading is seen here, when it happens: an error then is better than an old image for a new file later.
"""

import importlib.util
import os
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from blendbench.core.errors import UsageError
from blendbench.core.files import cache_folder
from blendbench.registry.folder import SHIPPED, is_library

_EVENTS = ("open", "sqlite3.connect", "ctypes.dlopen")
# What a system holds. Caches in hidden folders are left out too; temporary folders are not, since data lie there.
_SYSTEM = ("/usr", "/etc", "/proc", "/sys", "/lib", "/lib64", "/System", "/Library")


class UndeclaredFileError(UsageError):
    """Code opens a file that its identity does not hold."""


@dataclass
class _Watch:
    """The files that code in one thread may read."""

    files: frozenset[str]
    folders: tuple[Path, ...]
    thread: int = field(default_factory=threading.get_ident)
    written: set[str] = field(default_factory=set)

    def check(self, place: Any, mode: str | None, flags: int) -> None:
        if isinstance(place, int) or threading.get_ident() != self.thread:
            return
        path = os.path.realpath(os.fsdecode(place))
        if set(mode) & set("wx") if mode else flags & (os.O_TRUNC | os.O_EXCL):
            self.written.add(path)
        if path in self.files or path in self.written or not os.path.isfile(path):  # noqa: PTH113
            return
        if path.endswith(".pyc") and "__pycache__" in path:
            path = importlib.util.source_from_cache(path)
        named = os.path.abspath(os.fsdecode(place))  # noqa: PTH100  a link in its folder may lead elsewhere
        if path in self.files or not any(self._counts(Path(each)) for each in (path, named)):
            return
        if not (path.endswith(".py") and _is_quoted()):
            raise UndeclaredFileError(f"it reads {path}, which is no part of its identity; declare {self._fix(path)}")

    def _counts(self, path: Path) -> bool:
        system = [place for place in _elsewhere() if place in path.parents]
        library = is_library(path) and not any(map(is_library, self.folders))
        if self._holds(path):
            return not library and not any(map(self._holds, system))  # a project may hold its own Python
        return not (system or library or any(part.startswith(".") for part in path.parts))

    def _holds(self, path: Path) -> bool:
        return any(folder in path.parents for folder in self.folders)

    def _fix(self, path: str) -> str:
        folder = next((folder for folder in self.folders if folder in Path(path).parents), None)
        name = str(Path(path).relative_to(folder)) if folder else path
        return f"files=({name!r},) where it is registered"


# The watch of the code that runs; audit hooks cannot be removed, so that one hook stays and looks here.
_WATCHES: list[_Watch] = []
_HOOKED: list[bool] = []


@contextmanager
def reading_only(files: Iterable[Path], folders: Iterable[Path]) -> Iterator[None]:
    """Raise where code of this thread opens another file to read it, libraries' and the system's apart.

    `files`: what its identity holds. `folders`: those of its own code, where every file counts.
    """
    if not _HOOKED:
        sys.addaudithook(_hook)
        _HOOKED.append(True)
    watch = _Watch(frozenset(os.path.realpath(path) for path in files), tuple(dict.fromkeys(folders)))
    _WATCHES.append(watch)
    try:
        yield
    finally:
        _WATCHES.remove(watch)


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _WATCHES and event in _EVENTS and arguments[0] is not None:
        mode, flags = arguments[1:3] if event == "open" else ("r", 0)
        _WATCHES[-1].check(arguments[0], mode, flags or 0)


def _is_quoted() -> bool:
    """Say whether source is read to show a line of it, as warnings and tracebacks do."""
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_globals.get("__name__") != "linecache":
        frame = frame.f_back
    return frame is not None


def _elsewhere() -> list[Path]:
    package = sys.modules[SHIPPED].__path__[0]
    places = [*_SYSTEM, package, sys.prefix, sys.base_prefix, sys.exec_prefix, str(cache_folder())]
    return [Path(os.path.realpath(place)) for place in places]
