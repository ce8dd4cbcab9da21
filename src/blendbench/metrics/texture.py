"""Fine texture: the fall of power with frequency, against the baseline."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blendbench.metrics.bands import slope
from blendbench.metrics.inputs import bands, baseline_bands
from blendbench.metrics.registry import metric

if TYPE_CHECKING:
    from torch import Tensor

    from blendbench.metrics.batch import Batch


@metric("texture_change", needs=("bands", "baseline_bands"))
def texture_change(batch: Batch) -> Tensor:
    """Return (n,) slopes of log power over log frequency less the baseline's.

    NaN below 64 pixels a side. Definition: metrics/texture_change.md.
    """
    return slope(bands(batch)) - slope(baseline_bands(batch))
