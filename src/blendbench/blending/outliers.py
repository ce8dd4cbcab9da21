"""Outlier dimensions: those whose spread over the vision tokens is far from the text's, in either direction."""

from collections.abc import Callable
from typing import Annotated, Literal

import torch
from torch import Tensor

from blendbench.blending.align import Align, align_to
from blendbench.blending.linear import SEED, Alpha
from blendbench.blending.normalise import Sink, mean_std, mix
from blendbench.blending.parameters import Range, Steps
from blendbench.blending.registry import strategy
from blendbench.blending.tokens import Tokens

MASKS: Steps[Callable[[Tensor, Tensor, float], Tensor]] = Steps("mask")
Mask = Annotated[str, MASKS]
mask = MASKS.register


def outlier_dimensions(vision: Tensor, text: Tensor, threshold: float) -> Tensor:
    """(dim,) boolean: the ratio of standard deviations is above `threshold` or below its inverse.

    Two-sided, because the published "617x" of dimension 396 is reference over vision: image tokens lack it. A single
    token has no spread, so nothing is flagged then.
    """
    ratio = spread_ratio(vision, text)
    return (ratio > threshold) | (ratio < 1 / threshold)


def clamped(rows: Tensor, vision: Tensor, text: Tensor, threshold: float) -> Tensor:
    """Rows (n, dim) whose outlier dimensions are scaled until their ratio is the threshold that they passed:
    mean_V + (rows - mean_V) clip(r, 1/t, t) / r."""
    ratio, centre = spread_ratio(vision, text), mean_std(vision, 0)[0]
    scaled = centre + (rows - centre) * ratio.clamp(1 / threshold, threshold) / ratio
    return torch.where(outlier_dimensions(vision, text, threshold), scaled.to(rows.dtype), rows)


@mask("none")
def unmasked(text: Tensor, vision: Tensor, threshold: float) -> Tensor:
    """All of the vision rows (n, dim)."""
    return vision


@mask("zero")
def zeroed(text: Tensor, vision: Tensor, threshold: float) -> Tensor:
    """0 in the outlier dimensions, in either direction."""
    return torch.where(outlier_dimensions(vision, text, threshold), 0.0, vision)


@mask("clamp")
def clamped_to_text(text: Tensor, vision: Tensor, threshold: float) -> Tensor:
    """`clamped`, by the rows' own ratios."""
    return clamped(vision, vision, text, threshold)


@mask("zero_published")
def zeroed_as_published(text: Tensor, vision: Tensor, threshold: float) -> Tensor:
    """0 where the vision rows vary more than `threshold` times as much as the text's, as the seed had it."""
    return torch.where(spread_ratio(vision, text) > threshold, 0.0, vision)


def spread_ratio(vision: Tensor, text: Tensor) -> Tensor:
    """(dim,) float64: std of the vision tokens over std of the text tokens; 1 where either side has a single token."""
    if min(len(vision), len(text)) < 2:
        return torch.ones(text.shape[1], dtype=torch.float64)
    return (mean_std(vision, 0)[1] / mean_std(text, 0)[1])[0]


@strategy(
    "outlier_mask_published", version=1, source=SEED + ", outlier masking as published",
    equation="(1 - alpha) T + alpha align(mask(V)); mask where std_V / std_C > t, C the prompts of the suite",
)  # fmt: skip
def outlier_mask_published(
    text: Tokens, vision: Tokens, corpus: tuple[Tokens, ...], *, alpha: Alpha = 0.3,
    threshold: Annotated[float, Range(1, 1e6)] = 10.0, mode: Literal["none", "zero", "clamp", "scale"] = "zero",
    align: Align = "area",
) -> Tensor:  # fmt: skip
    """The seed's one-sided test. Dimensions that the image tokens LACK, as 396 and 4, have a small ratio and pass it.

    `zero`: 0; `clamp`: x t std_C / std_V; `scale`: x t / ratio, which is the same expression.
    """
    if alpha == 0:
        return text.hidden
    ratio = spread_ratio(vision.hidden, torch.cat([tokens.hidden for tokens in corpus]))
    factor = {"none": torch.ones_like(ratio), "zero": torch.zeros_like(ratio)}.get(mode, threshold / ratio)
    masked = torch.where(ratio > threshold, vision.hidden * factor, vision.hidden).to(text.hidden.dtype)
    return mix(*align_to(text.hidden, masked, align), alpha)


@strategy(
    "dimension_ablation", version=1, source=SEED + ", is one dimension the cause?",
    equation="(1 - alpha) T + alpha align(V), with one dimension set to 0, or to the text's",
)  # fmt: skip
def dimension_ablation(
    text: Tokens, vision: Tokens, *, alpha: Alpha = 0.3, rank: Annotated[int, Range(0, 1e5)] = 0,
    dimension: Annotated[int, Range(-1, 1e5)] = -1, mode: Literal["zero", "text"] = "zero", align: Align = "area",
) -> Tensor:  # fmt: skip
    """Ablate `dimension` (396 in Qwen3-VL-4B), or the one whose spread is the `rank`-th farthest from the text's.

    Errors: ValueError if there is no such dimension.
    """
    if alpha == 0:
        return text.hidden
    if max(dimension, rank) >= text.hidden.shape[1]:
        raise ValueError(f"dimension {max(dimension, rank)} of {text.hidden.shape[1]}")
    farthest = spread_ratio(vision.hidden, text.hidden).log().abs().argsort(descending=True, stable=True)
    chosen = dimension if dimension >= 0 else int(farthest[rank])
    rows, aligned = align_to(text.hidden, vision.hidden, align)
    aligned = aligned.clone()
    aligned[:, chosen] = 0 if mode == "zero" else rows[:, chosen]
    return mix(rows, aligned, alpha)


@strategy(
    "outlier_mask", version=1, source=SEED + ", outlier masking, corrected to a two-sided test",
    equation="(1 - alpha) T + alpha align(mask(V)); mask where std_V / std_T > t or < 1 / t",
)  # fmt: skip
def outlier_mask(
    text: Tokens, vision: Tokens, *, alpha: Alpha = 0.3, threshold: Annotated[float, Range(1, 1e6)] = 4.0,
    mode: Literal["zero", "clamp", "text"] = "zero", align: Align = "area", sink: Sink = "keep",
) -> Tensor:  # fmt: skip
    """Mask the vision's outlier dimensions, then mix.

    `zero` sets them to 0. `clamp` scales each about its mean, so that its ratio is the threshold it passed (see
    `clamped`). `text` leaves the text's own value there. `sink=drop` takes the ratios
    without position 0, whose sink else makes dimensions 4 and 396 of Qwen3-4B outliers.
    """
    if alpha == 0:
        return text.hidden
    measured = vision.hidden[vision.without_sink] if sink == "drop" else vision.hidden
    against = text.hidden[text.without_sink] if sink == "drop" else text.hidden
    if mode == "clamp":
        masked = clamped(vision.hidden, measured, against, threshold)
        return mix(*align_to(text.hidden, masked, align), alpha)
    rows, aligned = align_to(text.hidden, vision.hidden, align)
    flagged = outlier_dimensions(measured, against, threshold)
    return mix(rows, torch.where(flagged, rows if mode == "text" else 0.0, aligned), alpha)
