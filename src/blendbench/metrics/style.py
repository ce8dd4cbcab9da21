"""Style gain: how far an image moved towards its reference's look."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blendbench.core.lazy import torch
from blendbench.metrics import inputs
from blendbench.metrics.palette import Palette, chroma_distance, tone_distance
from blendbench.metrics.registry import metric
from blendbench.metrics.style_space import LEAST_PAIRS

if TYPE_CHECKING:
    from torch import Tensor

    from blendbench.metrics.batch import Batch

# One step apart in each part: the medians between two photos, so that no part outweighs the others.
_CHROMA, _TONE, _TEXTURE = 0.03, 0.15, 1.2
# Two images nearer to each other than this look alike; a gain between them would be a ratio of rounding errors.
_ALIKE = 0.02


@metric(
    "style_gain",
    needs=("palette", "baseline_palette", "reference_palette", "bands", "baseline_bands", "reference_bands"),
)
def style_gain(batch: Batch) -> Tensor:
    """Return (n,) movement towards the look of the reference, -1..1.

    The distance in look from the baseline to the reference less that from the image, over their sum.
    """
    palette, texture = inputs.reference_palette(batch), inputs.reference_bands(batch)
    before = _distance(inputs.baseline_palette(batch), palette, inputs.baseline_bands(batch), texture)
    after = _distance(inputs.palette(batch), palette, inputs.bands(batch), texture)
    return (before - after) / (before + after + _ALIKE)


@metric(
    "embedding_style_gain",
    needs=("style_space", "embeddings", "baseline_embeddings", "reference_embeddings"),
)
def embedding_style_gain(batch: Batch) -> Tensor:
    """Return (n,) movement towards the style of the reference, -1..1.

    Read in frozen embeddings, along the axes that part the suite's styled images from plain ones. NaN with too few
    pairs to find them.
    """
    if len(batch["pairs"].files) < LEAST_PAIRS:
        return torch.full((len(batch),), torch.nan)
    space, reference = inputs.style_space(batch), inputs.reference_embeddings(batch)
    before = space.distance(inputs.baseline_embeddings(batch), reference)
    after = space.distance(inputs.embeddings(batch), reference)
    return (before - after) / (before + after + space.alike)


def _distance(one: Palette, other: Palette, bands: Tensor, others: Tensor) -> Tensor:
    """Return (n,) means of colour, tone and texture distances in steps."""
    texture = (bands - others).abs().mean(-1)
    steps = [chroma_distance(one, other) / _CHROMA, tone_distance(one, other) / _TONE, texture / _TEXTURE]
    return torch.stack(steps).mean(0)
