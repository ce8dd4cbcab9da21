"""Use one vector per image, added to or set beside the text tokens."""

from typing import Annotated

from blendbench.core.lazy import Tensor, torch
from blendbench.core.tokens import Tokens
from blendbench.registry.parameters import Range
from blendbench.registry.strategies import strategy
from blendbench.strategies.sources import SEED_DOCUMENT

Gain = Annotated[float, Range(0, 4)]
GRID = (0.3, 1.0, 2.0, 4.0)


def generalised_mean(rows: Tensor, power: float) -> Tensor:
    """Return the (dim,) signed generalised mean over rows (n, dim).

    S |s|^(1/p), with s = mean of sign(x) |x|^p.

    Source: Radenovic, Tolias, Chum 2018, arXiv:1711.02512, whose GeM takes absolute values and so loses the sign.
    """
    powered = (rows.double().sign() * rows.double().abs().pow(power)).mean(0)
    root: Tensor = powered.sign() * powered.abs().pow(1 / power)
    return root.to(rows.dtype)


def low_rank_mean(rows: Tensor, rank: int) -> Tensor:
    """Return (dim,) the mean of the best rank-`rank` fit of rows (n, dim)."""
    u, s, v = torch.linalg.svd(rows.double(), full_matrices=False)
    mean: Tensor = ((u[:, :rank] * s[:rank]) @ v[:rank]).mean(0)
    return mean.to(rows.dtype)


@strategy(
    "mean_style",
    source=f"{SEED_DOCUMENT}, mean style vector",
    equation="T + alpha mean(V)",
    dose="alpha",
    dose_grid=GRID,
)
def mean_style(text: Tokens, vision: Tokens, *, alpha: Gain = 0.3) -> Tensor:
    """Add the mean vision token to every text token."""
    return text.hidden + alpha * vision.hidden.mean(0)


@strategy(
    "gem_style",
    source="Radenovic 2018, arXiv:1711.02512, signed",
    equation="T + alpha GeM_p(V)",
    dose="alpha",
    dose_grid=GRID,
)
def gem_style(
    text: Tokens, vision: Tokens, *, alpha: Gain = 0.3, power: Annotated[float, Range(1, 10)] = 3.0
) -> Tensor:
    """Add a generalised mean, in which the strongest tokens count most.

    Power 1 is `mean_style`.
    """
    return text.hidden + alpha * generalised_mean(vision.hidden, power)


@strategy(
    "svd_style",
    source=f"{SEED_DOCUMENT}, SVD style vector",
    equation="T + alpha mean(V_k), V_k of rank k",
    dose="alpha",
    dose_grid=GRID,
)
def svd_style(text: Tokens, vision: Tokens, *, alpha: Gain = 0.3, rank: Annotated[int, Range(1, 4096)] = 10) -> Tensor:
    """Add the mean of the vision tokens' low-rank part.

    At full rank it is `mean_style`.
    """
    return text.hidden + alpha * low_rank_mean(vision.hidden, rank)


@strategy("style_token", source="mean pooling as one token", equation="[T; mean(V)]")
def style_token(text: Tokens, vision: Tokens) -> Tensor:
    """Add one token: the mean of the image, beside an untouched prompt."""
    return torch.cat((text.hidden, vision.hidden.mean(0, keepdim=True)))
