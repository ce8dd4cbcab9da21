"""A third-party strategy with an alignment of its own; `metrics` has a metric."""

from typing import Annotated

import torch
from torch import Tensor

from blendbench.blending import Range, Tokens, alignment, strategy


@alignment("example_first")
def first_row(text: Tensor, vision: Tensor) -> tuple[Tensor, Tensor]:
    """Repeat the first vision token for every text token."""
    return text, vision[:1].expand(len(text), -1)


@strategy("example_mean", version=1, source="the example package", equation="T + alpha mean(V)")
def example_mean(text: Tokens, vision: Tokens, *, alpha: Annotated[float, Range(0, 1)] = 0.2) -> Tensor:
    """Add the mean vision token to every text token."""
    return torch.add(text.hidden, vision.hidden.mean(0), alpha=alpha)
