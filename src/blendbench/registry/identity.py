"""The identity of a strategy's code: what a cell id depends on, so that changed code is drawn again."""

import hashlib
import inspect
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any

_SHARED = "blendbench.blending"


def code_sha256(function: Callable[..., Any], version: int) -> str:
    """Hex sha256 of a version, a function's source, and the source of all that it reaches by name.

    Followed are functions, classes and plain constants of the function's own top-level package and of
    `blendbench.blending`; torch and other packages are not, their versions stand in the run's record. Call it after the
    module is loaded: a helper may be written below the function that uses it. Errors: OSError if there is no source.
    """
    home = _package(function.__module__)
    texts: set[str] = set()
    waiting, seen = [inspect.unwrap(function)], set()
    while waiting:
        current = waiting.pop()
        if current in seen:
            continue
        seen.add(current)
        texts.add(inspect.getsource(current))
        if not isinstance(current, FunctionType):
            continue
        for name, value in _reached(current):
            if isinstance(value, bool | int | float | str | tuple):
                texts.add(f"{name} = {value!r}")
            elif (callable(value) or isinstance(value, type)) and _is_followed(value, home):
                waiting.append(inspect.unwrap(value))
    return hashlib.sha256("\0".join([str(version), *sorted(texts)]).encode()).hexdigest()


def _package(module: str) -> str:
    return module.partition(".")[0]


def _is_followed(value: Any, home: str) -> bool:
    unwrapped = inspect.unwrap(value)
    if not isinstance(unwrapped, FunctionType | type):
        return False
    module = unwrapped.__module__
    if _package(module) == _package(_SHARED):
        return module == _SHARED or module.startswith(f"{_SHARED}.")
    return _package(module) == home


def _reached(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """Globals, closure variables and attributes of global modules that a function's code names."""
    closure = inspect.getclosurevars(function).nonlocals
    yield from closure.items()
    names = set(_names(function.__code__))
    found = [(name, function.__globals__[name]) for name in sorted(names) if name in function.__globals__]
    for name, value in found:
        yield name, value
        if isinstance(value, ModuleType) and value.__name__.startswith((_SHARED, _package(function.__module__))):
            yield from ((n, getattr(value, n)) for n in sorted(names) if hasattr(value, n))


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)
