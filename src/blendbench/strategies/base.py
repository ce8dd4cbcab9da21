"""Common forms of strategies: transform a side, align and mix.

A strategy written in one of them gets its dose `alpha` and its `align` from here, and gives exactly the text at 0.
"""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

from blendbench.core.errors import UsageError
from blendbench.core.lazy import Tensor
from blendbench.registry.parameters import Parameter, Range, read_parameters
from blendbench.registry.plugins import origin_of
from blendbench.registry.strategies import Strategy, add_strategy, select_parameters
from blendbench.steps.align import ALIGNMENTS, Aligner
from blendbench.steps.combine import Combiner
from blendbench.steps.normalize import mix

Transform = TypeVar("Transform", bound=Callable[..., Tensor])
ALPHA = Range(0, 1)


def aligned_mix(text: Tensor, vision: Tensor, alpha: float, align: Aligner, combine: Combiner = mix) -> Tensor:
    """Combine text (m, dim) with aligned vision (n, dim).

    Exactly the text at alpha 0, whatever the alignment.
    """
    return combine(*align(text, vision), alpha) if alpha else text


def vision_transform(
    name: str,
    form: str,
    source: str,
    *,
    alpha: float = 0.3,
    version: int = 1,
    note: str = "",
    combine: Combiner = mix,
    equation: str | None = None,
    dose_grid: tuple[float, ...] = (),
    upper_bound: bool = False,
) -> Callable[[Transform], Transform]:
    """Register a strategy that transforms vision tokens to rows (n, dim).

    They are aligned to the text and combined with it. `form` is the equation of the rows, `note` what follows it,
    `equation` the whole where `combine` is no mixture, `alpha` the default dose, `dose_grid` as for a strategy,
    `upper_bound`: it is trained, and shows what others could reach. The function takes inputs and settings as a
    strategy does, without `alpha` and `align`. Errors: UsageError, as there.
    """

    def register(function: Transform) -> Transform:
        inputs, settings = read_parameters(name, function)
        given = _with_text(inputs)

        @functools.wraps(function)
        def blend(*tokens: Any, alpha: float, align: str, **own: Any) -> Tensor:
            named = dict(zip(given, tokens, strict=True))
            text = named["text"].hidden.clone()  # the function may write into its inputs
            rows = function(*(named[key] for key in inputs), **own)
            return aligned_mix(text, rows, alpha, ALIGNMENTS.get(align), combine)

        whole = equation or f"(1 - alpha) T + alpha align({form}){note}"
        ordered = _ordered(name, settings, alpha, "area")
        _add(name, blend, given, ordered, source, whole, version, dose_grid, upper_bound)
        return function

    return register


def text_transform(
    name: str,
    form: str,
    source: str,
    *,
    alpha: float = 0.3,
    version: int = 1,
    note: str = "",
    dose_grid: tuple[float, ...] = (),
) -> Callable[[Transform], Transform]:
    """Register a strategy that transforms the text to rows (m, dim).

    The rows are mixed with the text.

    `form` is the equation of the rows, `note` what follows it, `alpha` the default dose, `dose_grid` as for a strategy.
    The function takes inputs and settings as a strategy does, without `alpha`. Errors: UsageError, as for a strategy.
    """

    def register(function: Transform) -> Transform:
        inputs, settings = read_parameters(name, function)
        given = _with_text(inputs)

        @functools.wraps(function)
        def blend(*tokens: Any, alpha: float, **own: Any) -> Tensor:
            named = dict(zip(given, tokens, strict=True))
            text = named["text"].hidden.clone()  # the function may write into its inputs
            return mix(text, function(*(named[key] for key in inputs), **own), alpha)

        equation = f"(1 - alpha) T + alpha ({form}){note}"
        _add(name, blend, given, _ordered(name, settings, alpha, None), source, equation, version, dose_grid)
        return function

    return register


def _with_text(inputs: tuple[str, ...]) -> tuple[str, ...]:
    return inputs if "text" in inputs else ("text", *inputs)


def _ordered(name: str, settings: dict[str, Parameter], alpha: float, align: str | None) -> dict[str, Parameter]:
    """Order settings as labels print them.

    The dose comes first, then the function's own, the alignment, and the rows left out of statistics.
    """
    if taken := sorted({"alpha", "align"} & set(settings)):
        raise UsageError(f"strategy {name}: {taken[0]!r} is given by the form of the strategy; take it out")
    dose = Parameter("alpha", float, alpha, ALPHA)
    dose.check(name, alpha)
    aligned = {} if align is None else {"align": Parameter("align", str, align, steps=ALIGNMENTS)}
    last = {key: settings[key] for key in ("sink",) if key in settings}
    own = {key: value for key, value in settings.items() if key not in last}
    return {"alpha": dose, **own, **aligned, **last}


def _add(
    name: str,
    function: Callable[..., Tensor],
    inputs: tuple[str, ...],
    own: dict[str, Parameter],
    source: str,
    equation: str,
    version: int,
    dose_grid: tuple[float, ...],
    upper_bound: bool = False,
) -> None:
    add_strategy(
        Strategy(
            name=name,
            version=version,
            source=source,
            equation=equation,
            function=function,
            inputs=inputs,
            own=own,
            select=select_parameters(inputs),
            doses=("alpha",),
            dose_grid=dose_grid,
            upper_bound=upper_bound,
            origin=origin_of(function),
        )
    )
