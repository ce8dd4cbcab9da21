"""Parameters of strategies, read from signatures and checked when bound."""

import functools
import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from types import FunctionType, MethodType, SimpleNamespace
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from blendbench.core.depths import Depth, InBlocks, is_relative
from blendbench.core.errors import UsageError
from blendbench.registry.steps import Steps

Value = str | int | float | bool
# Hidden states are counted in tens; this only keeps numbers printable.
_MOST_LAYERS = 10_000
# Of the range of a dose, for strategies that give no grid: most of what a prompt bears is in the lower third.
FRACTIONS = (0.1, 0.2, 0.3, 0.5, 1.0)


@dataclass(frozen=True)
class Range:
    """Closed interval of a number."""

    low: float
    high: float


Alpha = Annotated[float, Range(0, 1)]


@dataclass(frozen=True)
class Parameter:
    """One setting: its type, default, and interval or choices."""

    name: str
    type: type
    default: Value
    range: Range | None = None
    choices: tuple[Value, ...] = ()
    steps: Steps[Any] | None = None
    in_blocks: bool = False

    @property
    def options(self) -> tuple[Value, ...]:
        """Return what can be chosen now, or () for what is not a choice."""
        return self.choices if self.steps is None else tuple(self.steps.names())

    def check(self, strategy: str, value: Any) -> Value:
        """Convert a value or text to the parameter's type. Errors: UsageError."""
        where = f"{strategy}: {self.name} = {shown(value)}"
        if self.options:
            return self._choice(where, value)
        if self.type is bool:
            known = {"true": True, "false": False}
            if str(value).lower() not in known:
                raise UsageError(f"{where} is neither true nor false")
            return known[str(value).lower()]
        return self._number(where, value)

    def at_depth(self, value: Value, depth: Depth) -> Value:
        """Return the value with a percentage of the blocks as a number."""
        return depth.blocks_of(str(value)) if self.in_blocks and is_relative(value) else value

    def _choice(self, where: str, value: Any) -> Value:
        text = value if isinstance(value, str) else shown(value)
        for choice in self.options:
            if str(choice) == text:
                return choice
        raise UsageError(f"{where} is not one of {', '.join(map(str, self.options))}")

    def _number(self, where: str, value: Any) -> Value:
        try:
            number = float(value) + 0.0  # -0.0 is 0.0: one configuration, one identity
        except (TypeError, ValueError, OverflowError):
            raise UsageError(f"{where} is not a number") from None
        if isinstance(value, bool) or not math.isfinite(number):
            raise UsageError(f"{where} is not a number")
        if self.type is int and not number.is_integer():
            raise UsageError(f"{where} is not an integer")
        if self.range and not self.range.low <= number <= self.range.high:
            raise UsageError(f"{where} is outside {self.range.low:g}..{self.range.high:g}")
        return int(number) if self.type is int else number


class LayerParameter(Parameter):
    """A hidden state by index, or a mixture, as `0.7*-2+0.3*-5`."""

    def check(self, strategy: str, value: Any) -> Value:
        """Return the index, or the mixture in its one spelling. Errors: UsageError."""
        if value in self.choices:
            return str(value)
        try:
            weights = layer_weights(value)
        except (TypeError, ValueError, OverflowError):
            raise UsageError(
                f"{strategy}: {self.name} = {shown(value)} is neither a layer like -2 nor a mixture like 0.7*-2+0.3*-5"
            ) from None
        if len(weights) == 1:
            return next(iter(weights))
        return "+".join(f"{weight:g}*{layer}" for layer, weight in sorted(weights.items()))

    def at_depth(self, value: Value, depth: Depth) -> Value:
        """Return the value with percentages of the depth as layers."""
        return depth.layers(str(value)) if is_relative(value) else value


def at_depth(parameters: Mapping[str, Parameter], values: Mapping[str, Value], depth: Depth) -> dict[str, Value]:
    """Return the values for a model set's depth.

    Percentages become layers and numbers of blocks. Errors: UsageError above 100 %.
    """
    return {
        name: parameters[name].at_depth(value, depth) if name in parameters else value for name, value in values.items()
    }


def layer_weights(value: Any) -> dict[int, float]:
    """Return weights by layer, adding up to 1.

    Errors: ValueError, TypeError or OverflowError (no layer or mixture, a weight that is not positive).
    """
    if isinstance(value, bool):
        raise ValueError("a truth value is no layer")
    if isinstance(value, int | float):
        if value != int(value) or abs(value) > _MOST_LAYERS:
            raise ValueError("a layer is a small integer")
        return {int(value): 1.0}
    weights: dict[int, float] = {}
    for term in str(value).split("+"):
        weight, star, layer = term.rpartition("*")
        if abs(int(layer)) > _MOST_LAYERS:
            raise ValueError("a layer is a small integer")
        weights[int(layer)] = weights.get(int(layer), 0.0) + (float(weight) if star else 1.0)
    if not all(math.isfinite(weight) and weight > 0 for weight in weights.values()):
        raise ValueError("weights are positive")
    total = sum(weights.values())
    return {layer: weight / total for layer, weight in weights.items()}


def shown(value: Any) -> str:
    """Print a value for a message: on one line, and no longer than a line."""
    try:
        text = repr(value)
    except ValueError:  # Python refuses to print integers of thousands of digits
        return "an integer of thousands of digits"
    return text if len(text) <= 60 else f"{text[:56]} ..."


def read_parameters(name: str, function: Callable[..., object]) -> tuple[tuple[str, ...], dict[str, Parameter]]:
    """Return a strategy's positional inputs and keyword-only parameters.

    Errors: UsageError (a parameter without default, of an unknown type, or with a default outside its range).
    """
    inputs: list[str] = []
    declared: dict[str, inspect.Parameter] = {}
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
            inputs.append(parameter.name)
            continue
        if parameter.default is inspect.Parameter.empty:
            raise UsageError(f"strategy {name}: parameter {parameter.name} needs a default")
        declared[parameter.name] = parameter
    hints = _hints(function, declared)
    return tuple(inputs), {
        key: _parameter(name, key, hints.get(key, type(parameter.default)), parameter.default)
        for key, parameter in declared.items()
    }


def plain_function(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the user's function within partials, wrappers and callables."""
    if isinstance(function, functools.partial):
        return plain_function(function.func)
    if hasattr(function, "__wrapped__"):
        return plain_function(function.__wrapped__)
    if isinstance(function, MethodType):
        return function.__func__
    return function if isinstance(function, FunctionType) else type(function).__call__


def _hints(function: Callable[..., Any], declared: dict[str, inspect.Parameter]) -> dict[str, Any]:
    # Only of the settings: annotations of inputs may name what is imported for type checkers alone.
    written = {key: p.annotation for key, p in declared.items() if p.annotation is not inspect.Parameter.empty}
    names = getattr(plain_function(function), "__globals__", {})
    return get_type_hints(SimpleNamespace(__annotations__=written), globalns=names, include_extras=True)


def _parameter(strategy: str, name: str, hint: Any, default: Value) -> Parameter:
    interval = steps = None
    in_blocks = False
    if get_origin(hint) is Annotated:
        hint, *notes = get_args(hint)
        in_blocks = any(isinstance(note, InBlocks) for note in notes)
        interval = next((note for note in notes if isinstance(note, Range)), None)
        steps = next((note for note in notes if isinstance(note, Steps)), None)
    choices: tuple[Value, ...] = get_args(hint) if get_origin(hint) is Literal else ()
    kind = type(choices[0]) if choices else hint
    if not choices and steps is None and kind not in (int, float, bool):
        raise UsageError(f"strategy {strategy}: parameter {name} must be int, float, bool or a Literal, not {hint}")
    parameter = Parameter(name, kind, default, interval, choices, steps, in_blocks)
    try:
        return replace(parameter, default=parameter.check(strategy, default))
    except UsageError as error:
        raise UsageError(f"default of {error}") from None


def checked_grid(strategy: str, dose: Parameter | None, grid: tuple[float, ...]) -> tuple[float, ...]:
    """Return a strategy's grid of doses, or one over its dose's range.

    A dose without a range has its default as the only value. Errors: UsageError (a grid without a dose, a value outside
    the range, values that do not rise, or a dose of 0, which is the text alone).
    """
    if dose is None:
        raise UsageError(f"strategy {strategy}: dose_grid without a dose; name the setting by dose=")
    if not grid:
        if dose.range is None or dose.type is not float:
            return (float(dose.check(strategy, dose.default)),)
        return tuple(round(fraction * dose.range.high, 6) for fraction in FRACTIONS)
    values = tuple(float(dose.check(strategy, value)) for value in grid)
    if values[0] <= 0 or any(high <= low for low, high in pairwise(values)):
        raise UsageError(f"strategy {strategy}: dose_grid must rise and begin above 0, not {grid}")
    return values


def label(name: str, settings: Mapping[str, Value]) -> str:
    """Return a strategy's name with settings."""
    texts = [f"{key}={value_text(value)}" for key, value in settings.items()]
    return f"{name}:{','.join(texts)}" if texts else name


def assignments(text: str, settings: str) -> Iterator[tuple[str, str]]:
    """Yield names and values of `param=value,...`. Errors: UsageError."""
    for part in filter(None, settings.split(",")):
        key, equals, value = part.partition("=")
        if not equals:
            raise UsageError(f"{shown(text)}: {shown(part)} is not parameter=value")
        yield key.strip(), value.strip()


def value_text(value: Value) -> str:
    """Return a parameter's value as labels have it."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)
