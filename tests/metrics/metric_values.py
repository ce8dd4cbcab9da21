"""Shared by the tests of metrics: photos as tensors, and the values of one metric."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from blendbench.metrics import Batch, measure

Pixels = NDArray[np.uint8]
Values = NDArray[np.float64]


def tensor(images: NDArray[Any]) -> torch.Tensor:
    """Return uint8 (n, 3, h, w) of (n, h, w, 3)."""
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2)


def values(
    name: str,
    images: Pixels,
    baselines: Pixels | None = None,
    patch_grid: int = 16,
    references: Pixels | None = None,
) -> Values:
    """Return (n,) values, NaN for an image that the metric is not defined for; nothing may fail."""
    batch = Batch(
        tensor(images),
        None if baselines is None else tensor(baselines),
        None if references is None else list(tensor(references)),
        patch_grid=patch_grid,
    )
    scores = measure(batch, [name])[name]
    assert {score.status for score in scores} <= {"ok", "unscorable"}, scores
    return np.array([np.nan if score.value is None else score.value for score in scores])


def clipped(change: NDArray[Any]) -> Pixels:
    """Round to whole grey levels."""
    return np.asarray(np.clip(np.rint(change), 0, 255), np.uint8)
