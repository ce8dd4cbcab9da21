"""The metric of images that show nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blendbench.metrics.inputs import collapse
from blendbench.metrics.registry import metric

if TYPE_CHECKING:
    from torch import Tensor

    from blendbench.metrics.batch import Batch


@metric("collapsed", needs=("collapse",))
def collapsed(batch: Batch) -> Tensor:
    """Return (n,) 1.0 for images of one colour or of noise alone, 0.0 for others."""
    return (collapse(batch) > 0).float()
