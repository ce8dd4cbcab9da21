"""The strategy registry: decorator, configurations with bound parameters, plug-ins."""

import contextlib
import functools
import importlib.metadata
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from torch import Tensor

from blendbench.core.conditioning import BlendError, Conditioning, Denoising
from blendbench.core.config import suggest
from blendbench.core.errors import UsageError
from blendbench.core.tokens import Pair, TokenMode, Tokens
from blendbench.registry.identity import code_sha256
from blendbench.registry.parameters import (
    LayerParameter,
    Parameter,
    Steps,
    Value,
    check_name,
    layer_weights,
    read_parameters,
)

Reference = Literal["item", "blank", "unrelated", "noise", "self"]
Neutral = Literal["blank", "white", "mean"]
ENTRY_POINTS = "blendbench.strategies"
_REGISTRY: dict[str, "Strategy"] = {}
Blend = TypeVar("Blend", bound=Callable[..., Tensor | Conditioning])


@dataclass(frozen=True)
class Sources:
    """What the engine hands over for one cell; a strategy asks for it by the names of its positional parameters.

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


@dataclass(frozen=True)
class Strategy:
    """A registered blending function and everything that identifies it.

    `parameters` holds its own settings and the select settings of its inputs. `companion` names a control that a run
    needs beside it, at the same values of the parameters that they share.
    """

    name: str
    version: int
    source: str
    equation: str
    doc: str
    function: Callable[..., Tensor | Conditioning] = field(repr=False)
    inputs: tuple[str, ...]
    parameters: dict[str, Parameter]
    control: bool
    companion: str | None = None

    @functools.cached_property
    def source_sha256(self) -> str:
        """Hex sha256 of the version and the code, helpers included (see `identity.code_sha256`)."""
        return code_sha256(self.function, self.version)

    def bind(self, **values: Any) -> "Configuration":
        """Fill in and check parameters. Errors: UsageError (unknown name, wrong type, outside the range)."""
        for name in values:
            if name not in self.parameters:
                raise UsageError(f"{self.name}: unknown parameter {name!r}{suggest(name, list(self.parameters))}")
        params = {name: p.check(self.name, values.get(name, p.default)) for name, p in self.parameters.items()}
        return Configuration(self, params)


@dataclass(frozen=True)
class Configuration:
    """A strategy with its parameters bound: the unit that a leaderboard ranks."""

    strategy: Strategy
    params: dict[str, Value]

    @property
    def label(self) -> str:
        """The name, alpha (of all but controls), and what differs from the defaults; `parse_configuration` reads it."""
        shown = [
            f"{name}={_text(value)}"
            for name, value in self.params.items()
            if (name == "alpha" and not self.strategy.control) or value != self.strategy.parameters[name].default
        ]
        return f"{self.strategy.name}:{','.join(shown)}" if shown else self.strategy.name

    def key(self) -> dict[str, Any]:
        """Everything of the configuration that may change a pixel."""
        s = self.strategy
        key = {"name": s.name, "version": s.version, "source_sha256": s.source_sha256, "params": dict(self.params)}
        return key | {"steps": steps} if (steps := self._steps()) else key

    def _steps(self) -> dict[str, str]:
        """Hashes of the code of the registered steps that it names, by parameter."""
        named = {name: p.steps for name, p in self.strategy.parameters.items() if p.steps is not None}
        return {name: code_sha256(steps[str(self.params[name])], 1) for name, steps in named.items()}

    @property
    def layers(self) -> set[int]:
        """Every hidden state of the vision-language model that it reads."""
        settings = [self.params[name] for name in ("layer", "text_layer") if self.params.get(name, "same") != "same"]
        return {layer for setting in settings for layer in layer_weights(setting)}

    def companion(self) -> "Configuration | None":
        """The control that belongs to this configuration."""
        if self.strategy.companion is None:
            return None
        other = get_strategy(self.strategy.companion)
        return other.bind(**{name: value for name, value in self.params.items() if name in other.parameters})

    def blend(self, sources: Sources) -> Conditioning:
        """The conditioning, float32 on the CPU. Errors: BlendError (missing input, wrong shape, not finite).

        Tokens are handed over as copies, because the sources are shared by all cells of an item, and a strategy may
        write in place. Only `pairs`, whole images by the dozen, are shared: a fit is kept for them by their identity.
        """
        name = self.strategy.name
        given = [getattr(sources, source) for source in self.strategy.inputs]
        missing = [source for source, value in zip(self.strategy.inputs, given, strict=True) if value is None]
        if missing:
            raise BlendError(f"{name} needs {', '.join(missing)}")
        for source, value in zip(self.strategy.inputs, given, strict=True):
            if isinstance(value, Tokens) and not bool(value.hidden.isfinite().all()):
                raise BlendError(f"{name}: its {source} tokens hold values that are not finite")
        own = {key: value for key, value in self.params.items() if key not in _SELECT}
        try:
            with contextlib.redirect_stdout(sys.stderr):  # a strategy may print; stdout is the program's
                result = self.strategy.function(*map(_own_copy, given), **own)
        except SystemExit as error:
            raise BlendError(f"{name} tried to end the program") from error
        conditioning = result if isinstance(result, Conditioning) else Conditioning((result,))
        return conditioning.checked(name, sources.text.hidden.shape[1], sources.denoising)


_SELECT = ("reference", "layer", "text_layer", "tokens", "neutral_picture")


def strategy(
    name: str,
    *,
    version: int,
    source: str,
    equation: str = "",
    control: bool = False,
    reference: Reference = "item",
    layer: int | str = -2,
    tokens: TokenMode = "image_no_markers",
    companion: str | None = None,
) -> Callable[[Blend], Blend]:
    """Register a blending function.

    A function that reads images also gets the settings `layer` (a hidden state, or a mixture as `0.7*-2+0.3*-5`),
    `text_layer` (the same for text rows beside image rows), `tokens` and, with a `vision` input, `reference`; with a
    `neutral` input, `neutral_picture`. Their defaults are given here. Errors: TypeError at registration (an unknown
    input, a parameter without default or with one outside its range), ValueError for a name that is malformed or taken.
    """

    def register(function: Blend) -> Blend:
        check_name("strategy", name)
        inspect.getsource(function)  # without source a strategy has no identity: OSError here, not in a run
        inputs, parameters = read_parameters(function)
        reserved = sorted(set(parameters) & set(_SELECT))
        if reserved:
            raise TypeError(f"strategy {name}: {reserved[0]!r} is a select setting; give its default to @strategy")
        unknown = [name for name in inputs if name not in INPUTS]
        if unknown or "text" not in inputs:
            raise TypeError(f"strategy {name}: inputs must be among {INPUTS} and contain text, not {inputs}")
        if "vision" in inputs:
            parameters["reference"] = Parameter("reference", str, reference, None, get_args(Reference))
        if READS_IMAGES & set(inputs):
            parameters |= {
                "layer": LayerParameter("layer", int, layer),
                "text_layer": LayerParameter("text_layer", int, "same", None, ("same",)),
                "tokens": Parameter("tokens", str, tokens, None, get_args(TokenMode)),
            }
        if "neutral" in inputs:
            parameters["neutral_picture"] = Parameter("neutral_picture", str, "blank", None, get_args(Neutral))
        if name in _REGISTRY:
            raise ValueError(f"strategy {name!r} is registered twice; names must be unique")
        doc = inspect.getdoc(function) or ""
        _REGISTRY[name] = Strategy(
            name, version, source, equation, doc, function, inputs, parameters, control, companion
        )
        return function

    return register


def get_strategy(name: str) -> Strategy:
    """A strategy by name. Errors: UsageError with a suggestion."""
    found = all_strategies()
    if name not in found:
        raise UsageError(f"unknown strategy {name!r}{suggest(name, list(found))}")
    return found[name]


def all_strategies() -> dict[str, Strategy]:
    """Every strategy by name: the shipped ones, those of installed packages, those of loaded files."""
    from blendbench.strategies import (  # noqa: F401  importing a family registers it
        adain,
        composed,
        controls,
        covariance,
        delta,
        fits,
        interpolation,
        linear,
        normalisation,
        outliers,
        references,
        sampling,
        style_vectors,
    )

    _load_installed()
    return dict(sorted(_REGISTRY.items()))  # not in the order in which modules happened to be imported


@functools.cache
def _load_installed() -> None:
    for entry in importlib.metadata.entry_points(group=ENTRY_POINTS):
        package = entry.dist.name if entry.dist else entry.module
        with _registering(f"installed package {package}, entry point {entry.name}"):
            entry.load()


@contextlib.contextmanager
def _registering(what: str) -> Iterator[None]:
    """Run third-party code that registers; if it fails, nothing of it stays. Errors: UsageError in one line."""
    registries: tuple[dict[str, Any], ...] = (_REGISTRY, *Steps.every)
    before = [(registry, dict(registry)) for registry in registries]
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except (Exception, SystemExit) as error:
        for registry, kept in before:
            registry.clear()
            registry.update(kept)
        message = " ".join(str(error).split())
        raise UsageError(f"{what}: {type(error).__name__}: {message}") from error


def load_plugin(path: Path) -> list[str]:
    """Import a Python file and return the strategies it registered, of which there are none if it registers steps.

    Errors: UsageError (no file, an error, nothing registered).
    """
    if not path.is_file():
        raise UsageError(f"{path}: no such file")
    before, steps = set(all_strategies()), sum(map(len, Steps.every))
    spec = importlib.util.spec_from_file_location(f"blendbench_plugin_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pickle look their module up there
    with _registering(str(path)):
        spec.loader.exec_module(module)
    added = sorted(set(_REGISTRY) - before)
    if not added and sum(map(len, Steps.every)) == steps:
        raise UsageError(f"{path}: registers no strategy; decorate a function with @blendbench.blending.strategy")
    return added


def parse_configuration(text: str) -> Configuration:
    """Read `name:param=value,...`, as `--strategy` takes it. Errors: UsageError."""
    name, _, rest = text.partition(":")
    return get_strategy(name).bind(**dict(_assignments(text, rest)))


def _own_copy(given: Any) -> Any:
    if isinstance(given, Tokens):
        return given.copy()
    if isinstance(given, tuple):
        return tuple(part.copy() if isinstance(part, Tokens) else part for part in given)
    return given


def _assignments(text: str, rest: str) -> Iterator[tuple[str, str]]:
    for part in filter(None, rest.split(",")):
        key, equals, value = part.partition("=")
        if not equals:
            raise UsageError(f"{text}: {part!r} is not parameter=value")
        yield key.strip(), value.strip()


def _text(value: Value) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)
