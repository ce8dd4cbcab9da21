"""Transfer from the reference picture."""

import torch
from torch import Tensor

from blendbench.scoring.adherence import position
from blendbench.scoring.batch import Batch
from blendbench.scoring.registry import metric


@metric("reference_style", needs=("reading", "reference_expects"))
def reference_style(batch: Batch) -> Tensor:
    """(n,) probability that the picture has the reference's style; NaN where that style is unknown."""
    assert batch.reference_expects is not None
    style = batch.reading.style.cpu()
    columns = [
        None if known is None or known.style is None else position(batch.reading.styles, known.style)
        for known in batch.reference_expects
    ]
    return torch.stack([torch.tensor(torch.nan) if k is None else style[i, k] for i, k in enumerate(columns)])
