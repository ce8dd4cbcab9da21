"""Find a plug-in's own modules, and the data files beside it."""

import functools
import hashlib
import importlib.machinery
import importlib.util
import os
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from blendbench.core.errors import UsageError
from blendbench.registry.syntax import Import, Source, facts, parse

SHIPPED = "blendbench"
PLUGIN_PREFIX = "blendbench_plugin_"
# A plug-in beside more files than this lies in no folder of its own.
MOST_FILES = 5000
_LIBRARIES = tuple(
    os.path.realpath(path) + os.sep
    for name, path in sysconfig.get_paths().items()
    if name in ("stdlib", "platstdlib", "purelib", "platlib")
)
_ENDS = (".py", ".pyc")


@dataclass(frozen=True)
class Home:
    """The place of a piece of code.

    `root`: the folder or file that holds all of it. `imports`: the folders in which its absolute imports are looked up.
    """

    root: Path
    imports: tuple[Path, ...]
    shipped: bool = False

    @property
    def folder(self) -> Path:
        """Return the folder of its data files."""
        return self.root if self.root.is_dir() else self.root.parent

    def owns(self, filename: str) -> bool:
        """Report whether a source file is its own, or user code elsewhere."""
        if filename.startswith("<"):
            return False
        path = _real(filename)
        return path == self.root or self.root in path.parents or not is_library(path)

    def module_files(self, wanted: Import, importer: Path) -> list[Path]:
        """Return the own files that an import statement runs; import nothing."""
        parts = [part for part in wanted.module.split(".") if part]
        if wanted.level:
            base: Path | None = importer.parents[wanted.level - 1]
        elif parts[0] in (SHIPPED, "__future__"):
            return []
        else:
            beside = (folder for folder in self.imports if _is_module(folder / parts[0]))
            base = next(beside, None) or _user_folder(parts[0])
        if base is None:
            return []
        within = [_module_file(base.joinpath(*parts, name)) for name in wanted.names]
        # `import a.b` may go on to use a; `from a.b import c` uses what a.b holds, unless c is a module itself.
        first = len(parts) if wanted.names else 1
        around = [_module_file(base.joinpath(*parts[:end])) for end in range(first, len(parts) + 1)]
        found = within if within and None not in within else [*around, *within]
        return [path for path in found if path is not None]

    def python_files(self) -> list[Path]:
        """Return all its Python files, for code that cannot be followed."""
        return [self.root] if self.root.is_file() else [path for path in self.files if path.suffix == ".py"]

    def data_files(self) -> list[Path]:
        """Return all files that are not Python's, results folders left out."""
        if self.shipped or self.root.is_file():
            return []
        return [path for path in self.files if not path.name.endswith(_ENDS)]

    def named(self, literals: frozenset[str], opens: bool) -> set[Path]:
        """Return data files that strings name, by their end if code opens files."""
        found: set[Path] = set()
        for text in literals:
            if _may_be_path(text) and not self.shipped:
                # Code that opens a relative path reads it from the current folder.
                places = [self.folder / text, Path(text)] if opens else [self.folder / text]
                files = [path for path in map(_real, places) if path.is_file()]
                found |= {path for path in files if not path.name.endswith(_ENDS)}
        if opens and self.root.is_dir() and not self.shipped:
            names = {Path(text).name for text in literals if _may_be_path(text)} - {""}
            ends = tuple(text.rpartition("*")[2] for text in literals if _is_suffix(text))
            found |= {path for path in self.data_files() if path.name in names or (ends and path.name.endswith(ends))}
        return found

    @functools.cached_property
    def _listed(self) -> list[Path]:
        return walk(self.folder)

    @property
    def is_its_own(self) -> bool:
        """Say whether its folder holds few enough files to be its own."""
        return len(self._listed) <= MOST_FILES

    @property
    def files(self) -> list[Path]:
        """Return all files in its folder. Errors: UsageError if too many."""
        if not self.is_its_own:
            raise UsageError(
                f"{self.folder}: more than {MOST_FILES} files beside the plug-in; give it a folder of its own"
            )
        return self._listed


def home_of(module_name: str, filename: str) -> Home:
    """Find the home of code by its module's name and its file."""
    path = _real(filename)
    top = module_name.partition(".")[0]
    if top == SHIPPED:
        root = _real(sys.modules[SHIPPED].__path__[0])
        return Home(root, (root.parent,), shipped=True)
    package = sys.modules.get(top)
    # The folder of the package that holds the file: a package may have several.
    folders = tuple(_real(entry) for entry in getattr(package, "__path__", None) or ())
    for root in folders:
        if root in path.parents:
            return Home(root, folders if top.startswith(PLUGIN_PREFIX) else (root.parent,))
    if is_library(path):
        return Home(path, (path.parent,))
    return Home(path.parent, (path.parent,))


@functools.cache
def is_library(path: Path) -> bool:
    """Say whether a file belongs to Python or to an installed package."""
    return str(path).startswith(_LIBRARIES) or {"site-packages", "dist-packages"} & set(path.parts) != set()


def is_shipped(module: str) -> bool:
    """Say whether a module is blendbench's own."""
    return module.partition(".")[0] == SHIPPED


def file_sha256(path: Path) -> str:
    """Hash a file; Python files without comments and docstrings."""
    stat = path.stat()
    return _file_sha256(path, stat.st_mtime_ns, stat.st_size)


@functools.lru_cache(maxsize=4096)
def _file_sha256(path: Path, _modified: int, _size: int) -> str:
    if path.suffix == ".py" and (source := module_source(path)) is not None:
        return facts(source.tree).sha256
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def module_name(value: Any) -> str:
    """Return the name of the module that defines a function or class."""
    if isinstance(value, FunctionType):
        return str(value.__globals__.get("__name__", ""))  # `__module__` of a wrapper names the wrapped one's
    return str(getattr(value, "__module__", None) or "")


def module_at(path: Path) -> ModuleType | None:
    """Find the loaded module of a file."""
    # The last first: code that is followed was loaded after some thousand modules of libraries.
    modules = (module for module in reversed(list(sys.modules.values())) if isinstance(module, ModuleType))
    return next((module for module in modules if vars(module).get("__file__") == str(path)), None)


def module_source(path: Path) -> Source | None:
    """Parse a module that may not have been imported."""
    try:
        return parse(importlib.util.decode_source(path.read_bytes()))
    except (SyntaxError, UnicodeDecodeError):
        return None


def walk(folder: Path) -> list[Path]:
    """List files below a folder in fixed order, without caches and results."""
    found: list[Path] = []
    for top, folders, files in os.walk(folder):
        here = Path(top)
        if here != folder and ({"blendbench.duckdb", "pyvenv.cfg"} & set(files) or "shards" in folders):
            folders.clear()
            continue
        folders[:] = sorted(n for n in folders if not n.startswith(".") and n not in ("__pycache__", "node_modules"))
        found += [here / name for name in sorted(files) if not name.startswith(".")]
        if len(found) > MOST_FILES:
            break
    return found


def _is_module(path: Path) -> bool:
    return _module_file(path) is not None or path.is_dir()


def _module_file(path: Path) -> Path | None:
    compiled = [path.name + end for end in importlib.machinery.EXTENSION_SUFFIXES]
    for name in (f"{path.name}/__init__.py", *compiled, path.name + ".py") if path.name else ():
        if (candidate := path.parent / name).is_file():
            return _real(candidate)
    return None


@functools.cache
def _user_folder(top: str) -> Path | None:
    if not top or top in sys.stdlib_module_names:
        return None
    try:
        spec = importlib.machinery.PathFinder.find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    path = _real(spec.origin)
    if is_library(path):
        return None
    return path.parent.parent if path.name == "__init__.py" else path.parent


def _may_be_path(text: str) -> bool:
    return 0 < len(text) < 256 and text.isprintable() and text not in (".", "..", "/")


def _is_suffix(text: str) -> bool:
    end = text.rpartition("*")[2]
    return end.startswith(".") and end[1:].replace(".", "").isalnum()


def _real(filename: str | Path) -> Path:
    return Path(os.path.realpath(filename))
