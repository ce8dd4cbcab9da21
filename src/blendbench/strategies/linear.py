"""Text alone, vision alone, and straight mixtures of the two."""

import math
from typing import Annotated

import torch
from torch import Tensor

from blendbench.core.tokens import Tokens
from blendbench.registry.parameters import Alpha, Range
from blendbench.registry.strategies import strategy
from blendbench.steps.align import Align, align_to
from blendbench.steps.combine import norm_matched
from blendbench.steps.normalize import Sink, match_dimensions, mix
from blendbench.strategies.sources import SEED_DOCUMENT


@strategy("text_only", version=1, source="Z-Image-Turbo, the model's own conditioning", equation="T", control=True)
def text_only(text: Tokens) -> Tensor:
    """The baseline: the text embeddings as the pipeline computes them."""
    return text.hidden


def text_length(text: Tokens, length: int) -> Tensor:
    """The text's rows, and copies of its last one up to `length` rows."""
    return torch.cat((text.hidden, text.hidden[-1:].expand(length - len(text), -1)))


@strategy("vision_only", version=1, source=SEED_DOCUMENT, equation="V")
def vision_only(text: Tokens, vision: Tokens) -> Tensor:
    """Vision embeddings in place of the text, at their own length; `tokens=text` takes Qwen3-VL's text tokens."""
    return vision.hidden


@strategy("lerp", version=1, source=SEED_DOCUMENT, equation="(1 - alpha) T + alpha align(V)")
def lerp(text: Tokens, vision: Tokens, *, alpha: Alpha = 0.3, align: Align = "area") -> Tensor:
    """Linear mixture of text and aligned vision tokens; alpha 0 is the text itself, whatever the alignment."""
    if alpha == 0:
        return text.hidden
    return mix(*align_to(text.hidden, vision.hidden, align), alpha)


@strategy(
    "norm_lerp",
    version=1,
    source="blendbench; the token normalisation of Z-Image's transformer",
    equation="(1 - alpha) T + alpha |T| A / |A| for each token, A = align(V)",
)
def norm_lerp(text: Tokens, vision: Tokens, *, alpha: Alpha = 0.3, align: Align = "area") -> Tensor:
    """Mixture after every vision token got the norm of its text token, so that alpha is the share it says."""
    if alpha == 0:
        return text.hidden
    return norm_matched(*align_to(text.hidden, vision.hidden, align), alpha)


@strategy(
    "per_dim_lerp",
    version=1,
    source=f"{SEED_DOCUMENT}, normalisation per_dim",
    equation="(1 - alpha) T + alpha align((V - mean_V) / std_V * std_T + mean_T), per dimension",
)
def per_dim_lerp(
    text: Tokens, vision: Tokens, *, alpha: Alpha = 0.3, align: Align = "area", sink: Sink = "keep"
) -> Tensor:
    """Mixture after the vision tokens got the text's mean and standard deviation in every dimension.

    With `sink=keep` the spread of the text's attention sink is written into ordinary image tokens, as the seed did;
    `sink=drop` takes the statistics without position 0.
    """
    if alpha == 0:
        return text.hidden
    return mix(*align_to(text.hidden, match_dimensions(vision, text, sink), align), alpha)


@strategy(
    "concatenate",
    version=1,
    source=f"{SEED_DOCUMENT}, attention concat injection",
    equation="[T; pool(V, ceil(share n))]",
)
def concatenate(text: Tokens, vision: Tokens, *, share: Annotated[float, Range(0, 1)] = 1.0) -> Tensor:
    """Vision tokens after the text's: in a single-stream transformer this is attention to both.

    The transformer normalises each token, so scaling the vision tokens would do nothing; what can be dosed is their
    number. `share` of them are kept, as area averages.
    """
    count = math.ceil(share * len(vision))
    if count == 0:
        return text.hidden
    pooled = align_to(text.hidden[:1].expand(count, -1), vision.hidden, "area")[1]
    return torch.cat((text.hidden, pooled))
