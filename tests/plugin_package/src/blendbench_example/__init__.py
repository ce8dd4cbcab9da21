"""A third-party strategy."""

from typing import Annotated

from torch import Tensor

from blendbench.blending import Range, Tokens, strategy


@strategy("example_mean", version=1, source="the example package", equation="T + alpha mean(V)")
def example_mean(text: Tokens, vision: Tokens, *, alpha: Annotated[float, Range(0, 1)] = 0.2) -> Tensor:
    """Add the mean vision token to every text token."""
    return text.hidden + alpha * vision.hidden.mean(0)
