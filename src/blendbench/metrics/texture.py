"""Fine texture: how steeply the power of an image falls with frequency, against the baseline image."""

from torch import Tensor

from blendbench.metrics.bands import slope
from blendbench.metrics.batch import Batch
from blendbench.metrics.registry import metric


@metric("texture_change", needs=("bands", "baseline_bands"))
def texture_change(batch: Batch) -> Tensor:
    """(n,) slope of log power over log frequency less the baseline's; NaN below 64 pixels. See texture_change.md."""
    return slope(batch.bands) - slope(batch.baseline_bands)
