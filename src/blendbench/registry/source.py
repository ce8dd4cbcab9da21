"""Identify registered code: the function and all that it reaches.

Followed by definition: the file of the function, and blendbench's own modules. Followed as whole modules: the user's
other modules. Not followed: Python and installed packages, whose versions are recorded with each run. Names of modules
and folders are no part of the identity.
"""

import functools
import hashlib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

from blendbench.core.errors import UsageError
from blendbench.registry.folder import Home, file_sha256, home_of
from blendbench.registry.folder import walk as listed
from blendbench.registry.follow import Walk


@dataclass(frozen=True)
class SourceIdentity:
    """The hash of a piece of code.

    `fallback`: why code could not be followed, so that its whole folder counts; None if it could. `files`: the modules
    and data files that count with their content.
    """

    sha256: str
    fallback: str | None
    files: tuple[Path, ...]


# By function, version, declared files and received types; with the state of the files at that time.
_KNOWN: dict[tuple[Any, ...], tuple[Any, SourceIdentity, tuple[Any, ...]]] = {}


def source_identity(
    function: Callable[..., Any],
    version: int,
    *,
    declared_files: Iterable[str | Path] = (),
    receives: tuple[type, ...] = (),
) -> SourceIdentity:
    """Hash a function with all that it reaches, its version and files.

    `declared_files` are relative to the folder of the function's file; a folder stands for all that it holds.
    `receives` are the types of what it is called with: their methods and properties count where the code names them.
    Call it after the module is loaded, because a helper may stand below the function, and before the function is
    called, because it may change its own globals.
    Errors: UsageError (a declared file is missing, there is no source, a constant that has no fixed content).
    """
    declared = tuple(str(path) for path in declared_files)
    # A folder changes with the files that are added to it.
    folders = tuple(home(function)[0].folder / name for name in declared)
    key = (id(function), version, declared, receives)
    if key in _KNOWN:
        _, known, state = _KNOWN[key]
        if state == _state((*known.files, *folders)):
            return known
    identity = _identity(function, version, declared, receives)
    _KNOWN[key] = (
        function,
        identity,
        _state((*identity.files, *folders)),
    )  # holding the function keeps its id from being reused
    return identity


def forget_identities(package: str) -> None:
    """Let go of the functions of a package whose modules were run again."""
    for key, (function, *_) in list(_KNOWN.items()):
        if str(getattr(function, "__module__", "")).partition(".")[0] == package:
            del _KNOWN[key]


def _identity(
    function: Callable[..., Any], version: int, declared: tuple[str, ...], receives: tuple[type, ...]
) -> SourceIdentity:
    place, home_file = home(function)
    walk = Walk(place, home_file, receives)
    content = walk.encode_alone(function)
    walk.check_imports()
    files = walk.modules | walk.data | {path for name in declared for path in _declared(place, name)}
    if walk.fallbacks:
        files |= {*place.python_files(), *place.data_files()}
    hashes = sorted(file_sha256(path) for path in files)
    digest = hashlib.sha256("\0".join([str(version), content, *hashes]).encode()).hexdigest()
    return SourceIdentity(digest, min(walk.fallbacks, default=None), tuple(sorted(files)))


def _declared(home: Home, name: str) -> list[Path]:
    path = Path(os.path.realpath(home.folder / name))
    if path.is_dir():
        return [Path(os.path.realpath(file)) for file in listed(path)]
    if not path.is_file():
        raise UsageError(f"files={name!r}: no such file in {home.folder}")
    return [path]


def home(function: Any) -> tuple[Home, Path]:
    """Return home and file of the user's code in a function. Errors: UsageError."""
    for candidate in _wrapped(function):
        code = candidate.__code__
        place = home_of(candidate.__globals__.get("__name__", ""), code.co_filename)
        if not code.co_filename.startswith("<") and place.root.exists():
            return place, Path(os.path.realpath(code.co_filename))
    raise UsageError(f"{function!r}: its source is not in a file; write it as a function in a Python file")


def _wrapped(function: Any) -> Iterable[FunctionType]:
    """Yield the functions within a callable, the innermost first."""
    if isinstance(function, functools.partial):
        yield from _wrapped(function.func)
        yield from (inner for value in function.args for inner in _wrapped(value) if callable(value))
    elif isinstance(function, MethodType):
        yield from _wrapped(function.__func__)
    elif isinstance(function, FunctionType):
        if inner := getattr(function, "__wrapped__", None):
            yield from _wrapped(inner)
        yield function
    elif hasattr(function, "__wrapped__"):
        yield from _wrapped(function.__wrapped__)
    elif not isinstance(function, BuiltinFunctionType):
        for base in (function if isinstance(function, type) else type(function)).__mro__:
            yield from (value for value in vars(base).values() if isinstance(value, FunctionType))


def _state(files: tuple[Path, ...]) -> tuple[Any, ...]:
    stats = [path.stat() if path.exists() else None for path in files]
    return tuple((stat.st_mtime_ns, stat.st_size) if stat else None for stat in stats)
