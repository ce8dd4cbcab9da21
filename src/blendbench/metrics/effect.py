"""Effect size: how far an image is from its text_only baseline.

0 for a blend that does nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from blendbench.core.lazy import torch
from blendbench.metrics.registry import metric

if TYPE_CHECKING:
    from torch import Tensor

    from blendbench.metrics.batch import Batch


@metric("effect_size", needs=("images", "baselines"))
def effect_size(batch: Batch) -> Tensor:
    """Return (n,) mean absolute differences to the baseline in grey levels.

    The mean is over pixels and channels. NaN if the sizes differ.
    """
    baselines: Tensor = batch["baselines"]
    if baselines.shape != batch.images.shape:
        return torch.full((len(batch),), torch.nan)
    # In 8 bits, which is faster than widening both.
    difference = torch.maximum(batch.images, baselines) - torch.minimum(batch.images, baselines)
    # The sums of rows are whole numbers that float32 holds exactly.
    return difference.float().sum(-1).double().sum((-2, -1)) / difference[0].numel()
