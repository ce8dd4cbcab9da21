"""Load plug-ins: a file with the modules beside it, or a package.

A plug-in's folder becomes a package with a name of its own, so that two plug-ins never share a helper module. Within
it, `import helper` finds the file beside the plug-in first, at load time and later; other code is not affected.
"""

import builtins
import functools
import hashlib
import importlib
import importlib.machinery
import importlib.metadata
import importlib.util
import linecache
import os
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import FunctionType, MappingProxyType, ModuleType
from typing import Any

from blendbench.core.errors import UsageError
from blendbench.registry.entries import transaction
from blendbench.registry.folder import PLUGIN_PREFIX, SHIPPED, Home, module_source
from blendbench.registry.guard import guarded_state
from blendbench.registry.syntax import facts

# sys.path as it was before each plug-in that is being loaded.
_PATH_BEFORE: list[list[str]] = []
# State of all files of a loaded plug-in, by its main file.
_LOADED: dict[Path, tuple[ModuleType, str]] = {}
# What was run of each Python file, which may have been written again meanwhile.
_RAN: dict[Path, bytes] = {}


def load_plugin_file(path: Path, again: bool = False) -> ModuleType:
    """Import a Python file and the modules beside it that it uses.

    Run it again only if one of them has changed, or if `again` says so. Errors: UsageError in one line, with the file
    and line of the user's code; nothing it registered stays.
    """
    file = Path(os.path.realpath(path))
    if not file.is_file():
        raise UsageError(f"{path}: no such file")
    if file.suffix != ".py":
        raise UsageError(f"{path}: not a Python file; its name must end in .py")
    package = _package_name(file.parent)
    if not again and file in _LOADED and _LOADED[file][1] == _state(package, file.parent):
        return _LOADED[file][0]
    # A changed plug-in starts afresh, its helpers too; other files of its folder keep what they registered.
    old = {name: module for name, module in sys.modules.items() if _is_within(name, package)}
    others = {str(other) for other in _LOADED if other != file}
    replaced = frozenset(
        {str(module.__file__) for module in old.values() if getattr(module, "__file__", None)} - others
    )
    if file in _LOADED:
        _forget(package)
    with _third_party(str(path), file.parent), transaction(replaced if file in _LOADED else frozenset()):
        try:
            module = _run(file, package)
        except BaseException:
            _forget(package)
            sys.modules.update(old)
            if file in _LOADED:  # the older module stays, but its source is gone: it is run again if it comes back
                _LOADED[file] = (_LOADED[file][0], "")
            raise
    _LOADED[file] = (module, _state(package, file.parent, _RAN))
    return module


def plugin_files(file: Path) -> set[Path]:
    """Return the files of which a change makes `load_plugin_file` run a file again.

    Of one that is not loaded, or could not be loaded again, those are all Python files of its folder, and the folder:
    a module may be missing.
    """
    package = _package_name(file.parent)
    files = _files(package, file.parent)
    if _LOADED.get(file, (None, ""))[1] == "":
        home = Home(file.parent, (file.parent,))
        files |= {file.parent, *(home.python_files() if home.is_its_own else file.parent.glob("*.py"))}
    return files


def load_entry_points(group: str) -> list[str]:
    """Load a group's entry points; return their names. Errors: UsageError."""
    names = []
    for entry in sorted(importlib.metadata.entry_points(group=group), key=lambda entry: entry.name):
        package = entry.dist.name if entry.dist else entry.module
        with _third_party(f"installed package {package}, entry point {entry.name}", None), transaction():
            entry.load()
        names.append(entry.name)
    return names


def origin_of(function: Any) -> str:
    """Return the origin: `blendbench`, a plug-in file or a package."""
    inner = function
    while not isinstance(inner, FunctionType | type):
        held = inner.func if isinstance(inner, functools.partial) else getattr(inner, "__func__", None)
        inner = held or type(inner)
    top = inner.__module__.partition(".")[0]
    module = sys.modules.get(inner.__module__)
    if top.startswith(PLUGIN_PREFIX) or top == "__main__":
        return str(getattr(module, "__file__", None) or top)
    return top


@contextmanager
def _third_party(what: str, folder: Path | None) -> Iterator[None]:
    try:
        with guarded_state():
            yield
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a plug-in may raise SystemExit too
        if isinstance(error, ModuleNotFoundError) and error.name == "torch":
            raise  # no fault of the plug-in: the command line names the extra that brings it
        raise UsageError(_one_line(what, folder, error)) from error


def _one_line(what: str, folder: Path | None, error: BaseException) -> str:
    message = " ".join(str(error).split())
    text = message if isinstance(error, UsageError) else f"{type(error).__name__}: {message}".rstrip(": ")
    frames = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.filename:
        frames.append((error.filename, error.lineno))
        text = f"{type(error).__name__}: {error.msg}"
    if folder is None:
        own = [(name, line) for name, line in frames if not _is_machinery(name)]
        return f"{what}: {f'{own[-1][0]}:{own[-1][1]}: ' if own else ''}{text}"
    own = [(name, line) for name, line in frames if folder in Path(name).parents]
    if not own:
        return f"{what}: {text}"
    # The file as the user gave it, or another one of its folder.
    name = what if os.path.realpath(what) == own[-1][0] else own[-1][0]
    return f"{name}:{own[-1][1]}: {text}"


def _is_machinery(filename: str) -> bool:
    here = str(Path(__file__).parents[1])
    return filename.startswith(("<frozen", here)) or filename in (importlib.__file__, importlib.metadata.__file__)


def _run(file: Path, package: str) -> ModuleType:
    if package not in sys.modules:
        _make_package(package, file.parent)
    name = f"{package}.{file.stem.replace('.', '_')}"
    if name in sys.modules:  # another plug-in of the folder has imported it
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file, loader=_Loader(name, str(file)))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look their module up there
    _PATH_BEFORE.append(list(sys.path))
    try:
        spec.loader.exec_module(module)
    finally:
        _PATH_BEFORE.pop()
    setattr(sys.modules[package], file.stem, module)
    return module


def _make_package(name: str, folder: Path) -> None:
    init = folder / "__init__.py"
    loader = _Loader(name, str(init)) if init.is_file() else None
    spec = ModuleSpec(name, loader, origin=str(init) if loader else None, is_package=True)
    spec.submodule_search_locations = [str(folder)]
    spec.has_location = loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    if loader is not None:
        loader.exec_module(module)


class _Loader(SourceFileLoader):
    """Run a plug-in's file with its own `import`, and keep its source."""

    def exec_module(self, module: ModuleType) -> None:
        """Run the file."""
        data = Path(self.path).read_bytes()
        _RAN[Path(self.path)] = data
        text = importlib.util.decode_source(data)
        # Without a time of modification the entry stays, so the identity is of the code that runs.
        linecache.cache[self.path] = (len(text), None, text.splitlines(keepends=True), self.path)
        package = module.__name__.partition(".")[0]
        vars(module)["__builtins__"] = vars(builtins) | {"__import__": _Import(package)}
        exec(compile(data, self.path, "exec", dont_inherit=True), vars(module))


class _Finder(MetaPathFinder):
    """Finds modules of plug-in packages, and nothing else."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find a submodule of a plug-in package."""
        if not fullname.startswith(PLUGIN_PREFIX) or path is None:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(fullname, spec.loader.path)
        return spec


sys.meta_path.insert(0, _Finder())


class _Import:
    """The `import` statement within a plug-in: files beside it come first."""

    def __init__(self, package: str) -> None:
        self.package = package

    def __call__(
        self,
        name: str,
        globals: dict[str, Any] | None = None,
        locals: dict[str, Any] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        """Import as Python would, with the plug-in's folder first on the path."""
        if level == 0 and name.partition(".")[0] == "importlib":
            return self._importlib(name, fromlist)
        if level != 0 or not self._is_beside(name.partition(".")[0]):
            return builtins.__import__(name, globals, locals, fromlist or (), level)
        if fromlist:
            return builtins.__import__(f"{self.package}.{name}", globals, locals, fromlist, 0)
        importlib.import_module(f"{self.package}.{name}")
        return sys.modules[f"{self.package}.{name.partition('.')[0]}"]

    def _is_beside(self, top: str) -> bool:
        if top == SHIPPED:
            return False
        paths = sys.modules[self.package].__path__
        # A plug-in that extends sys.path means its own imports; sys.path itself is restored after it has loaded.
        before = _PATH_BEFORE[-1] if _PATH_BEFORE else sys.path
        paths += [entry for entry in sys.path if entry not in before and entry not in paths]
        return PathFinder.find_spec(f"{self.package}.{top}", list(paths)) is not None

    def _importlib(self, name: str, fromlist: Sequence[str] | None) -> ModuleType:
        found = builtins.__import__(name, None, None, fromlist or (), 0)
        if found is not importlib:
            return found
        own = ModuleType("importlib")
        vars(own).update(vars(importlib))
        vars(own)["import_module"] = self._import_module
        return own

    def _import_module(self, name: str, package: str | None = None) -> ModuleType:
        beside = not name.startswith(".") and self._is_beside(name.partition(".")[0])
        return importlib.import_module(f"{self.package}.{name}" if beside else name, package)


def _package_name(folder: Path) -> str:
    return PLUGIN_PREFIX + hashlib.sha256(str(folder).encode()).hexdigest()[:12]


def _is_within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def _forget(package: str) -> None:
    for name in [name for name in sys.modules if _is_within(name, package)]:
        del sys.modules[name]
    importlib.invalidate_caches()


def _state(package: str, folder: Path, ran: Mapping[Path, bytes] = MappingProxyType({})) -> str:
    """Hash all loaded modules of a plug-in, and the data files that they name.

    `ran`: contents that count in place of those on disk.
    """
    digest = hashlib.sha256()
    for path in sorted(_files(package, folder)):
        digest.update(ran[path] if path in ran else path.read_bytes() if path.is_file() else b"missing")
        digest.update(b"\0")
    return digest.hexdigest()


def _files(package: str, folder: Path) -> set[Path]:
    """Return the files of all loaded modules of a plug-in, and the data files that they name."""
    home = Home(folder, (folder,))
    files: set[Path] = set()
    loaded = [module for name, module in list(sys.modules.items()) if _is_within(name, package)]
    for path in [Path(str(module.__file__)) for module in loaded if getattr(module, "__file__", None)]:
        files.add(path)
        source = module_source(path) if path.is_file() else None
        if source is not None:
            files |= home.named(facts(source.tree).literals, opens=home.is_its_own)
    return files
