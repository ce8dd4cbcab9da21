"""One registry for strategies, steps and metrics: names, lazy loading, and registration that can be undone."""

import contextlib
import importlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from blendbench.core.errors import UsageError

T = TypeVar("T")
SHIPPED = "blendbench"


@dataclass(frozen=True)
class Entry(Generic[T]):
    """A registered value; `origin` is the file or package that registered it."""

    value: T
    origin: str


class Registry(Generic[T]):
    """Values of one kind by name: shipped ones, those of installed packages, and those of plug-in files.

    `modules` register the shipped values when they are imported, which the first lookup does; `group` names the entry
    points of installed packages.
    """

    every: ClassVar[list["Registry[Any]"]] = []

    def __init__(self, kind: str, *, modules: tuple[str, ...] = (), group: str | None = None) -> None:
        self.kind = kind
        self._modules = modules
        self._group = group
        self._entries: dict[str, Entry[T]] = {}
        self._loads_shipped = bool(modules)
        self._loads_installed = group is not None
        Registry.every.append(self)

    def add(self, name: str, value: T, *, origin: str = SHIPPED) -> None:
        """Register a value. Errors: UsageError for a name that is malformed or taken."""
        check_name(self.kind, name)
        if origin != SHIPPED:
            self._load_shipped()  # so that the later one is refused, whichever is asked for first
        if name in self._entries:
            first = self._entries[name].origin
            raise UsageError(f"{self.kind} {name!r} is registered twice: in {first} and in {origin}; rename one")
        self._entries[name] = Entry(value, origin)

    def get(self, name: str) -> T:
        """Look a value up. Errors: UsageError with a suggestion."""
        self._load()
        if name not in self._entries:
            from blendbench.core.config import suggest  # pydantic takes a while to import

            raise UsageError(f"unknown {self.kind} {name!r}{suggest(name, self.names())}")
        return self._entries[name].value

    def entries(self) -> dict[str, Entry[T]]:
        """Return what is registered so far, without loading anything."""
        return dict(self._entries)

    def origin(self, name: str) -> str:
        """Return the file or package that registered a name. Errors: UsageError with a suggestion."""
        self.get(name)
        return self._entries[name].origin

    def all(self) -> dict[str, T]:
        """Return every value by name, sorted by name."""
        self._load()
        return {name: entry.value for name, entry in sorted(self._entries.items())}

    def names(self) -> list[str]:
        """Return every name, sorted."""
        return list(self.all())

    def __contains__(self, name: object) -> bool:
        return name in self.all()

    def _load(self) -> None:
        self._load_shipped()
        if self._loads_installed and self._group is not None:
            from blendbench.registry.plugins import load_entry_points

            self._loads_installed = False  # before: a package may look shipped values up while it loads
            try:
                load_entry_points(self._group)
            except BaseException:
                self._loads_installed = True
                raise

    def _load_shipped(self) -> None:
        if self._loads_shipped:
            self._loads_shipped = False
            try:
                for module in self._modules:
                    importlib.import_module(module)
            except BaseException:
                self._loads_shipped = True
                raise


def check_name(kind: str, name: str) -> None:
    """Errors: UsageError for what a command line could not carry, as in `lerp:align=area,alpha=0.3`."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise UsageError(f"{kind} {name!r}: a name starts with a letter and has lower-case letters, digits and _ only")


@contextlib.contextmanager
def transaction(replacing: frozenset[str] = frozenset()) -> Iterator[None]:
    """Undo all registrations in every registry if the code within fails.

    `replacing`: origins whose earlier registrations the code within makes anew.
    """
    before = [(registry, registry.entries()) for registry in Registry.every]
    try:
        for registry, entries in before:
            for name, entry in entries.items():
                if entry.origin in replacing:
                    del registry._entries[name]
        yield
    except BaseException:
        kept = {id(registry): entries for registry, entries in before}
        for registry in Registry.every:  # with those that the code within has imported
            entries = kept.get(id(registry), {})
            # Shipped values that were loaded meanwhile stay: their modules are not imported a second time.
            shipped = {name: entry for name, entry in registry._entries.items() if entry.origin == SHIPPED}
            registry._entries.clear()
            registry._entries.update(entries | shipped)
        raise
