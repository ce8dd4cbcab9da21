"""Outlier dimensions, whose spread differs much from the text's.

The difference can be in either direction.
"""

from typing import Annotated, Literal

from blendbench.core.lazy import Tensor, torch
from blendbench.core.tokens import Tokens
from blendbench.registry.parameters import Alpha, Range
from blendbench.registry.strategies import strategy
from blendbench.steps.align import Align, align_to
from blendbench.steps.mask import clamped, outlier_dimensions, spread_ratio
from blendbench.steps.normalize import Sink, mix
from blendbench.strategies.base import vision_transform
from blendbench.strategies.sources import SEED_DOCUMENT

Threshold = Annotated[float, Range(1, 1e6)]


@vision_transform(
    "outlier_mask_published",
    "mask(V)",
    f"{SEED_DOCUMENT}, outlier masking as published",
    note="; mask where std_V / std_C > t, C the prompts of the suite",
)
def outlier_mask_published(
    text: Tokens,
    vision: Tokens,
    corpus: tuple[Tokens, ...],
    *,
    threshold: Threshold = 10.0,
    mode: Literal["none", "zero", "clamp", "scale"] = "zero",
) -> Tensor:
    """Test one side only.

    Dimensions that the image tokens lack, as 396 and 4, have a small ratio and pass.

    `zero`: 0; `clamp`: x t std_C / std_V; `scale`: x t / ratio, which is the same expression.
    """
    ratio = spread_ratio(vision.hidden, torch.cat([tokens.hidden for tokens in corpus]))
    factor = {"none": torch.ones_like(ratio), "zero": torch.zeros_like(ratio)}.get(mode, threshold / ratio)
    return torch.where(ratio > threshold, vision.hidden * factor, vision.hidden).to(text.hidden.dtype)


@strategy(
    "dimension_ablation",
    source=f"{SEED_DOCUMENT}, is one dimension the cause?",
    equation="(1 - alpha) T + alpha align(V), with one dimension set to 0, or to the text's",
    dose="alpha",
)
def dimension_ablation(
    text: Tokens,
    vision: Tokens,
    *,
    alpha: Alpha = 0.3,
    rank: Annotated[int, Range(0, 1e5)] = 0,
    dimension: Annotated[int, Range(-1, 1e5)] = -1,
    mode: Literal["zero", "text"] = "zero",
    align: Align = "area",
) -> Tensor:
    """Ablate `dimension` (396 in Qwen3-VL-4B), or the `rank`-th outlier.

    Outliers are ordered by how far their spread is from the text's.

    Errors: ValueError if there is no such dimension.
    """
    if max(dimension, rank) >= text.hidden.shape[1]:
        raise ValueError(f"dimension {max(dimension, rank)} of {text.hidden.shape[1]}")
    farthest = spread_ratio(vision.hidden, text.hidden).log().abs().argsort(descending=True, stable=True)
    chosen = dimension if dimension >= 0 else int(farthest[rank])
    rows, aligned = align_to(text.hidden, vision.hidden, align)
    aligned = aligned.clone()
    aligned[:, chosen] = 0 if mode == "zero" else rows[:, chosen]
    return mix(rows, aligned, alpha)


@strategy(
    "outlier_mask",
    source=f"{SEED_DOCUMENT}, outlier masking, corrected to a two-sided test",
    equation="(1 - alpha) T + alpha align(mask(V)); mask where std_V / std_T > t or < 1 / t",
    dose="alpha",
    dose_grid=(0.1, 0.3, 1.0),
)
def outlier_mask(
    text: Tokens,
    vision: Tokens,
    *,
    alpha: Alpha = 0.3,
    threshold: Threshold = 4.0,
    mode: Literal["zero", "clamp", "text"] = "zero",
    align: Align = "area",
    sink: Sink = "keep",
) -> Tensor:
    """Mask the vision's outlier dimensions, then mix.

    `zero` sets them to 0. `clamp` scales each about its mean, so that its ratio is the threshold it passed (see
    `clamped`). `text` leaves the text's own value there. `sink=drop` takes the ratios without position 0, whose sink
    else makes dimensions 4 and 396 of Qwen3-4B outliers.
    """
    measured = vision.hidden[vision.without_sink] if sink == "drop" else vision.hidden
    against = text.hidden[text.without_sink] if sink == "drop" else text.hidden
    if mode == "clamp":
        masked = clamped(vision.hidden, measured, against, threshold)
        return mix(*align_to(text.hidden, masked, align), alpha)
    rows, aligned = align_to(text.hidden, vision.hidden, align)
    flagged = outlier_dimensions(measured, against, threshold)
    return mix(rows, torch.where(flagged, rows if mode == "text" else 0.0, aligned), alpha)
