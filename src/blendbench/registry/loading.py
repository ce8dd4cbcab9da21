"""Load files of a user's own: strategies, steps and metrics."""

import os
from pathlib import Path
from types import ModuleType

from blendbench.core.errors import UsageError
from blendbench.registry.entries import SHIPPED
from blendbench.registry.plugins import load_plugin_file, plugin_files
from blendbench.registry.registry import Registry
from blendbench.registry.source import forget_identities
from blendbench.registry.strategies import all_strategies, get_strategy


def load_plugin(path: Path) -> list[str]:
    """Import a Python file; return the strategies it registers, if any.

    A file that was loaded before is run again, in place of what it registered, if it or what it reads has changed.
    Errors: UsageError (no file, an error in it, nothing registered).
    """
    return load_everything(path).get("strategy", [])


def load_everything(path: Path) -> dict[str, list[str]]:
    """Import a file; return registered names by kind, as `load_plugin`."""
    all_strategies()
    names = _load(path)
    if any(kind == "strategy" and get_strategy(name).is_outdated for kind, name in names):
        # A file changed that its strategies read and that loading did not.
        names = _load(path, again=True)
    if not names:
        raise UsageError(
            f"{path}: registers no strategy, step or metric; decorate a function with blendbench.blending.strategy"
            " or blendbench.metrics.metric"
        )
    found: dict[str, list[str]] = {}
    for kind, name in sorted(names):
        found.setdefault(kind, []).append(name)
    return found


def files_behind(path: Path) -> set[Path]:
    """Return the files that a change of what `path` registered may be in.

    After it could not be loaded, these are all Python files of its folder too.
    """
    file = Path(os.path.realpath(path))
    found = {file, *plugin_files(file)}
    for strategy in all_strategies().values():
        if strategy.origin == str(file):
            found.update(strategy.files_read)
    return found


# The module of each plug-in's file, and what it registered, as (kind, name).
_ADDED: dict[str, tuple[ModuleType, set[tuple[str, str]]]] = {}


def _load(path: Path, again: bool = False) -> set[tuple[str, str]]:
    before = registered()
    module = load_plugin_file(path, again)
    known, names = _ADDED.get(str(module.__file__), (None, set()))
    # The same file given twice is not run again, and registers what it did.
    if known is not module:
        names = {key for key, value in registered().items() if before.get(key) is not value}
        forget_identities(module.__name__.partition(".")[0])
        _ADDED[str(module.__file__)] = (module, names)
    return names


def registered() -> dict[tuple[str, str], object]:
    """Return what is registered and not shipped, by kind and name."""
    return {
        (registry.kind, name): entry.value
        for registry in Registry.every
        for name, entry in registry.entries().items()
        if entry.origin != SHIPPED
    }
