"""Transfer from the reference image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blendbench.core.lazy import torch
from blendbench.metrics.adherence import position
from blendbench.metrics.inputs import reading, siglip_baselines, siglip_images, siglip_references
from blendbench.metrics.registry import metric

if TYPE_CHECKING:
    from torch import Tensor

    from blendbench.core.suites import Attributes
    from blendbench.metrics.batch import Batch


@metric("reference_style", needs=("reading", "reference_expects"))
def reference_style(batch: Batch) -> Tensor:
    """Return (n,) probabilities that an image has its reference's style.

    NaN where that style is unknown.
    """
    expects: list[Attributes | None] = batch["reference_expects"]
    read = reading(batch)
    style = read.style.cpu()
    columns = [
        None if known is None or known.style is None else position(read.styles, known.style) for known in expects
    ]
    return torch.stack([torch.tensor(torch.nan) if k is None else style[i, k] for i, k in enumerate(columns)])


@metric("reference_similarity", needs=("siglip_images", "siglip_references"))
def reference_similarity(batch: Batch) -> Tensor:
    """Return (n,) raw SigLIP cosines of each image and its reference."""
    return (siglip_images(batch) * siglip_references(batch)).sum(-1)


@metric("content_override", needs=("siglip_images", "siglip_baselines", "siglip_references"))
def content_override(batch: Batch) -> Tensor:
    """Return (n,) reference_similarity of each image less its baseline's."""
    return ((siglip_images(batch) - siglip_baselines(batch)) * siglip_references(batch)).sum(-1)
