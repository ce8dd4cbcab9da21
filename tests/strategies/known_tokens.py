"""Tokens and sources with known contents, and strategies applied to them, for all tests of strategies' answers."""

from typing import Any

import torch
from torch import Tensor

from blendbench.core.conditioning import Conditioning, Denoising
from blendbench.core.tokens import Kind, Pair, Tokens
from blendbench.registry.strategies import Sources, get_strategy

DIM = 12
SIGMAS = (1.0, 0.9, 0.75, 0.5)


def rows(count: int, seed: int) -> Tensor:
    return torch.randn(count, DIM, generator=torch.Generator().manual_seed(seed))


def words(hidden: Tensor) -> Tokens:
    kinds = torch.full((len(hidden),), int(Kind.TEXT))
    kinds[0] = int(Kind.TEMPLATE)
    return Tokens(hidden, kinds)


def image(hidden: Tensor) -> Tokens:
    return Tokens(hidden, torch.full((len(hidden),), int(Kind.IMAGE)))


PAIRS = tuple(Pair(words(rows(5, s)), image(rows(9, s + 50)), image(rows(9, s + 90))) for s in range(10, 20))


def sources() -> Sources:
    """Give every input: the rows of the vision tokens are `rows(7, 2)`, those of the second image `rows(7, 4)`."""
    text = words(rows(7, 1))
    vision, neutral, other, wordless = (image(rows(7, seed)) for seed in (2, 3, 4, 5))
    corpus = (text, words(rows(4, 8)))
    return Sources(text, vision, neutral, other, wordless, corpus, PAIRS, Denoising(SIGMAS, 6))


def blend(name: str, sources: Sources, **values: Any) -> Tensor:
    return get_strategy(name).bind(**values).blend(sources).rows


def conditioning(name: str, sources: Sources, **values: Any) -> Conditioning:
    return get_strategy(name).bind(**values).blend(sources)


def rms_normalised(x: Tensor) -> Tensor:
    """Normalise each token as the transformer does before anything else."""
    return x / x.square().mean(1, keepdim=True).sqrt()
