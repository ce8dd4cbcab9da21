"""Style gain: how far an image moved towards its reference's look.

It is measured without a network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from blendbench.core.lazy import torch
from blendbench.metrics import inputs
from blendbench.metrics.palette import Palette, chroma_distance, tone_distance
from blendbench.metrics.registry import metric

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


def _distance(one: Palette, other: Palette, bands: Tensor, others: Tensor) -> Tensor:
    """Return (n,) means of colour, tone and texture distances in steps."""
    texture = (bands - others).abs().mean(-1)
    steps = [chroma_distance(one, other) / _CHROMA, tone_distance(one, other) / _TONE, texture / _TEXTURE]
    return torch.stack(steps).mean(0)
