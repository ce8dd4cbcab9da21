"""One registry for strategies, steps and metrics: names and lazy loading."""

import importlib
from typing import TypeVar

from blendbench.core.errors import UsageError, one_line
from blendbench.registry.entries import SHIPPED, Entries
from blendbench.registry.plugins import load_entry_points

T = TypeVar("T")


class Registry(Entries[T]):
    """Values of one kind by name: shipped, from packages and from plug-ins.

    `modules` register the shipped values when they are imported, which the first lookup does; `group` names the entry
    points of installed packages.
    """

    def __init__(self, kind: str, *, modules: tuple[str, ...] = (), group: str | None = None) -> None:
        super().__init__(kind)
        self._modules = modules
        self._group = group
        self._loads_shipped = bool(modules)
        self._loads_installed = group is not None

    def add(self, name: str, value: T, *, origin: str = SHIPPED) -> None:
        """Register a value. Errors: UsageError (a malformed or taken name)."""
        if origin != SHIPPED:
            self._load_shipped()  # so that the later one is refused, whichever is asked for first
        super().add(name, value, origin=origin)

    def get(self, name: str) -> T:
        """Look a value up. Errors: UsageError with a suggestion."""
        self._load()
        if name not in self._entries:
            from blendbench.core.config import suggest  # pydantic takes a while to import

            raise UsageError(f"unknown {self.kind} {one_line(name, 100)!r}{suggest(name, self.names())}")
        return self._entries[name].value

    def origin(self, name: str) -> str:
        """Return the file or package that registered a name. Errors: UsageError."""
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
