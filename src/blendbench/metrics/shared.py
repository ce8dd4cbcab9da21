"""Shared inputs: what several metrics read, computed once a batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from blendbench.core.config import suggest
from blendbench.core.errors import UsageError
from blendbench.registry.plugins import origin_of
from blendbench.registry.registry import Registry

Made = TypeVar("Made")

# What a batch is made from: one entry an image, but for the suite's pairs; and the networks that judge images.
FIELDS = ("images", "baselines", "references", "prompts", "facts", "expects", "reference_expects", "pairs")
SCORERS = ("clip", "siglip", "judge", "probe")


class Inputs(Protocol):
    """Offer inputs by name, as a Batch does."""

    def __getitem__(self, name: str) -> Any:
        """Return an input."""


@dataclass(frozen=True, eq=False)
class SharedInput(Generic[Made]):
    """Compute a value from a batch once: call it with the batch.

    `needs`: the fields, scorers and other shared inputs that `function` reads.
    """

    name: str
    needs: tuple[str, ...]
    function: Callable[[Any], Made] = field(repr=False)
    origin: str

    def __call__(self, batch: Inputs) -> Made:
        """Return the value for a batch, computed at the first call."""
        made: Made = batch[self.name]
        return made


SHARED: Registry[SharedInput[Any]] = Registry("shared input", modules=("blendbench.metrics.inputs",))


def shared_input(name: str, *, needs: tuple[str, ...]) -> Callable[[Callable[[Any], Made]], SharedInput[Made]]:
    """Register a function of a batch as a value that metrics may need.

    Errors: UsageError for a name that is malformed or taken, or an unknown need.
    """

    def register(function: Callable[[Any], Made]) -> SharedInput[Made]:
        if name in (*FIELDS, *SCORERS):
            raise UsageError(f"shared input {name!r}: a batch has this already; use another name")
        check_needs(f"shared input {name!r}", needs)
        made = SharedInput(name, tuple(needs), function, origin_of(function))
        SHARED.add(name, made, origin=made.origin)
        return made

    return register


def check_needs(what: str, needs: Iterable[str]) -> None:
    """Raise UsageError for a need that no batch can offer."""
    if isinstance(needs, str):
        raise UsageError(f"{what}: needs = {needs!r}; write a tuple of names, as ({needs!r},)")
    for need in needs:
        if need not in (*FIELDS, *SCORERS) and need not in SHARED:
            known = [*FIELDS, *SCORERS, *SHARED.names()]
            raise UsageError(f"{what} needs an unknown input {need!r}{suggest(str(need), known)}")


def roots(needs: Iterable[str]) -> frozenset[str]:
    """Return the fields and scorers that some inputs are made from."""
    return frozenset(root for need in needs for root in (roots(SHARED.get(need).needs) if need in SHARED else (need,)))


def sources(needs: Iterable[str]) -> dict[str, SharedInput[Any]]:
    """Return the shared inputs among some needs, and their own, by name."""
    found: dict[str, SharedInput[Any]] = {}
    for need in needs:
        if need in SHARED:
            found |= {need: SHARED.get(need)} | sources(SHARED.get(need).needs)
    return found
