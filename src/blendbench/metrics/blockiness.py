"""Blockiness: steps in brightness at patch borders, whatever their sign."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blendbench.metrics.borders import CLIP
from blendbench.metrics.inputs import border_reading, worst_if_collapsed
from blendbench.metrics.registry import metric

if TYPE_CHECKING:
    from torch import Tensor

    from blendbench.metrics.batch import Batch


@metric("blockiness", needs=("border_reading", "collapse"))
def blockiness(batch: Batch) -> Tensor:
    """Return (n,) excesses of log-normalised steps at patch borders.

    0 where borders have no greater steps than other places. NaN below three tiles a side. Definition:
    metrics/blockiness.md. Source: the neighbour-normalised step of Muijs & Kirenko 2005, freed of the trend, averaged
    along the border at three lengths, with a half-period control.
    """
    return worst_if_collapsed(batch, border_reading(batch).excess.clamp_min(0), 2 * CLIP)
