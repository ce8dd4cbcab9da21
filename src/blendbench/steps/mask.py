"""Masks of outlier dimensions.

Their spread over the vision tokens is far from the text's, in either direction.
"""

from collections.abc import Callable
from typing import Annotated

from blendbench.core.lazy import Tensor, torch
from blendbench.registry.steps import Steps
from blendbench.steps.normalize import mean_std

MASKS: Steps[Callable[[Tensor, Tensor, float], Tensor]] = Steps("mask")
Mask = Annotated[str, MASKS]
mask = MASKS.register


def outlier_dimensions(vision: Tensor, text: Tensor, threshold: float) -> Tensor:
    """Flag (dim,) deviation ratios above `threshold` or below its inverse.

    Two-sided, because the published "617x" of dimension 396 is reference over vision: image tokens lack it. A single
    token has no spread, so nothing is flagged then.
    """
    ratio = spread_ratio(vision, text)
    return (ratio > threshold) | (ratio < 1 / threshold)


def clamped(rows: Tensor, vision: Tensor, text: Tensor, threshold: float) -> Tensor:
    """Scale outlier dimensions of rows (n, dim) to the threshold they passed.

    mean_V + (rows - mean_V) clip(r, 1/t, t) / r.
    """
    ratio, centre = spread_ratio(vision, text), mean_std(vision, 0)[0]
    scaled = centre + (rows - centre) * ratio.clamp(1 / threshold, threshold) / ratio
    return torch.where(outlier_dimensions(vision, text, threshold), scaled.to(rows.dtype), rows)


@mask("none")
def unmasked(text: Tensor, vision: Tensor, threshold: float) -> Tensor:
    """Keep the vision rows (n, dim)."""
    return vision


@mask("zero")
def zeroed(text: Tensor, vision: Tensor, threshold: float) -> Tensor:
    """Set the outlier dimensions to 0, in either direction."""
    return torch.where(outlier_dimensions(vision, text, threshold), 0.0, vision)


@mask("clamp")
def clamped_to_text(text: Tensor, vision: Tensor, threshold: float) -> Tensor:
    """Scale the outlier dimensions to the threshold, by the rows' own ratios."""
    return clamped(vision, vision, text, threshold)


@mask("zero_published")
def zeroed_as_published(text: Tensor, vision: Tensor, threshold: float) -> Tensor:
    """Set to 0 what varies over `threshold` times as much as the text.

    This is the seed document's form.
    """
    return torch.where(spread_ratio(vision, text) > threshold, 0.0, vision)


def spread_ratio(vision: Tensor, text: Tensor) -> Tensor:
    """Divide the deviations of vision and text tokens, (dim,) float64.

    The ratio is 1 where a side has a single token.
    """
    if min(len(vision), len(text)) < 2:
        return torch.ones(text.shape[1], dtype=torch.float64)
    return (mean_std(vision, 0)[1] / mean_std(text, 0)[1])[0]
