"""Parameters of strategies: read from a function's signature, checked when a configuration is bound."""

import inspect
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal, TypeVar, get_args, get_origin, get_type_hints

from blendbench.core.errors import UsageError

Value = str | int | float | bool
Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class Range:
    """Closed interval of a number."""

    low: float
    high: float


Alpha = Annotated[float, Range(0, 1)]


class Steps(dict[str, Function]):
    """Interchangeable functions of one kind by name. A setting annotated with them, as `Annotated[str, ALIGNMENTS]`,
    names one of them; a plug-in may register more."""

    every: ClassVar[list["Steps[Any]"]] = []

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        Steps.every.append(self)

    def register(self, name: str) -> Callable[[Function], Function]:
        """A decorator that adds a function by a name. Errors: ValueError for a name that is malformed or taken."""

        def add(function: Function) -> Function:
            check_name(self.kind, name)
            if name in self:
                raise ValueError(f"{self.kind} {name!r} is registered twice; names must be unique")
            self[name] = function
            return function

        return add


def check_name(kind: str, name: str) -> None:
    """Errors: ValueError for what a command line could not carry, as in `lerp:align=area,alpha=0.3`."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise ValueError(f"{kind} {name!r}: a name has lower-case letters, digits and underscores only")


@dataclass(frozen=True)
class Parameter:
    """One setting: its type, default, and interval or choices."""

    name: str
    type: type
    default: Value
    range: Range | None = None
    choices: tuple[Value, ...] = ()
    steps: Steps[Any] | None = None

    @property
    def options(self) -> tuple[Value, ...]:
        """What can be chosen, or () for what is not a choice; a registry may have grown since."""
        return self.choices if self.steps is None else tuple(self.steps)

    def check(self, strategy: str, value: Any) -> Value:
        """Convert a value (text from a command line too) to the parameter's type. Errors: UsageError in one line."""
        where = f"{strategy}: {self.name}"
        if self.options:
            return self._choice(where, value)
        if self.type is bool:
            known = {"true": True, "false": False}
            if str(value).lower() not in known:
                raise UsageError(f"{where} = {value!r} is neither true nor false")
            return known[str(value).lower()]
        return self._number(where, value)

    def _choice(self, where: str, value: Any) -> Value:
        for choice in self.options:
            if str(choice) == str(value):
                return choice
        raise UsageError(f"{where} = {value!r} is not one of {', '.join(map(str, self.options))}")

    def _number(self, where: str, value: Any) -> Value:
        try:
            number = float(value) + 0.0  # -0.0 is 0.0: one configuration, one identity
        except (TypeError, ValueError, OverflowError):
            raise UsageError(f"{where} = {value!r} is not a number") from None
        if isinstance(value, bool) or not math.isfinite(number):
            raise UsageError(f"{where} = {value!r} is not a number")
        if self.type is int and not number.is_integer():
            raise UsageError(f"{where} = {value!r} is not an integer")
        if self.range and not self.range.low <= number <= self.range.high:
            raise UsageError(f"{where} = {value} is outside {self.range.low:g}..{self.range.high:g}")
        return int(number) if self.type is int else number


class LayerParameter(Parameter):
    """A hidden state by its index, or a mixture of several, as `0.7*-2+0.3*-5`."""

    def check(self, strategy: str, value: Any) -> Value:
        """The index, or the mixture in one spelling. Errors: UsageError in one line."""
        if value in self.choices:
            return str(value)
        try:
            weights = layer_weights(value)
        except (TypeError, ValueError):
            raise UsageError(
                f"{strategy}: {self.name} = {value!r} is neither a layer like -2 nor a mixture like 0.7*-2+0.3*-5"
            ) from None
        if len(weights) == 1:
            return next(iter(weights))
        return "+".join(f"{weight:g}*{layer}" for layer, weight in sorted(weights.items()))


def layer_weights(value: Any) -> dict[int, float]:
    """Weights by layer, adding up to 1. Errors: ValueError (no layer or mixture, a weight that is not positive)."""
    if isinstance(value, bool):
        raise ValueError("a truth value is no layer")
    if isinstance(value, int | float):
        if value != int(value):
            raise ValueError("a layer is an integer")
        return {int(value): 1.0}
    weights: dict[int, float] = {}
    for term in str(value).split("+"):
        weight, star, layer = term.rpartition("*")
        weights[int(layer)] = weights.get(int(layer), 0.0) + (float(weight) if star else 1.0)
    if not all(math.isfinite(weight) and weight > 0 for weight in weights.values()):
        raise ValueError("weights are positive")
    total = sum(weights.values())
    return {layer: weight / total for layer, weight in weights.items()}


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
        parameters[name] = _parameter(
            function.__name__, name, hints.get(name, type(declared.default)), declared.default
        )
    return tuple(inputs), parameters


def _parameter(strategy: str, name: str, hint: Any, default: Value) -> Parameter:
    interval = steps = None
    if get_origin(hint) is Annotated:
        hint, *notes = get_args(hint)
        interval = next((note for note in notes if isinstance(note, Range)), None)
        steps = next((note for note in notes if isinstance(note, Steps)), None)
    choices: tuple[Value, ...] = get_args(hint) if get_origin(hint) is Literal else ()
    kind = type(choices[0]) if choices else hint
    if not choices and steps is None and kind not in (int, float, bool):
        raise TypeError(f"strategy {strategy}: parameter {name} must be int, float, bool or a Literal, not {hint}")
    parameter = Parameter(name, kind, default, interval, choices, steps)
    try:
        return replace(parameter, default=parameter.check(strategy, default))
    except UsageError as error:
        raise TypeError(f"default of {error}") from None
