"""Lerp after bringing the vision tokens to the text's scale.

It is done in the seed document's ways and in corrected ones.
"""

from typing import Annotated

from blendbench.core.lazy import Tensor, torch
from blendbench.core.tokens import Tokens
from blendbench.registry.parameters import Range
from blendbench.steps.normalize import (
    EPSILON,
    Sink,
    match_dimensions,
    mean_std,
    mix,
    scale_to,
    text_scaled,
    without_sinks,
)
from blendbench.strategies.base import vision_transform
from blendbench.strategies.sources import SEED_DOCUMENT


@vision_transform("global_lerp", "V target / std(V)", f"{SEED_DOCUMENT}, normalisation global")
def global_lerp(text: Tokens, vision: Tokens, *, target: Annotated[float, Range(0, 1e4)] = 0.0) -> Tensor:
    """Scale all vision tokens by one factor.

    `target=0` is the standard deviation of the prompt's own tokens.

    At alpha = 1 the factor does nothing: the transformer normalises each token. Within a mixture it sets the weight.
    """
    return scale_to(vision.hidden, target) if target else text_scaled(text, vision)


@vision_transform("hybrid_lerp", "(1 - w) V_global + w V_per_dim", f"{SEED_DOCUMENT}, normalisation hybrid")
def hybrid_lerp(
    text: Tokens, vision: Tokens, *, weight: Annotated[float, Range(0, 1)] = 0.5, sink: Sink = "keep"
) -> Tensor:
    """Average global and per-dimension normalisation.

    The weight is that of the latter.
    """
    return mix(text_scaled(text, vision), match_dimensions(vision, text, sink), weight)


@vision_transform(
    "clipped_per_dim_lerp",
    "clip((V - mean_V) / std_V, -c, c) std_C + mean_C",
    f"{SEED_DOCUMENT}, normalisation per_dim as published",
    note=", per dimension",
)
def clipped_per_dim_lerp(
    text: Tokens,
    vision: Tokens,
    corpus: tuple[Tokens, ...],
    *,
    clip: Annotated[float, Range(0.1, 100)] = 3.0,
    sink: Sink = "keep",
) -> Tensor:
    """Take reference statistics from a corpus, and clip at 3 deviations.

    This is the literal form.

    With `sink=keep` the corpus includes position 0 of each prompt, whose spread of dimension 4 made the published
    maximum of 9182 = 925 + 3 x 2752.6; `sink=drop` leaves it out.
    """
    reference = torch.cat([tokens.hidden for tokens in corpus]) if sink == "keep" else without_sinks(corpus)
    mean, std = mean_std(vision.hidden, 0)
    wanted_mean, wanted_std = mean_std(reference, 0)
    scores = ((vision.hidden - mean) / std).clamp(-clip, clip)
    return (scores * wanted_std + wanted_mean).to(text.hidden.dtype)


@vision_transform(
    "cross_normalised",
    "P target / std(P)",
    f"{SEED_DOCUMENT}, cross-normalisation",
    alpha=1.0,
    dose_grid=(0.01, 0.03, 0.1, 0.3, 1.0),
    note="; P = V with the text's statistics in every dimension",
)
def cross_normalised(
    text: Tokens, vision: Tokens, *, target: Annotated[float, Range(EPSILON, 1e4)] = 61.0, sink: Sink = "keep"
) -> Tensor:
    """Normalise per dimension, then scale to a target.

    At alpha = 1 all targets must give one image.
    """
    return scale_to(match_dimensions(vision, text, sink), target)
