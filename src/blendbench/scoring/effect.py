"""Effect size: how far a picture is from its text_only baseline, so that a blend which does nothing cannot lead."""

import torch
from torch import Tensor

from blendbench.scoring.batch import Batch
from blendbench.scoring.registry import metric


@metric("effect_size", needs=("pictures", "baselines"))
def effect_size(batch: Batch) -> Tensor:
    """(n,) mean absolute difference to the baseline over pixels and channels, grey levels; NaN if the sizes differ."""
    assert batch.baselines is not None
    if batch.baselines.shape != batch.pictures.shape:
        return torch.full((len(batch),), torch.nan)
    # In 8 bits, which is faster than widening both.
    difference = torch.maximum(batch.pictures, batch.baselines) - torch.minimum(batch.pictures, batch.baselines)
    # The sums of rows are whole numbers that float32 holds exactly.
    return difference.float().sum(-1).double().sum((-2, -1)) / difference[0].numel()
