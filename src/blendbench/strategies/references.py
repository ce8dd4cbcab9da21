"""Several sources of vision tokens: two images, or the two kinds of tokens of one extraction."""

from typing import Annotated

import torch
from torch import Tensor

from blendbench.core.tokens import Tokens, select
from blendbench.registry.parameters import Alpha, Range
from blendbench.registry.strategies import strategy
from blendbench.steps.align import Align, align_to
from blendbench.steps.normalize import match, mix
from blendbench.strategies.sources import SEED_DOCUMENT

Share = Annotated[float, Range(0, 1)]


@strategy(
    "multi_reference",
    version=1,
    source=f"{SEED_DOCUMENT}, multi-reference",
    equation="(1 - alpha) T + alpha ((1 - w) align(V_A) + w align(V_B))",
)
def multi_reference(
    text: Tokens, vision: Tokens, other: Tokens, *, alpha: Alpha = 0.3, weight: Share = 0.5, align: Align = "area"
) -> Tensor:
    """Lerp with a weighted mean of two images' tokens; weight 0 is `lerp` with the first, 1 with the second."""
    if alpha == 0:
        return text.hidden
    rows, first = align_to(text.hidden, vision.hidden, align)
    second = align_to(text.hidden, other.hidden, align)[1]
    shared = min(len(first), len(second))
    return mix(rows[:shared], mix(first[:shared], second[:shared], weight), alpha)


@strategy(
    "multi_concatenate",
    version=1,
    source=f"{SEED_DOCUMENT}, multi-reference",
    equation="[T; align_n(V_A); align_n(V_B)]",
)
def multi_concatenate(text: Tokens, vision: Tokens, other: Tokens, *, share: Share = 0.5) -> Tensor:
    """Both images' tokens after the text's, each pooled to a share of its own number."""
    pooled = [_pooled(tokens.hidden, share) for tokens in (vision, other)]
    return torch.cat((text.hidden, *pooled)) if share else text.hidden


def _pooled(rows: Tensor, share: float) -> Tensor:
    count = max(round(share * len(rows)), 1)
    return align_to(rows[:1].expand(count, -1), rows, "area")[1]


@strategy(
    "style_composition",
    version=1,
    source=f"{SEED_DOCUMENT}, style of A with composition of B",
    equation="(1 - alpha) T + alpha align((V_B - mu_B) / sd_B sd_A + mu_A), per dimension",
)
def style_composition(
    text: Tokens, vision: Tokens, other: Tokens, *, alpha: Alpha = 0.3, align: Align = "area"
) -> Tensor:
    """The second image's tokens in their places, with the first one's statistics."""
    if alpha == 0:
        return text.hidden
    return mix(*align_to(text.hidden, match(other.hidden, vision.hidden, 0), align), alpha)


@strategy(
    "intra_vl",
    version=1,
    source=f"{SEED_DOCUMENT}, intra-VL blending",
    tokens="full",
    equation="(1 - ratio) V_text + ratio align(V_image), both of one extraction",
)
def intra_vl(text: Tokens, vision: Tokens, *, ratio: Share = 0.3, align: Align = "area") -> Tensor:
    """Qwen3-VL's own text tokens with its image tokens mixed in, in place of Qwen3's text: 0 all text, 1 all image.

    Errors: ValueError if `tokens` leaves one kind out.
    """
    words, image = select(vision, "text").hidden, select(vision, "image_no_markers").hidden
    return mix(*align_to(words, image, align), ratio)


@strategy(
    "dual_extraction",
    version=1,
    source=f"{SEED_DOCUMENT}, double conditioning",
    tokens="text",
    equation="(1 - alpha) V_text(image, prompt) + alpha align(V_image(image alone))",
)
def dual_extraction(
    text: Tokens, vision: Tokens, wordless: Tokens, *, alpha: Alpha = 0.3, align: Align = "area"
) -> Tensor:
    """Text tokens of one extraction, image tokens of another that has no prompt.

    Qwen3-VL is causal and the image comes first, so its image tokens cannot depend on the prompt: this must equal
    `intra_vl` at the same share, up to rounding.
    """
    return mix(*align_to(vision.hidden, wordless.hidden, align), alpha)
