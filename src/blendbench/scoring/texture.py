"""Fine texture: how steeply the power of a picture falls with frequency, against the baseline picture."""

from torch import Tensor

from blendbench.scoring.bands import slope
from blendbench.scoring.batch import Batch
from blendbench.scoring.registry import metric


@metric("texture_change", needs=("bands", "baseline_bands"))
def texture_change(batch: Batch) -> Tensor:
    """(n,) slope of log power over log frequency less the baseline's; NaN below 64 pixels. See texture_change.md."""
    return slope(batch.bands) - slope(batch.baseline_bands)
