"""Controls of the token count: many rows, whatever they say."""

from typing import Annotated, Literal

from blendbench.core.lazy import Tensor, torch
from blendbench.core.tokens import Tokens
from blendbench.registry.parameters import Range
from blendbench.registry.strategies import strategy


@strategy(
    "length_control",
    source="blendbench, control of the token count",
    equation="[T; the last token of T, extra times]",
    control=True,
)
def length_control(text: Tokens, *, extra: Annotated[int, Range(0, 1024)] = 32) -> Tensor:
    """Give the text alone another length.

    The caption's padded length moves the image's rotary positions.
    """
    return torch.cat((text.hidden, text.hidden[-1:].expand(extra, -1)))


@strategy(
    "row_count",
    source="blendbench, control of the token count",
    equation="count rows of V, evenly spaced, in place of T or beside it",
    control=True,
)
def row_count(
    text: Tokens,
    vision: Tokens,
    *,
    count: Annotated[int, Range(1, 4096)] = 64,
    place: Literal["instead", "beside"] = "instead",
) -> Tensor:
    """Give the same rows at any number of rows.

    Rows are repeated or left out, never averaged, so that each is a token as an encoder made it. `reference=self` takes
    the prompt's own words: what both kinds do at one number of rows is the number's doing, not what they say.
    """
    # Row i comes from the middle of its part of the original: with count = len(vision) all stay as they are.
    chosen = (torch.arange(count) * 2 + 1) * len(vision) // (2 * count)
    rows = vision.hidden[chosen]
    return rows if place == "instead" else torch.cat((text.hidden, rows))
