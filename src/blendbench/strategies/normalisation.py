"""Lerp after the vision tokens were brought to the text's scale, in the ways that the seed tried and corrected ones."""

from typing import Annotated

import torch
from torch import Tensor

from blendbench.core.tokens import Tokens
from blendbench.registry.parameters import Alpha, Range
from blendbench.registry.strategies import strategy
from blendbench.steps.align import Align, align_to
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
from blendbench.strategies.sources import SEED_DOCUMENT

Target = Annotated[float, Range(0, 1e4)]


@strategy(
    "global_lerp",
    version=1,
    source=f"{SEED_DOCUMENT}, normalisation global",
    equation="(1 - alpha) T + alpha align(V target / std(V))",
)
def global_lerp(
    text: Tokens, vision: Tokens, *, alpha: Alpha = 0.3, target: Target = 0.0, align: Align = "area"
) -> Tensor:
    """One factor for all vision tokens; `target=0` is the standard deviation of the prompt's own tokens.

    At alpha = 1 the factor does nothing: the transformer normalises each token. Within a mixture it sets the share.
    """
    if alpha == 0:
        return text.hidden
    scaled = scale_to(vision.hidden, target) if target else text_scaled(text, vision)
    return mix(*align_to(text.hidden, scaled, align), alpha)


@strategy(
    "hybrid_lerp",
    version=1,
    source=f"{SEED_DOCUMENT}, normalisation hybrid",
    equation="(1 - alpha) T + alpha align((1 - w) V_global + w V_per_dim)",
)
def hybrid_lerp(
    text: Tokens,
    vision: Tokens,
    *,
    alpha: Alpha = 0.3,
    weight: Annotated[float, Range(0, 1)] = 0.5,
    align: Align = "area",
    sink: Sink = "keep",
) -> Tensor:
    """Half global, half per-dimension normalisation; the weight is that of the latter."""
    if alpha == 0:
        return text.hidden
    both = mix(text_scaled(text, vision), match_dimensions(vision, text, sink), weight)
    return mix(*align_to(text.hidden, both, align), alpha)


@strategy(
    "clipped_per_dim_lerp",
    version=1,
    source=f"{SEED_DOCUMENT}, normalisation per_dim as published",
    equation="(1 - alpha) T + alpha align(clip((V - mean_V) / std_V, -c, c) std_C + mean_C), per dimension",
)
def clipped_per_dim_lerp(
    text: Tokens,
    vision: Tokens,
    corpus: tuple[Tokens, ...],
    *,
    alpha: Alpha = 0.3,
    clip: Annotated[float, Range(0.1, 100)] = 3.0,
    align: Align = "area",
    sink: Sink = "keep",
) -> Tensor:
    """The seed's literal form: reference statistics of a corpus of prompts, and a clip at 3 deviations.

    With `sink=keep` the corpus includes position 0 of each prompt, whose spread of dimension 4 made the published
    maximum of 9182 = 925 + 3 x 2752.6; `sink=drop` leaves it out.
    """
    if alpha == 0:
        return text.hidden
    reference = torch.cat([tokens.hidden for tokens in corpus]) if sink == "keep" else without_sinks(corpus)
    mean, std = mean_std(vision.hidden, 0)
    wanted_mean, wanted_std = mean_std(reference, 0)
    scores = ((vision.hidden - mean) / std).clamp(-clip, clip)
    return mix(*align_to(text.hidden, (scores * wanted_std + wanted_mean).to(text.hidden.dtype), align), alpha)


@strategy(
    "cross_normalised",
    version=1,
    source=f"{SEED_DOCUMENT}, cross-normalisation",
    equation="(1 - alpha) T + alpha align(P target / std(P)); P = V with the text's statistics in every dimension",
)
def cross_normalised(
    text: Tokens,
    vision: Tokens,
    *,
    alpha: Alpha = 1.0,
    target: Annotated[float, Range(EPSILON, 1e4)] = 61.0,
    align: Align = "area",
    sink: Sink = "keep",
) -> Tensor:
    """Per-dimension normalisation, then a scale to a target: at alpha = 1 all targets must give one image."""
    if alpha == 0:
        return text.hidden
    return mix(*align_to(text.hidden, scale_to(match_dimensions(vision, text, sink), target), align), alpha)
