"""Outlier dimensions: those whose spread over the vision tokens is far from the text's, in either direction."""

from typing import Annotated, Literal

import torch
from torch import Tensor

from blendbench.blending.align import Align, align_to
from blendbench.blending.linear import SEED, Alpha
from blendbench.blending.normalise import Sink, mean_std, mix
from blendbench.blending.parameters import Range
from blendbench.blending.registry import strategy
from blendbench.blending.tokens import Tokens


def outlier_dimensions(vision: Tensor, text: Tensor, threshold: float) -> Tensor:
    """(dim,) boolean: the ratio of standard deviations is above `threshold` or below its inverse.

    Two-sided, because the published "617x" of dimension 396 is reference over vision: image tokens lack it. A single
    token has no spread, so nothing is flagged then.
    """
    ratio = spread_ratio(vision, text)
    return (ratio > threshold) | (ratio < 1 / threshold)


def spread_ratio(vision: Tensor, text: Tensor) -> Tensor:
    """(dim,) float64: std of the vision tokens over std of the text tokens; 1 where either side has a single token."""
    if min(len(vision), len(text)) < 2:
        return torch.ones(text.shape[1], dtype=torch.float64)
    return (mean_std(vision, 0)[1] / mean_std(text, 0)[1])[0]


@strategy(
    "outlier_mask", version=1, source=SEED + ", outlier masking, corrected to a two-sided test",
    equation="(1 - alpha) T + alpha align(mask(V)); mask where std_V / std_T > t or < 1 / t",
)  # fmt: skip
def outlier_mask(
    text: Tokens, vision: Tokens, *, alpha: Alpha = 0.3, threshold: Annotated[float, Range(1, 1e6)] = 4.0,
    mode: Literal["zero", "clamp", "text"] = "zero", align: Align = "area", sink: Sink = "keep",
) -> Tensor:  # fmt: skip
    """Mask the vision's outlier dimensions, then mix.

    `zero` sets them to 0. `clamp` scales each about its mean, so that its ratio is the threshold it passed:
    mean_V + (V - mean_V) clip(r, 1/t, t) / r. `text` leaves the text's own value there. `sink=drop` takes the ratios
    without position 0, whose sink else makes dimensions 4 and 396 of Qwen3-4B outliers.
    """
    if alpha == 0:
        return text.hidden
    measured = vision.hidden[vision.without_sink] if sink == "drop" else vision.hidden
    against = text.hidden[text.without_sink] if sink == "drop" else text.hidden
    flagged = outlier_dimensions(measured, against, threshold)
    if mode == "clamp":
        ratio, centre = spread_ratio(measured, against), mean_std(measured, 0)[0]
        scaled = centre + (vision.hidden - centre) * ratio.clamp(1 / threshold, threshold) / ratio
        masked = torch.where(flagged, scaled.to(vision.hidden.dtype), vision.hidden)
        return mix(*align_to(text.hidden, masked, align), alpha)
    rows, aligned = align_to(text.hidden, vision.hidden, align)
    return mix(rows, torch.where(flagged, rows if mode == "text" else 0.0, aligned), alpha)
