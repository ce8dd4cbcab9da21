"""Registered entries, and how a registration is undone."""

import contextlib
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


class Entries(Generic[T]):
    """Values of one kind by name."""

    every: ClassVar[list[Any]] = []

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, Entry[T]] = {}
        Entries.every.append(self)

    def add(self, name: str, value: T, *, origin: str = SHIPPED) -> None:
        """Register a value. Errors: UsageError (a malformed or taken name)."""
        check_name(self.kind, name)
        if name in self._entries:
            first = self._entries[name].origin
            raise UsageError(f"{self.kind} {name!r} is registered twice: in {first} and in {origin}; rename one")
        self._entries[name] = Entry(value, origin)

    def entries(self) -> dict[str, Entry[T]]:
        """Return what is registered so far, without loading anything."""
        return dict(self._entries)


def check_name(kind: str, name: str) -> None:
    """Refuse values that a command line cannot carry.

    One is `lerp:align=area,alpha=0.3`. Errors: UsageError.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise UsageError(f"{kind} {name!r}: a name starts with a letter and has lower-case letters, digits and _ only")


@contextlib.contextmanager
def transaction(replacing: frozenset[str] = frozenset()) -> Iterator[None]:
    """Undo all registrations in every registry if the code within fails.

    `replacing`: origins whose earlier registrations the code within makes anew.
    """
    before = [(registry, registry.entries()) for registry in Entries.every]
    try:
        for registry, entries in before:
            for name, entry in entries.items():
                if entry.origin in replacing:
                    del registry._entries[name]
        yield
    except BaseException:
        kept = {id(registry): entries for registry, entries in before}
        for registry in Entries.every:  # with those that the code within has imported
            entries = kept.get(id(registry), {})
            # Shipped values that were loaded meanwhile stay: their modules are not imported a second time.
            shipped = {name: entry for name, entry in registry._entries.items() if entry.origin == SHIPPED}
            registry._entries.clear()
            registry._entries.update(entries | shipped)
        raise
