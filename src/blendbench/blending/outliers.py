"""Outlier dimensions: those whose spread over the vision tokens is far from the text's, in either direction."""

from typing import Annotated, Literal

import torch
from torch import Tensor

from blendbench.blending.align import Align, align_to
from blendbench.blending.linear import SEED, Alpha
from blendbench.blending.normalise import mean_std, mix
from blendbench.blending.parameters import Range
from blendbench.blending.registry import strategy
from blendbench.blending.tokens import Tokens


def outlier_dimensions(vision: Tensor, text: Tensor, threshold: float) -> Tensor:
    """(dim,) boolean: the ratio of standard deviations is above `threshold` or below its inverse.

    Two-sided, because the published "617x" of dimension 396 is reference over vision: image tokens lack it.
    """
    ratio = (mean_std(vision, 0)[1] / mean_std(text, 0)[1])[0]
    return (ratio > threshold) | (ratio < 1 / threshold)


@strategy(
    "outlier_mask", version=1, source=SEED + ", outlier masking, corrected to a two-sided test",
    equation="(1 - alpha) T + alpha align(mask(V)); mask where std_V / std_T > t or < 1 / t",
)  # fmt: skip
def outlier_mask(
    text: Tokens, vision: Tokens, *, alpha: Alpha = 0.3, threshold: Annotated[float, Range(1, 1e6)] = 4.0,
    mode: Literal["zero", "clamp", "text"] = "zero", align: Align = "area",
) -> Tensor:  # fmt: skip
    """Mask the vision's outlier dimensions, then mix.

    `zero` sets them to 0; `clamp` scales each so that its ratio is the threshold it passed; `text` leaves the text's
    own value there.
    """
    if alpha == 0:
        return text.hidden
    flagged = outlier_dimensions(vision.hidden, text.hidden, threshold)
    rows, aligned = align_to(text.hidden, vision.hidden, align)
    if mode == "text":
        return mix(rows, torch.where(flagged, rows, aligned), alpha)
    if mode == "zero":
        return mix(rows, torch.where(flagged, 0.0, aligned), alpha)
    ratio = (mean_std(vision.hidden, 0)[1] / mean_std(text.hidden, 0)[1])[0]
    return mix(rows, aligned * ratio.clamp(1 / threshold, threshold) / ratio, alpha)
