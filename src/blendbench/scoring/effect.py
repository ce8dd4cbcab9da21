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
    difference = batch.pictures.short() - batch.baselines.short()
    return difference.abs().flatten(1).double().mean(1)
