"""Strategies: registration, look-up, bound parameters and calls."""

import functools
import inspect
import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from blendbench.core.conditioning import BlendError, Conditioning, Denoising
from blendbench.core.config import suggest
from blendbench.core.errors import UsageError
from blendbench.core.lazy import Tensor
from blendbench.core.tokens import Pair, TokenMode, Tokens
from blendbench.registry.entries import SHIPPED
from blendbench.registry.guard import guarded_state, seeded
from blendbench.registry.parameters import (
    LayerParameter,
    Parameter,
    Value,
    assignments,
    checked_grid,
    label,
    layer_weights,
    plain_function,
    read_parameters,
    shown,
)
from blendbench.registry.plugins import origin_of
from blendbench.registry.reading import reading_only
from blendbench.registry.registry import Registry
from blendbench.registry.source import SourceIdentity, home, source_identity

Reference = Literal["item", "blank", "unrelated", "noise", "self"]
Neutral = Literal["blank", "white", "mean"]
Blend = TypeVar("Blend", bound=Callable[..., Tensor | Conditioning])


@dataclass(frozen=True)
class Sources:
    """Hold the inputs of one cell, by names of positional parameters.

    `text`: the prompt's tokens as the pipeline computes them. `vision`: the reference's tokens, selected by layer,
    token kind and reference. `neutral`: those of an image that shows nothing. `other`: those of the item's second
    image. `wordless`: the reference's image tokens from a turn without the prompt. `corpus`: the text tokens of all
    prompts of the suite. `pairs`: captions and images to fit on, none of them an item's. `denoising`: the sampling.
    """

    text: Tokens
    vision: Tokens | None = None
    neutral: Tokens | None = None
    other: Tokens | None = None
    wordless: Tokens | None = None
    corpus: tuple[Tokens, ...] | None = None
    pairs: tuple[Pair, ...] | None = None
    denoising: Denoising | None = None


INPUTS = tuple(field.name for field in fields(Sources))
# A strategy that reads any of these also gets the settings that say where they come from.
READS_IMAGES = frozenset({"vision", "neutral", "other", "wordless", "pairs"})
SELECT = ("reference", "layer", "text_layer", "tokens", "neutral_picture")
_RECEIVES = (Tokens, Pair, Denoising)
SECONDS = 60.0  # for one call of a strategy that states no other limit


@dataclass(frozen=True)
class Strategy:
    """Hold a registered blending function and all that is known about it.

    `own`: its own settings. `select`: those that say where its inputs come from. `doses`: the settings that say how
    much of the image there is; where all are 0 the result is the text. `dose_grid`: rising values of the first of
    them, which a comparison tries. `upper_bound`: it is trained on data. `companion`: a control that a run needs beside
    it, at the same values of the parameters that they share. `origin`: the file or package that registered it. `files`:
    data files that it reads. `seconds`: how long one call may take.
    """

    name: str
    version: int
    source: str
    equation: str
    function: Callable[..., Tensor | Conditioning] = field(repr=False)
    inputs: tuple[str, ...]
    own: dict[str, Parameter]
    select: dict[str, Parameter]
    doses: tuple[str, ...] = ()
    dose_grid: tuple[float, ...] = ()
    control: bool = False
    upper_bound: bool = False
    companion: str | None = None
    origin: str = SHIPPED
    files: tuple[str, ...] = ()
    seconds: float = SECONDS

    @functools.cached_property
    def parameters(self) -> dict[str, Parameter]:
        """Return all its parameters, in the order of labels."""
        return self.own | self.select

    @property
    def doc(self) -> str:
        """Return the function's docstring."""
        return inspect.getdoc(plain_function(self.function)) or ""

    @property
    def dose(self) -> str | None:
        """Return the name of the parameter that a dose grid varies."""
        return self.doses[0] if self.doses else None

    @functools.cached_property
    def _identity(self) -> SourceIdentity:
        return self._identify()

    def _identify(self) -> SourceIdentity:
        return source_identity(self.function, self.version, declared_files=self.files, receives=_RECEIVES)

    @property
    def source_sha256(self) -> str:
        """Hash the version and all code and data that the function reaches."""
        return self._identity.sha256

    @property
    def identity_note(self) -> str | None:
        """Return why the whole folder counts; None if the code was followed."""
        return self._identity.fallback

    @property
    def files_read(self) -> tuple[Path, ...]:
        """Return the modules and data files that count with their content."""
        return self._identity.files

    @property
    def is_outdated(self) -> bool:
        """Say whether what it reads has changed since it was identified."""
        known = vars(self).get("_identity")
        return known is not None and self._identify().sha256 != known.sha256

    @functools.cached_property
    def folder(self) -> Path:
        """Return the folder of its code; the package's for shipped strategies."""
        return home(self.function)[0].folder

    def bind(self, **values: Any) -> "Configuration":
        """Fill in and check parameters. Errors: UsageError (name, type, range)."""
        for name in values:
            if name not in self.parameters:
                known = list(self.parameters)
                raise UsageError(f"{self.name}: unknown parameter {shown(name)}{suggest(name[:60], known)}")
        params = {name: p.check(self.name, values.get(name, p.default)) for name, p in self.parameters.items()}
        return Configuration(self, params)


@dataclass(frozen=True)
class Configuration:
    """A strategy with its parameters bound: the unit that a leaderboard ranks."""

    strategy: Strategy
    params: dict[str, Value]

    @property
    def label(self) -> str:
        """Return name, alpha and non-default settings for `parse_configuration`."""
        return self._labelled(self.params)

    @property
    def family(self) -> str:
        """Return the label without the dose."""
        return self._labelled({name: value for name, value in self.params.items() if name != self.strategy.dose})

    @property
    def dose(self) -> float | None:
        """Return the value of the dose; None if the strategy has none."""
        return None if self.strategy.dose is None else float(self.params[self.strategy.dose])

    def _labelled(self, params: dict[str, Value]) -> str:
        named = {
            name: value
            for name, value in params.items()
            if (name == "alpha" and not self.strategy.control) or value != self.strategy.parameters[name].default
        }
        return label(self.strategy.name, named)

    def key(self) -> dict[str, Any]:
        """Return everything of the configuration that may change a pixel."""
        key = {"name": self.strategy.name, "source_sha256": self.strategy.source_sha256, "params": dict(self.params)}
        return key | {"steps": dict(self._steps)} if self._steps else key

    @functools.cached_property
    def _step_functions(self) -> dict[str, Callable[..., Any]]:
        named = {name: p.steps for name, p in self.strategy.parameters.items() if p.steps is not None}
        return {name: steps.get(str(self.params[name])) for name, steps in named.items()}

    @functools.cached_property
    def _steps(self) -> dict[str, str]:
        """Return the hashes of the registered steps that it names."""
        found = self._step_functions.items()
        return {name: source_identity(step, 1, receives=_RECEIVES).sha256 for name, step in found}

    def _reading_its_files(self) -> AbstractContextManager[None]:
        if self.is_shipped:
            return nullcontext()
        steps = [source_identity(step, 1, receives=_RECEIVES).files for step in self._step_functions.values()]
        homes = [home(function) for function in (self.strategy.function, *self._step_functions.values())]
        files = {*self.strategy.files_read, *(path for read in steps for path in read), *(file for _, file in homes)}
        return reading_only(files, (place.folder for place, _ in homes if not place.shipped))

    @property
    def layers(self) -> set[int]:
        """Return every hidden state of the vision-language model that it reads."""
        settings = [self.params[name] for name in ("layer", "text_layer") if self.params.get(name, "same") != "same"]
        return {layer for setting in settings for layer in layer_weights(setting)}

    @property
    def starts_from_reference(self) -> bool:
        """Say whether denoising may start from the item's reference image."""
        return "strength" in self.strategy.parameters

    @functools.cached_property
    def is_shipped(self) -> bool:
        """Say whether all code that it calls by name is shipped: the function and its steps."""
        steps = [p.steps.origin(str(self.params[n])) for n, p in self.strategy.parameters.items() if p.steps]
        return {self.strategy.origin, *steps} == {SHIPPED}

    def companion(self) -> "Configuration | None":
        """Return the control that belongs to this configuration."""
        if self.strategy.companion is None:
            return None
        other = get_strategy(self.strategy.companion)
        return other.bind(**{name: value for name, value in self.params.items() if name in other.parameters})

    def blend(self, sources: Sources, seed: int = 0) -> Conditioning:
        """Call the strategy and check its answer: float32, CPU, own memory.

        torch, numpy and random are seeded with `seed`, and all global state is restored after. Errors: BlendError
        (missing input, wrong type or shape, not finite, the end of the program); whatever else the strategy raises.
        """
        name = self.strategy.name
        given = self._given(sources)
        own = {key: value for key, value in self.params.items() if key in self.strategy.own}
        with guarded_state(), seeded(seed), self._reading_its_files():
            try:
                made = sources.text.hidden if self._is_text else self.strategy.function(*given, **own)
                conditioning = made if isinstance(made, Conditioning) else Conditioning((made,))
                checked = Conditioning.checked(conditioning, name, sources.text.hidden.shape[1], sources.denoising)
            except (Exception, KeyboardInterrupt):
                raise
            except BaseException as error:  # SystemExit above all: a strategy cannot end the run
                failure = BlendError(f"{name} tried to end the program: {type(error).__name__}")
                raise failure.with_traceback(error.__traceback__) from error
        if checked.strength < 1 and not self.starts_from_reference:
            raise BlendError(f"{name}: only a strategy with a parameter `strength` may start from the reference image")
        return checked

    @property
    def _is_text(self) -> bool:  # with a starting image the text at dose 0 is no plain text
        doses = [self.params[dose] for dose in self.strategy.doses]
        return bool(doses) and not self.starts_from_reference and not any(doses)

    def _given(self, sources: Sources) -> list[Any]:
        """Copy the inputs, since cells share them and strategies may write."""
        name = self.strategy.name
        given = {source: getattr(sources, source) for source in self.strategy.inputs}
        if missing := [source for source, value in given.items() if value is None]:
            raise BlendError(f"{name} needs {', '.join(missing)}")
        for source, value in given.items():
            if isinstance(value, Tokens) and not bool(value.hidden.isfinite().all()):
                raise BlendError(f"{name}: its {source} tokens hold values that are not finite")
        # Shipped fits are cached by the identity of the pairs, and do not write into them.
        shared = given.get("pairs") if self.strategy.origin == SHIPPED else None
        return [value if value is shared else _copy(value) for value in given.values()]


def strategy(
    name: str,
    *,
    version: int = 1,
    source: str,
    equation: str = "",
    dose: str | tuple[str, ...] = (),
    dose_grid: tuple[float, ...] = (),
    control: bool = False,
    reference: Reference = "item",
    layer: int | str = -2,
    tokens: TokenMode = "image_no_markers",
    companion: str | None = None,
    files: tuple[str, ...] = (),
    seconds: float = SECONDS,
) -> Callable[[Blend], Blend]:
    """Register a blending function.

    The names of its positional parameters declare what it reads (see `Sources`), its keyword-only parameters are its
    settings. `dose` names the setting, or settings, that say how much of the image there is: where they are 0 the
    result is the text, and the function is not called. `dose_grid` are values of it, rising, that a comparison tries;
    default: tenths of its range. `files` are data files beside the function that it reads. A call that takes longer
    than `seconds` is ended, and the strategy's cells fail.

    A function that reads images also gets the settings `layer` (a hidden state, or a mixture as `0.7*-2+0.3*-5`),
    `text_layer` (the same for text rows beside image rows), `tokens` and, with a `vision` input, `reference`; with a
    `neutral` input, `neutral_picture`. Their defaults are given here.

    Errors: UsageError (an unknown input, a parameter without default or with one outside its range, a name that is
    malformed or taken, code that is not in a file).
    """

    def register(function: Blend) -> Blend:
        inputs, own = read_parameters(name, function)
        add_strategy(
            Strategy(
                name=name,
                version=version,
                source=source,
                equation=equation,
                function=function,
                inputs=inputs,
                own=own,
                select=select_parameters(inputs, reference, layer, tokens),
                doses=(dose,) if isinstance(dose, str) else dose,
                dose_grid=dose_grid,
                control=control,
                companion=companion,
                origin=origin_of(function),
                files=files,
                seconds=seconds,
            )
        )
        return function

    return register


def add_strategy(made: Strategy) -> None:
    """Register a strategy that is described in full. Errors: UsageError."""
    if "text" not in made.inputs or set(made.inputs) - set(INPUTS):
        raise UsageError(f"strategy {made.name}: inputs must be among {INPUTS} and contain text, not {made.inputs}")
    if reserved := sorted(set(made.own) & set(SELECT)):
        raise UsageError(f"strategy {made.name}: {reserved[0]!r} is a select setting; give its default to @strategy")
    if unknown := [dose for dose in made.doses if dose not in made.own]:
        raise UsageError(f"strategy {made.name}: dose={unknown[0]!r} is not among its settings {tuple(made.own)}")
    if not 0 < made.seconds < math.inf:
        raise UsageError(f"strategy {made.name}: seconds={made.seconds} is no time limit; give a number above 0")
    if made.doses or made.dose_grid:
        made = replace(made, dose_grid=checked_grid(made.name, made.own.get(made.dose or ""), made.dose_grid))
    home(made.function)  # without source a strategy has no identity: an error here, not in a run
    STRATEGIES.add(made.name, made, origin=made.origin)


def select_parameters(
    inputs: tuple[str, ...],
    reference: Reference = "item",
    layer: int | str = -2,
    tokens: TokenMode = "image_no_markers",
) -> dict[str, Parameter]:
    """Return the settings that say where a strategy's inputs come from."""
    found: list[Parameter] = []
    if "vision" in inputs:
        found.append(Parameter("reference", str, reference, None, get_args(Reference)))
    if READS_IMAGES & set(inputs):
        found.append(LayerParameter("layer", int, layer))
        found.append(LayerParameter("text_layer", int, "same", None, ("same",)))
        found.append(Parameter("tokens", str, tokens, None, get_args(TokenMode)))
    if "neutral" in inputs:
        found.append(Parameter("neutral_picture", str, "blank", None, get_args(Neutral)))
    return {parameter.name: parameter for parameter in found}


STRATEGIES: Registry[Strategy] = Registry("strategy", modules=("blendbench.strategies",), group="blendbench.strategies")


def get_strategy(name: str) -> Strategy:
    """Look a strategy up. Errors: UsageError with a suggestion."""
    return STRATEGIES.get(name)


def all_strategies() -> dict[str, Strategy]:
    """Return every strategy by name: shipped, from packages and from files."""
    return STRATEGIES.all()


def parse_configuration(text: str) -> Configuration:
    """Read `name:param=value,...` as of `--strategy`. Errors: UsageError."""
    name, _, rest = text.partition(":")
    return get_strategy(name).bind(**dict(assignments(text, rest)))


def _copy(given: Any) -> Any:
    if isinstance(given, Tokens):
        return given.copy()
    if isinstance(given, Pair):
        return Pair(given.text.copy(), given.vision.copy(), given.plain.copy())
    return tuple(map(_copy, given)) if isinstance(given, tuple) else given
