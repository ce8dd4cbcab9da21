"""Text alone, vision alone, and straight mixtures of the two."""

import math

from blendbench.core.lazy import Tensor, torch
from blendbench.core.tokens import Tokens
from blendbench.registry.parameters import Alpha
from blendbench.registry.strategies import strategy
from blendbench.steps.align import area_averaged
from blendbench.steps.combine import norm_matched
from blendbench.steps.normalize import Sink, match_dimensions
from blendbench.strategies.base import vision_transform
from blendbench.strategies.sources import SEED_DOCUMENT


@strategy("text_only", source="Z-Image-Turbo, the model's own conditioning", equation="T", control=True)
def text_only(text: Tokens) -> Tensor:
    """Keep the text embeddings as the pipeline computes them: the baseline."""
    return text.hidden


@strategy("vision_only", source=SEED_DOCUMENT, equation="V")
def vision_only(text: Tokens, vision: Tokens) -> Tensor:
    """Put vision embeddings in place of the text, at their own length.

    `tokens=text` takes Qwen3-VL's text tokens.
    """
    return vision.hidden


@vision_transform("lerp", "V", SEED_DOCUMENT)
def lerp(vision: Tokens) -> Tensor:
    """Mix text and aligned vision tokens linearly.

    Alpha 0 is the text itself, whatever the alignment.
    """
    return vision.hidden


@vision_transform(
    "norm_lerp",
    "V",
    "blendbench; the token normalisation of Z-Image's transformer",
    combine=norm_matched,
    equation="(1 - alpha) T + alpha |T| A / |A| for each token, A = align(V)",
)
def norm_lerp(vision: Tokens) -> Tensor:
    """Mix after matching each vision token's norm to its text token's.

    Then alpha is the weight it says.
    """
    return vision.hidden


@vision_transform(
    "per_dim_lerp",
    "(V - mean_V) / std_V * std_T + mean_T",
    f"{SEED_DOCUMENT}, normalisation per_dim",
    note=", per dimension",
)
def per_dim_lerp(text: Tokens, vision: Tokens, *, sink: Sink = "keep") -> Tensor:
    """Mix after matching the vision tokens to the text per dimension.

    Mean and standard deviation are matched.

    With `sink=keep` the spread of the text's attention sink is written into ordinary image tokens, as in the seed
    document; `sink=drop` takes the statistics without position 0.
    """
    return match_dimensions(vision, text, sink)


@strategy(
    "concatenate",
    source=f"{SEED_DOCUMENT}, attention concat injection",
    equation="[T; pool(V, ceil(share n))]",
    dose="share",
    dose_grid=(0.1, 0.25, 0.4, 0.5, 0.75, 1.0),
)
def concatenate(text: Tokens, vision: Tokens, *, share: Alpha = 1.0) -> Tensor:
    """Append vision tokens to the text's.

    In a single-stream transformer this is attention to both.

    The transformer normalises each token, so scaling the vision tokens would do nothing; what can be dosed is their
    number. `share` of them are kept, as area averages.
    """
    count = math.ceil(share * len(vision))
    pooled = area_averaged(text.hidden[:1].expand(count, -1), vision.hidden)[1]
    return torch.cat((text.hidden, pooled))
