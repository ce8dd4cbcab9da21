"""Masks: outlier dimensions, whose spread over the vision tokens is far from the text's, in either direction."""

from collections.abc import Callable
from typing import Annotated

import torch
from torch import Tensor

from blendbench.registry.parameters import Steps
from blendbench.steps.normalize import mean_std

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
