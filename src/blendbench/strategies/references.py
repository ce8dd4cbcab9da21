"""Several sources of vision tokens: two images, or two kinds of tokens.

The kinds come from one extraction.
"""

from blendbench.core.lazy import Tensor, torch
from blendbench.core.tokens import Tokens, select
from blendbench.registry.parameters import Alpha
from blendbench.registry.strategies import strategy
from blendbench.steps.align import Align, align_to, area_averaged
from blendbench.steps.normalize import match, mix
from blendbench.strategies.base import vision_transform
from blendbench.strategies.sources import SEED_DOCUMENT


@strategy(
    "multi_reference",
    source=f"{SEED_DOCUMENT}, multi-reference",
    equation="(1 - alpha) T + alpha ((1 - w) align(V_A) + w align(V_B))",
    dose="alpha",
)
def multi_reference(
    text: Tokens, vision: Tokens, other: Tokens, *, alpha: Alpha = 0.3, weight: Alpha = 0.5, align: Align = "area"
) -> Tensor:
    """Mix with a weighted mean of two images' tokens.

    Weight 0 is `lerp` with the first, 1 with the second.
    """
    rows, first = align_to(text.hidden, vision.hidden, align)
    second = align_to(text.hidden, other.hidden, align)[1]
    shared = min(len(first), len(second))
    return mix(rows[:shared], mix(first[:shared], second[:shared], weight), alpha)


@strategy(
    "multi_concatenate",
    source=f"{SEED_DOCUMENT}, multi-reference",
    equation="[T; align_n(V_A); align_n(V_B)]",
    dose="share",
    dose_grid=(0.1, 0.25, 0.4, 0.5, 0.75, 1.0),
)
def multi_concatenate(text: Tokens, vision: Tokens, other: Tokens, *, share: Alpha = 0.5) -> Tensor:
    """Append both images' tokens, each pooled to a fraction of its number."""
    return torch.cat((text.hidden, *(_pooled(tokens.hidden, share) for tokens in (vision, other))))


def _pooled(rows: Tensor, share: float) -> Tensor:
    count = max(round(share * len(rows)), 1)
    return area_averaged(rows[:1].expand(count, -1), rows)[1]


@vision_transform(
    "style_composition",
    "(V_B - mu_B) / sd_B sd_A + mu_A",
    f"{SEED_DOCUMENT}, style of A with composition of B",
    note=", per dimension",
)
def style_composition(vision: Tokens, other: Tokens) -> Tensor:
    """Give the second image's tokens the first one's statistics."""
    return match(other.hidden, vision.hidden, 0)


@strategy(
    "intra_vl",
    source=f"{SEED_DOCUMENT}, intra-VL blending",
    tokens="full",
    equation="(1 - ratio) V_text + ratio align(V_image), both of one extraction",
)
def intra_vl(text: Tokens, vision: Tokens, *, ratio: Alpha = 0.3, align: Align = "area") -> Tensor:
    """Mix Qwen3-VL's image tokens into its own text tokens.

    They replace Qwen3's: 0 is all text, 1 all image.

    Errors: ValueError if `tokens` leaves one kind out.
    """
    words, image = select(vision, "text").hidden, select(vision, "image_no_markers").hidden
    return mix(*align_to(words, image, align), ratio)


@strategy(
    "dual_extraction",
    source=f"{SEED_DOCUMENT}, double conditioning",
    tokens="text",
    equation="(1 - alpha) V_text(image, prompt) + alpha align(V_image(image alone))",
)
def dual_extraction(
    text: Tokens,
    vision: Tokens,
    wordless: Tokens,
    *,
    alpha: Alpha = 0.3,
    align: Align = "area",
) -> Tensor:
    """Take text tokens of one extraction and image tokens without a prompt.

    The image tokens come from another extraction.

    Qwen3-VL is causal and the image comes first, so its image tokens cannot depend on the prompt: this must equal
    `intra_vl` at the same ratio, up to rounding.
    """
    return mix(*align_to(vision.hidden, wordless.hidden, align), alpha)
