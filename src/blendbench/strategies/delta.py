"""Style arithmetic: what references add to a neutral image."""

from typing import Annotated, Literal

from blendbench.core.lazy import Tensor
from blendbench.core.tokens import Tokens
from blendbench.registry.parameters import Range
from blendbench.registry.strategies import strategy
from blendbench.steps.align import Align, align_to
from blendbench.steps.normalize import EPSILON
from blendbench.strategies.sources import SEED_DOCUMENT

Gain = Annotated[float, Range(0, 4)]
GRID = (0.1, 0.3, 0.5, 1.0, 2.0)
Scale = Literal["raw", "text"]
SOURCE = f"{SEED_DOCUMENT}, style delta"


def with_differences(
    text: Tokens, neutral: Tokens, align: Align, scale: Scale, *weighted: tuple[Tokens, float]
) -> Tensor:
    """Return T + the sum of w s align(V - V_neutral) over all (V, w).

    An image of weight 0 is left out.

    `scale=raw`: s = 1. `scale=text`: s brings each difference to the root mean square of the text. A blank of another
    size is first aligned to the image's tokens in the same way, so that places are compared with places.
    """
    result = text.hidden
    for image, weight in weighted:
        if weight:
            shown, nothing = align_to(image.hidden, neutral.hidden, align)
            rows, difference = align_to(result, shown - nothing, align)
            factor = 1.0 if scale == "raw" else _rms(text.hidden) / max(_rms(difference), EPSILON)
            result = rows + weight * factor * difference
    return result


def _rms(rows: Tensor) -> float:
    return float(rows.square().mean().sqrt())


@strategy("style_delta", source=SOURCE, equation="T + alpha s align(V - V_neutral)", dose="alpha", dose_grid=GRID)
def style_delta(
    text: Tokens, vision: Tokens, neutral: Tokens, *, alpha: Gain = 0.3, align: Align = "area", scale: Scale = "raw"
) -> Tensor:
    """Add the difference of the reference's and a neutral image's tokens.

    It is raw or at the size of the text.

    `align=interpolate` is the form of the seed document, which has `scale=raw`; its code has `scale=text`, by standard
    deviations in place of root mean squares.
    """
    return with_differences(text, neutral, align, scale, (vision, alpha))


@strategy(
    "delta_negative",
    source=f"{SOURCE}, negative direction",
    equation="T + alpha s align(V_A - V_neutral) - beta s align(V_B - V_neutral)",
    dose=("alpha", "beta"),
    dose_grid=GRID,
)
def delta_negative(
    text: Tokens,
    vision: Tokens,
    neutral: Tokens,
    other: Tokens,
    *,
    alpha: Gain = 1.0,
    beta: Gain = 0.5,
    align: Align = "area",
    scale: Scale = "raw",
) -> Tensor:
    """Go towards the first image and away from the second."""
    return with_differences(text, neutral, align, scale, (vision, alpha), (other, -beta))


@strategy(
    "delta_mixed",
    source=f"{SOURCE}, mixed references",
    equation="T + alpha s align(V_A - V_neutral) + beta s align(V_B - V_neutral)",
    dose=("alpha", "beta"),
    dose_grid=GRID,
)
def delta_mixed(
    text: Tokens,
    vision: Tokens,
    neutral: Tokens,
    other: Tokens,
    *,
    alpha: Gain = 0.7,
    beta: Gain = 0.5,
    align: Align = "area",
    scale: Scale = "raw",
) -> Tensor:
    """Add two differences at once.

    The seed document proposed 0.2 and 0.15 of differences at the size of the text.
    """
    return with_differences(text, neutral, align, scale, (vision, alpha), (other, beta))
