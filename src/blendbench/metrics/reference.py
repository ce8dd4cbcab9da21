"""Transfer from the reference image."""

import torch
from torch import Tensor

from blendbench.metrics.adherence import position
from blendbench.metrics.batch import Batch
from blendbench.metrics.registry import metric


@metric("reference_style", needs=("reading", "reference_expects"))
def reference_style(batch: Batch) -> Tensor:
    """(n,) probability that the image has the reference's style; NaN where that style is unknown."""
    assert batch.reference_expects is not None
    style = batch.reading.style.cpu()
    columns = [
        None if known is None or known.style is None else position(batch.reading.styles, known.style)
        for known in batch.reference_expects
    ]
    return torch.stack([torch.tensor(torch.nan) if k is None else style[i, k] for i, k in enumerate(columns)])


@metric("reference_similarity", needs=("siglip_images", "siglip_references"))
def reference_similarity(batch: Batch) -> Tensor:
    """(n,) cosine of SigLIP's embeddings of the image and of its reference, raw."""
    return (batch.siglip_images * batch.siglip_references).sum(-1)


@metric("content_override", needs=("siglip_images", "siglip_baselines", "siglip_references"))
def content_override(batch: Batch) -> Tensor:
    """(n,) reference_similarity less that of the baseline: what the reference brought in beyond the prompt."""
    return ((batch.siglip_images - batch.siglip_baselines) * batch.siglip_references).sum(-1)
