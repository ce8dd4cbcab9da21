"""Statistics of token sequences and their transfer."""

from collections.abc import Callable, Sequence
from typing import Annotated, Literal

from blendbench.core.lazy import Tensor, torch
from blendbench.core.tokens import Tokens
from blendbench.registry.steps import Steps

NORMALISERS: Steps[Callable[[Tokens, Tokens], Tensor]] = Steps("normaliser")
Normalise = Annotated[str, NORMALISERS]
normaliser = NORMALISERS.register
Sink = Literal["keep", "drop"]
EPSILON = 1e-6


def mean_std(x: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Return mean and population deviation along `axis`, kept as a dimension.

    The deviation is at least 1e-6.

    Computed and returned in float64: at the 13504 that attention sinks reach, rounding of the mean in float32 would
    pass for a spread in a dimension that has none.
    """
    wide = x.double()
    return wide.mean(axis, keepdim=True), wide.std(axis, correction=0, keepdim=True).clamp_min(EPSILON)


def match(x: Tensor, reference: Tensor, axis: int) -> Tensor:
    """Give `x` the mean and deviation of `reference` along `axis`.

    0: per dimension, 1: per token.

    (x - mean_x) / std_x std_r + mean_r, in the dtype of `x`; what has no spread in `x` becomes mean_r.
    """
    mean, std = mean_std(x, axis)
    wanted_mean, wanted_std = mean_std(reference, axis)
    return ((x - mean) / std * wanted_std + wanted_mean).to(x.dtype)


def match_dimensions(x: Tokens, reference: Tokens, sink: Sink) -> Tensor:
    """Give the rows of `x` the per-dimension statistics of `reference`.

    `sink=keep`: over all rows. `sink=drop`: position 0 of a chat template is left out of the statistics of either
    side, and stays as it is in the result; see `Tokens.without_sink`.
    """
    if sink == "keep":
        return match(x.hidden, reference.hidden, 0)
    rows = x.without_sink
    matched = match(x.hidden[rows], reference.hidden[reference.without_sink], 0)
    return torch.cat((x.hidden[: rows.start], matched))


def scale_to(x: Tensor, target: float) -> Tensor:
    """Scale `x` by one factor to the population standard deviation `target`.

    Leave it if it has none.
    """
    spread = float(x.double().std(correction=0))
    return x * (target / spread) if spread > EPSILON else x


def without_sinks(corpus: Sequence[Tokens]) -> Tensor:
    """Join several prompts' rows without attention sinks, (tokens, dim)."""
    return torch.cat([tokens.hidden[tokens.without_sink] for tokens in corpus])


def mix(text: Tensor, other: Tensor, alpha: float) -> Tensor:
    """Return (1 - alpha) text + alpha other, exact at 0 and 1."""
    if alpha == 0:
        return text
    return other if alpha == 1 else (1 - alpha) * text + alpha * other


@normaliser("none")
def as_it_is(text: Tokens, vision: Tokens) -> Tensor:
    """Keep the vision rows (n, dim)."""
    return vision.hidden


@normaliser("global")
def text_scaled(text: Tokens, vision: Tokens) -> Tensor:
    """Scale by one factor, to the standard deviation of the text's rows."""
    return scale_to(vision.hidden, float(text.hidden.double().std(correction=0)))


@normaliser("per_dim")
def per_dimension(text: Tokens, vision: Tokens) -> Tensor:
    """Take the text's mean and deviation in every dimension."""
    return match_dimensions(vision, text, "keep")


@normaliser("per_dim_no_sink")
def per_dimension_without_sink(text: Tokens, vision: Tokens) -> Tensor:
    """Take the text's mean and deviation per dimension, without position 0."""
    return match_dimensions(vision, text, "drop")


@normaliser("hybrid")
def half_and_half(text: Tokens, vision: Tokens) -> Tensor:
    """Average `global` and `per_dim`."""
    return mix(text_scaled(text, vision), per_dimension(text, vision), 0.5)
