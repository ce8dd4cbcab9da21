"""Strategies that are fitted on the suite's pairs: is training required, and how much of it?

A fit is made once for a set of pairs and kept in memory. Its rows are the vision tokens of an image, aligned by area
to the words of its caption, and these words' text tokens.
"""

import functools
from typing import Annotated

import torch
from torch import Tensor, nn

from blendbench.core.tokens import Pair, Tokens, content
from blendbench.registry.parameters import Alpha, Range
from blendbench.registry.strategies import strategy
from blendbench.steps.align import Align, align_to, attention
from blendbench.steps.normalize import EPSILON, mean_std, mix
from blendbench.strategies.sources import SEED_DOCUMENT

Pairs = tuple[Pair, ...]


def fit_rows(pairs: Pairs) -> tuple[Tensor, Tensor]:
    """Inputs (n, dim) and targets (n, dim), float64, of a map from vision to text tokens."""
    sides = [
        align_to(words, pair.vision.hidden, "area")[::-1] for pair in pairs for words in [content(pair.text).hidden]
    ]
    return torch.cat([x for x, _ in sides]).double(), torch.cat([y for _, y in sides]).double()


@functools.lru_cache(maxsize=8)
def ridge_map(pairs: Pairs, penalty: float) -> tuple[Tensor, Tensor, Tensor]:
    """Means (dim,) of both sides and the matrix W (dim, dim) that minimises |Y - X W|^2 + penalty trace(X'X)/dim |W|^2.

    Source: Hoerl & Kennard 1970, doi:10.1080/00401706.1970.10488634; the penalty is relative to the mean eigenvalue.
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
def trained_map(pairs: Pairs, hidden: int, steps: int) -> nn.Sequential:
    """A two-layer perceptron from standardised vision to standardised text tokens, by Adam on the whole set.

    Both sides are standardised per dimension, because a plain squared error on raw Qwen3 states is decided by two
    dimensions. Seeded: the same pairs give the same map.
    """
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


@strategy(
    "ridge_projection",
    version=1,
    source="ridge regression, Hoerl & Kennard 1970; question 4 of " + SEED_DOCUMENT,
    equation="(1 - alpha) T + alpha align(mean_Y + (V - mean_X) W)",
)
def ridge_projection(
    text: Tokens,
    vision: Tokens,
    pairs: Pairs,
    *,
    alpha: Alpha = 0.3,
    penalty: Annotated[float, Range(1e-9, 1e6)] = 1.0,
    align: Align = "area",
) -> Tensor:
    """One linear layer in closed form, from vision tokens to the words of their captions."""
    if alpha == 0:
        return text.hidden
    mean_x, mean_y, weights = ridge_map(pairs, penalty)
    projected = (mean_y + (vision.hidden.double() - mean_x) @ weights).to(text.hidden.dtype)
    return mix(*align_to(text.hidden, projected, align), alpha)


@strategy(
    "mlp_projection",
    version=1,
    source=f"{SEED_DOCUMENT}, projector, two layers",
    equation="(1 - alpha) T + alpha align(mean_Y + std_Y MLP((V - mean_X) / std_X))",
)
def mlp_projection(
    text: Tokens,
    vision: Tokens,
    pairs: Pairs,
    *,
    alpha: Alpha = 0.3,
    hidden: Annotated[int, Range(1, 8192)] = 256,
    steps: Annotated[int, Range(1, 10000)] = 150,
    align: Align = "area",
) -> Tensor:
    """A small network trained on the same pairs: what a bend in the map adds to `ridge_projection`."""
    if alpha == 0:
        return text.hidden
    inputs, targets = fit_rows(pairs)
    (mean_x, std_x), (mean_y, std_y) = mean_std(inputs, 0), mean_std(targets, 0)
    with torch.no_grad():
        mapped = trained_map(pairs, hidden, steps)(((vision.hidden.double() - mean_x) / std_x).float())
    projected = (mapped.double() * std_y + mean_y).to(text.hidden.dtype)
    return mix(*align_to(text.hidden, projected, align), alpha)


@strategy(
    "activation_steering",
    version=1,
    source="Rimsky et al. 2023, arXiv:2312.06681, contrastive pairs",
    equation="T + alpha rms(T) d / rms(d); d = weighted mean of mean(V_styled) - mean(V_plain)",
)
def activation_steering(
    text: Tokens, vision: Tokens, pairs: Pairs, *, alpha: Annotated[float, Range(0, 4)] = 0.3
) -> Tensor:
    """Add a direction of style, made from pairs that differ in style alone.

    Each pair counts by how well its difference points where the reference differs from the plain images.
    """
    if alpha == 0:
        return text.hidden
    plain = torch.stack([pair.plain.hidden.mean(0) for pair in pairs])
    differences = torch.stack([pair.vision.hidden.mean(0) for pair in pairs]) - plain
    towards = (vision.hidden.mean(0) - plain.mean(0))[None]
    direction = attention(towards, differences) @ differences
    size = text.hidden.square().mean().sqrt() / direction.square().mean().sqrt().clamp_min(EPSILON)
    return text.hidden + alpha * size * direction
