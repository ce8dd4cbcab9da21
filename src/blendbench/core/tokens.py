"""Token sequences: hidden states with the kind of each token."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

from blendbench.core.lazy import Tensor, torch

TokenMode = Literal["full", "text", "image", "image_no_markers"]


class Kind(IntEnum):
    """Kinds of token: chat template, prompt, vision marker or image."""

    TEMPLATE = 0
    TEXT = 1
    MARKER = 2
    IMAGE = 3


@dataclass(frozen=True)
class Tokens:
    """Hold the hidden states of one sequence.

    `hidden`: (tokens, dim) float32. `kinds`: (tokens,) int64 of `Kind`. `grid`: rows and columns of the image tokens.
    """

    hidden: Tensor
    kinds: Tensor
    grid: tuple[int, int] | None = None

    def __len__(self) -> int:
        """Return the number of tokens."""
        return len(self.hidden)

    def copy(self) -> "Tokens":
        """Copy the tokens into memory of their own."""
        return Tokens(self.hidden.clone(), self.kinds.clone(), self.grid)

    @property
    def without_sink(self) -> slice:
        """Return the rows without position 0 of a chat template.

        That position carries the attention sink. In Qwen3-4B two dimensions of that token hold 97.7 % of all second
        moments at layer -2, so statistics with it and without it differ. All rows, if the first is no template row or
        if there is no other.
        """
        sink = len(self) > 1 and int(self.kinds[0]) == int(Kind.TEMPLATE)
        return slice(1 if sink else 0, None)


@dataclass(frozen=True, eq=False)
class Pair:
    """Hold a caption and an image that shows what it says, to fit a map on.

    `text`: the caption's tokens. `vision`: the image's. `plain`: those of the same content in a plain style. Compared
    by identity, so that a fit can be cached.
    """

    text: Tokens
    vision: Tokens
    plain: Tokens


_KINDS: dict[TokenMode, tuple[Kind, ...]] = {
    "full": tuple(Kind),
    "text": (Kind.TEMPLATE, Kind.TEXT),
    "image": (Kind.MARKER, Kind.IMAGE),
    "image_no_markers": (Kind.IMAGE,),
}


def select(tokens: Tokens, mode: TokenMode) -> Tokens:
    """Keep the rows of some kinds, in their order.

    `text` keeps the template's rows, as the seed document's extractor does. Errors: ValueError if nothing is left.
    """
    keep = torch.isin(tokens.kinds, torch.tensor([int(kind) for kind in _KINDS[mode]]))
    if not bool(keep.any()):
        raise ValueError(f"no token of kind {mode!r} among {len(tokens)}")
    grid = tokens.grid if Kind.IMAGE in _KINDS[mode] else None
    return Tokens(tokens.hidden[keep], tokens.kinds[keep], grid)


def content(tokens: Tokens) -> Tokens:
    """Return the prompt's own tokens without the chat template."""
    keep = tokens.kinds == int(Kind.TEXT)
    return Tokens(tokens.hidden[keep], tokens.kinds[keep])


def gaussian_like(tokens: Tokens, seed: int) -> Tokens:
    """Sample Gaussian rows with the norms of `tokens`, without their content."""
    noise = torch.randn(tokens.hidden.shape, generator=torch.Generator().manual_seed(seed))
    scale = tokens.hidden.norm(dim=1, keepdim=True) / noise.norm(dim=1, keepdim=True)
    return Tokens(noise * scale, tokens.kinds, tokens.grid)
