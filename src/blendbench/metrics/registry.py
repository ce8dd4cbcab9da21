"""Register metrics: a function of a batch, and its card."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from blendbench.core.errors import UsageError
from blendbench.core.hashing import sha256_json
from blendbench.metrics.cards import Card, card_of, make_card, read_card
from blendbench.metrics.shared import check_needs, roots, sources
from blendbench.registry.entries import SHIPPED
from blendbench.registry.plugins import origin_of
from blendbench.registry.reading import reading_only
from blendbench.registry.registry import Registry
from blendbench.registry.source import SourceIdentity, home, source_identity

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from blendbench.core.metric_info import Direction, MetricInfo, Role
    from blendbench.metrics.batch import Batch

    MetricFunction = Callable[[Batch], Tensor | np.ndarray[Any, Any]]
    Function = TypeVar("Function", bound=MetricFunction)

METRICS: Registry[Metric] = Registry(
    "metric",
    modules=tuple(
        f"blendbench.metrics.{module}"
        for module in (
            "grid",
            "blockiness",
            "collapsed",
            "colour",
            "texture",
            "bleeding",
            "adherence",
            "reference",
            "style",
            "effect",
        )
    ),
    group="blendbench.metrics",
)


@dataclass(frozen=True, eq=False)
class Metric:
    """Map a batch of n images to (n,) values, NaN where undefined."""

    info: MetricInfo
    card: Card
    function: MetricFunction = field(repr=False)
    origin: str
    files: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Return the name."""
        return self.info.name

    @property
    def version(self) -> int:
        """Return the version."""
        return self.info.version

    @property
    def needs(self) -> tuple[str, ...]:
        """Return the inputs that the function reads."""
        return self.card.needs

    @cached_property
    def source_sha256(self) -> str:
        """Return the hash of the function's code and of its shared inputs'."""
        inputs = {name: source_identity(source.function, 1).sha256 for name, source in sources(self.needs).items()}
        return sha256_json([self._identity.sha256, inputs])

    @cached_property
    def _identity(self) -> SourceIdentity:
        return source_identity(self.function, self.version, declared_files=self.files)

    def reading_its_files(self) -> AbstractContextManager[None]:
        """Raise where it opens a file that its identity does not hold."""
        functions = [self.function, *(source.function for source in sources(self.needs).values())]
        homes = [home(function) for function in functions]
        files = {*self._identity.files, *(file for _, file in homes)}
        files |= {path for function in functions[1:] for path in source_identity(function, 1).files}
        return reading_only(files, (place.folder for place, _ in homes if not place.shipped))

    @property
    def origins(self) -> frozenset[str]:
        """Return where its function and its shared inputs come from."""
        return frozenset({self.origin, *(source.origin for source in sources(self.needs).values())})

    def reads(self, root: str) -> bool:
        """Say whether a field or scorer is among what its inputs are made from."""
        return root in roots(self.needs)


def metric(
    name: str,
    *,
    needs: tuple[str, ...],
    role: Role | None = None,
    direction: Direction | None = None,
    unit: str | None = None,
    margin: float | None = None,
    range: tuple[float, float] | None = None,
    decimals: int | None = None,
    version: int | None = None,
    title: str | None = None,
    description: str | None = None,
    threshold: float | None = None,
    unscorable: str | None = None,
    weights_licence: str | None = None,
    paired: bool | None = None,
    files: tuple[str, ...] = (),
) -> Callable[[Function], Function]:
    """Register a function of a batch as a metric.

    Its card is given here (`role`, `direction`, `unit` and `margin` at least), or is the file `<name>.md` beside the
    function's own file. `files`: data files that the function reads by a name that its code does not state.

    Errors: UsageError for a name that is malformed or taken, an unknown need, a card that is missing or malformed, or
    one that disagrees with the function on needs or pairing.
    """
    given = {
        "role": role,
        "direction": direction,
        "unit": unit,
        "margin": margin,
        "range": range,
        "decimals": decimals,
        "version": version,
        "title": title,
        "text": description,
        "threshold": threshold,
        "unscorable": unscorable,
        "weights_licence": weights_licence,
        "paired": paired,
    }
    inline = {key: value for key, value in given.items() if value is not None}

    def register(function: Function) -> Function:
        check_needs(f"metric {name!r}", needs)
        origin = origin_of(function)
        card = _inline_card(name, needs, inline, function) if inline else _card_file(name, function, origin)
        _check_agreement(card, tuple(needs), f"metric {name!r}" if inline else f"{name}.md")
        made = Metric(card.info("baselines" in roots(needs)), card, function, origin, tuple(files))
        METRICS.add(name, made, origin=origin)
        return function

    return register


def _inline_card(name: str, needs: tuple[str, ...], given: dict[str, Any], function: MetricFunction) -> Card:
    defaults: dict[str, Any] = {
        "title": name.replace("_", " ").capitalize(),
        "version": 1,
        "range": (float("-inf"), float("inf")),
        "decimals": 3,
        "text": inspect.getdoc(function) or "",
    }
    return make_card(f"metric {name!r}", defaults | given | {"name": name, "needs": tuple(needs)})


def _card_file(name: str, function: MetricFunction, origin: str) -> Card:
    if origin == SHIPPED:
        return card_of(name)
    code = getattr(inspect.unwrap(function), "__code__", None)
    if code is None:
        raise UsageError(f"metric {name!r}: decorate a function, not {type(function).__name__}")
    path = Path(os.path.realpath(code.co_filename)).with_name(f"{name}.md")
    if not path.is_file():
        raise UsageError(
            f"metric {name!r} has no card; give role, direction, unit and margin to @metric, or write {path}"
        )
    return read_card(path)


def _check_agreement(card: Card, needs: tuple[str, ...], where: str) -> None:
    if sorted(card.needs) != sorted(needs):
        raise UsageError(f"{where}: needs = {list(card.needs)}, but the function needs {list(needs)}")
    paired = "baselines" in roots(needs)
    if card.paired is not None and card.paired != paired:
        reads = "reads" if paired else "does not read"
        raise UsageError(f"{where}: paired = {str(card.paired).lower()}, but the function {reads} the baselines")
