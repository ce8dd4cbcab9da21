"""Kinds of tokens in a chat template, and planted activations."""

from typing import Protocol

import torch
from torch import Tensor

from blendbench.core.tokens import Kind


class Plant(Protocol):
    """Massive activations of position 0: dimension indices and values."""

    dimensions: list[int]
    values: list[float]


def planted(hidden: Tensor, plant: Plant | None) -> Tensor:
    """Add the planted values at position 0 of a turn's states (tokens, dim)."""
    if plant is None:
        return hidden
    result = hidden.clone()
    result[0, plant.dimensions] += torch.tensor(plant.values)
    return result


def text_kinds(count: int, before: int, after: int) -> Tensor:
    """Return kinds of text with `before` and `after` template tokens around it."""
    kinds = torch.full((count,), int(Kind.TEXT))
    kinds[:before] = int(Kind.TEMPLATE)
    kinds[count - after :] = int(Kind.TEMPLATE)
    return kinds


def template_length(whole: list[int], empty: list[int]) -> tuple[int, int]:
    """Count template tokens around text: the ends shared with an empty one."""
    before = next((i for i, (a, b) in enumerate(zip(whole, empty, strict=False)) if a != b), len(empty))
    rest = len(empty) - before
    after = next((i for i, (a, b) in enumerate(zip(whole[::-1], empty[::-1], strict=False)) if a != b), rest)
    return before, min(after, rest)
