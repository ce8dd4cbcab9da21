"""Strategies fitted on the suite's pairs, from closed form to training.

A fit is made once for a set of pairs and kept in memory. Its rows are the vision tokens of an image, aligned by area
to the words of its caption, and these words' text tokens.
"""

import functools
from typing import TYPE_CHECKING, Annotated

from blendbench.core.lazy import Tensor, torch
from blendbench.core.tokens import Pair, Tokens, content
from blendbench.registry.parameters import Range
from blendbench.registry.strategies import strategy
from blendbench.steps.align import area_averaged, attention
from blendbench.steps.normalize import EPSILON, mean_std
from blendbench.strategies.base import vision_transform
from blendbench.strategies.sources import SEED_DOCUMENT

if TYPE_CHECKING:
    from torch import nn

Pairs = tuple[Pair, ...]


def fit_rows(pairs: Pairs) -> tuple[Tensor, Tensor]:
    """Return float64 inputs and targets (n, dim) of a vision-to-text map."""
    targets, inputs = zip(
        *(area_averaged(content(pair.text).hidden, pair.vision.hidden) for pair in pairs), strict=True
    )
    return torch.cat(inputs).double(), torch.cat(targets).double()


@functools.lru_cache(maxsize=8)
def ridge_map(pairs: Pairs, penalty: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return both means (dim,) and W (dim, dim) of a ridge regression.

    W minimises |Y - X W|^2 + penalty trace(X'X)/dim |W|^2: the penalty is relative to the mean eigenvalue.

    Source: Hoerl & Kennard 1970, doi:10.1080/00401706.1970.10488634.
    """
    x, y = fit_rows(pairs)
    mean_x, mean_y = x.mean(0), y.mean(0)
    covariance = (x - mean_x).T @ (x - mean_x)
    relative = penalty * covariance.diagonal().mean().clamp_min(EPSILON)
    weights = torch.linalg.solve(
        covariance + relative * torch.eye(len(covariance), dtype=x.dtype), (x - mean_x).T @ (y - mean_y)
    )
    return mean_x, mean_y, weights


@functools.lru_cache(maxsize=8)
def trained_map(pairs: Pairs, hidden: int, steps: int) -> "nn.Sequential":
    """Train a two-layer perceptron from vision to text tokens.

    Both are standardised; Adam runs on the whole set.

    Both sides are standardised per dimension, because a plain squared error on raw Qwen3 states is decided by two
    dimensions. Seeded: the same pairs give the same map.
    """
    nn = torch.nn
    x, y = ((side - mean) / std for side in fit_rows(pairs) for mean, std in [mean_std(side, 0)])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(x.shape[1], hidden), nn.GELU(), nn.Linear(hidden, y.shape[1]))
    optimiser = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=0.05)
    inputs, targets = x.float(), y.float()
    with torch.enable_grad():
        for _ in range(steps):
            optimiser.zero_grad()
            nn.functional.mse_loss(network(inputs), targets).backward()
            optimiser.step()
    return network.eval()


@vision_transform(
    "ridge_projection",
    "mean_Y + (V - mean_X) W",
    "ridge regression, Hoerl & Kennard 1970; question 4 of " + SEED_DOCUMENT,
    dose_grid=(0.3, 0.5, 0.7, 1.0),
    upper_bound=True,
)
def ridge_projection(
    text: Tokens, vision: Tokens, pairs: Pairs, *, penalty: Annotated[float, Range(1e-9, 1e6)] = 1.0
) -> Tensor:
    """Map vision tokens to their captions' words by a closed-form layer."""
    mean_x, mean_y, weights = ridge_map(pairs, penalty)
    return (mean_y + (vision.hidden.double() - mean_x) @ weights).to(text.hidden.dtype)


@vision_transform(
    "mlp_projection",
    "mean_Y + std_Y MLP((V - mean_X) / std_X)",
    f"{SEED_DOCUMENT}, projector, two layers",
    dose_grid=(0.1, 0.3, 0.5, 1.0),
    upper_bound=True,
)
def mlp_projection(
    text: Tokens,
    vision: Tokens,
    pairs: Pairs,
    *,
    hidden: Annotated[int, Range(1, 8192)] = 256,
    steps: Annotated[int, Range(1, 10000)] = 150,
) -> Tensor:
    """Train a small network on the pairs of `ridge_projection`.

    It shows the effect of a non-linear map.
    """
    inputs, targets = fit_rows(pairs)
    (mean_x, std_x), (mean_y, std_y) = mean_std(inputs, 0), mean_std(targets, 0)
    with torch.no_grad():
        mapped: Tensor = trained_map(pairs, hidden, steps)(((vision.hidden.double() - mean_x) / std_x).float())
    return (mapped.double() * std_y + mean_y).to(text.hidden.dtype)


@strategy(
    "activation_steering",
    source="Rimsky et al. 2023, arXiv:2312.06681, contrastive pairs",
    equation="T + alpha rms(T) d / rms(d); d = weighted mean of mean(V_styled) - mean(V_plain)",
    dose="alpha",
    dose_grid=(0.1, 0.2, 0.3, 0.5, 1.0),
)
def activation_steering(
    text: Tokens, vision: Tokens, pairs: Pairs, *, alpha: Annotated[float, Range(0, 4)] = 0.3
) -> Tensor:
    """Add a direction of style, made from pairs that differ in style alone.

    Each pair counts by how well its difference points where the reference differs from the plain images.
    """
    plain = torch.stack([pair.plain.hidden.mean(0) for pair in pairs])
    differences = torch.stack([pair.vision.hidden.mean(0) for pair in pairs]) - plain
    towards = (vision.hidden.mean(0) - plain.mean(0))[None]
    direction = attention(towards, differences) @ differences
    size = text.hidden.square().mean().sqrt() / direction.square().mean().sqrt().clamp_min(EPSILON)
    return text.hidden + alpha * size * direction
