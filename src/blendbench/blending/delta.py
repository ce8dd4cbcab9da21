"""Style arithmetic: what a reference adds to a neutral picture."""

from typing import Annotated, Literal

from torch import Tensor

from blendbench.blending.align import Align, align_to
from blendbench.blending.linear import SEED
from blendbench.blending.parameters import Range
from blendbench.blending.registry import strategy
from blendbench.blending.tokens import Tokens


@strategy("style_delta", version=1, source=SEED + ", style delta", equation="T + alpha s align(V - V_neutral)")
def style_delta(
    text: Tokens, vision: Tokens, neutral: Tokens, *,
    alpha: Annotated[float, Range(0, 4)] = 0.3, align: Align = "area", scale: Literal["raw", "text"] = "raw",
) -> Tensor:  # fmt: skip
    """Add the difference of the reference's and the suite's blank picture's tokens.

    `scale=raw`: s = 1. `scale=text`: s brings the difference to the root mean square of the text. A blank of another
    size is first aligned to the reference's tokens in the same way, so that places are compared with places.
    """
    if alpha == 0:
        return text.hidden
    shown, nothing = align_to(vision.hidden, neutral.hidden, align)
    rows, delta = align_to(text.hidden, shown - nothing, align)
    factor = (
        1.0 if scale == "raw" else float(rows.square().mean().sqrt() / delta.square().mean().sqrt().clamp_min(1e-6))
    )
    return rows + alpha * factor * delta
