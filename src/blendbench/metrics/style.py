"""Style gain: how far an image moved towards the look of its reference, read without a network."""

import torch
from torch import Tensor

from blendbench.metrics.batch import Batch
from blendbench.metrics.palette import Palette, chroma_distance, tone_distance
from blendbench.metrics.registry import metric

# What counts as one step apart: the medians between two photos, so that no part outweighs the others.
_CHROMA, _TONE, _TEXTURE = 0.03, 0.15, 1.2
# Two images nearer to each other than this look alike; below it, a gain would be a ratio of nothings.
_ALIKE = 0.02


@metric(
    "style_gain",
    needs=("palette", "baseline_palette", "reference_palette", "bands", "baseline_bands", "reference_bands"),
)
def style_gain(batch: Batch) -> Tensor:
    """(n,) distance in look from the baseline to the reference less that from the image, over their sum; -1..1."""
    before = _distance(batch.baseline_palette, batch.reference_palette, batch.baseline_bands, batch.reference_bands)
    after = _distance(batch.palette, batch.reference_palette, batch.bands, batch.reference_bands)
    return (before - after) / (before + after + _ALIKE)


def _distance(one: Palette, other: Palette, bands: Tensor, others: Tensor) -> Tensor:
    """(n,) mean of the distances in colour, tone and texture, each over its step."""
    texture = (bands - others).abs().mean(-1)
    steps = [chroma_distance(one, other) / _CHROMA, tone_distance(one, other) / _TONE, texture / _TEXTURE]
    return torch.stack(steps).mean(0)
