"""Parameters of strategies: read from a function's signature, checked when a configuration is bound."""

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from blendbench.errors import UsageError

Value = str | int | float | bool


@dataclass(frozen=True)
class Range:
    """Closed interval of a number."""

    low: float
    high: float


@dataclass(frozen=True)
class Parameter:
    """One setting: its type, default, and interval or choices."""

    name: str
    type: type
    default: Value
    range: Range | None = None
    choices: tuple[Value, ...] = ()

    def check(self, strategy: str, value: Any) -> Value:
        """Convert a value (text from a command line too) to the parameter's type. Errors: UsageError in one line."""
        where = f"{strategy}: {self.name}"
        if self.choices:
            if value not in self.choices:
                raise UsageError(f"{where} = {value!r} is not one of {', '.join(map(str, self.choices))}")
            return value  # type: ignore[no-any-return]
        if self.type is bool or isinstance(value, bool):
            known = {"true": True, "false": False, True: True, False: False}
            if self.type is not bool or value not in known:
                raise UsageError(f"{where} = {value!r} is not a {self.type.__name__}")
            return known[value]
        try:
            number = float(value)
            converted: Value = int(number) if self.type is int else number
        except (TypeError, ValueError):
            raise UsageError(f"{where} = {value!r} is not a number") from None
        if math.isnan(number) or (self.type is int and converted != number):
            raise UsageError(f"{where} = {value!r} is not {'an integer' if self.type is int else 'a number'}")
        if self.range and not self.range.low <= number <= self.range.high:
            raise UsageError(f"{where} = {value} is outside {self.range.low:g}..{self.range.high:g}")
        return converted


def read_parameters(function: Callable[..., object]) -> tuple[tuple[str, ...], dict[str, Parameter]]:
    """The positional names (inputs) and keyword-only parameters of a strategy. Errors: TypeError at registration."""
    hints = get_type_hints(function, include_extras=True)
    inputs: list[str] = []
    parameters: dict[str, Parameter] = {}
    for name, declared in inspect.signature(function).parameters.items():
        if declared.kind is not inspect.Parameter.KEYWORD_ONLY:
            inputs.append(name)
            continue
        if declared.default is inspect.Parameter.empty:
            raise TypeError(f"strategy {function.__name__}: parameter {name} needs a default")
        parameters[name] = _parameter(name, hints.get(name, type(declared.default)), declared.default)
    return tuple(inputs), parameters


def _parameter(name: str, hint: Any, default: Value) -> Parameter:
    interval = None
    if get_origin(hint) is Annotated:
        hint, *notes = get_args(hint)
        interval = next((note for note in notes if isinstance(note, Range)), None)
    if get_origin(hint) is Literal:
        choices = get_args(hint)
        return Parameter(name, type(choices[0]), default, None, choices)
    return Parameter(name, hint, default, interval)
