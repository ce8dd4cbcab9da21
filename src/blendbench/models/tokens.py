"""What the encoders return: hidden states with the kind of each token, as plain tensors."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

TEMPLATE, TEXT, MARKER, IMAGE = range(4)


@dataclass(frozen=True)
class Encoded:
    """hidden (tokens, dim) float32 on the CPU, kinds (tokens,) int64, grid: rows and columns of image tokens."""

    hidden: Tensor
    kinds: Tensor
    grid: tuple[int, int] | None = None


class Plant(Protocol):
    """Massive activations to put into position 0: dimension indices and the values added there."""

    dimensions: list[int]
    values: list[float]


def planted(hidden: Tensor, plant: Plant | None) -> Tensor:
    """Hidden states (tokens, dim) of a whole turn with the planted values added at position 0."""
    if plant is None:
        return hidden
    result = hidden.clone()
    result[0, plant.dimensions] += torch.tensor(plant.values)
    return result


def text_kinds(count: int, before: int, after: int) -> Tensor:
    """Kinds of a sequence that has `before` template tokens in front of the user's text and `after` behind it."""
    kinds = torch.full((count,), TEXT)
    kinds[:before] = TEMPLATE
    kinds[count - after :] = TEMPLATE
    return kinds


def template_length(whole: list[int], empty: list[int]) -> tuple[int, int]:
    """Template tokens before and after the user's text: the ends shared with the prompt of an empty text."""
    before = next((i for i, (a, b) in enumerate(zip(whole, empty, strict=False)) if a != b), len(empty))
    rest = len(empty) - before
    after = next((i for i, (a, b) in enumerate(zip(whole[::-1], empty[::-1], strict=False)) if a != b), rest)
    return before, min(after, rest)
