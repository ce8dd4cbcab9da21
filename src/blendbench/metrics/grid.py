"""Grid metrics: how strong and how visible the patch grid is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blendbench.core.lazy import torch
from blendbench.metrics.inputs import patch_grid_reading, worst_if_collapsed
from blendbench.metrics.registry import metric

if TYPE_CHECKING:
    from torch import Tensor

    from blendbench.metrics.batch import Batch

# Severity of an image that shows nothing: above all broken images of real models that were measured, 0.6 to 4.5.
_WORST = 10.0


@metric("grid_energy", needs=("patch_grid_reading", "collapse"))
def grid_energy(batch: Batch) -> Tensor:
    """Return (n,) fractions of normalised high-frequency power on the grid.

    NaN below eight tiles a side. Definition and source: metrics/grid_energy.md.
    """
    reading = patch_grid_reading(batch)
    return worst_if_collapsed(batch, reading.odd + reading.even, 1.0)


@metric("grid_odd", needs=("patch_grid_reading",))
def grid_odd(batch: Batch) -> Tensor:
    """Return (n,) the part of grid_energy on harmonics with an odd order.

    Only a pattern of the full period has them.
    """
    return patch_grid_reading(batch).odd


@metric("grid_even", needs=("patch_grid_reading",))
def grid_even(batch: Batch) -> Tensor:
    """Return (n,) the part of grid_energy on even harmonics.

    Patterns of half the period and of its parts have them, and JPEG.
    """
    return patch_grid_reading(batch).even


@metric("grid_amplitude", needs=("patch_grid_reading",))
def grid_amplitude(batch: Batch) -> Tensor:
    """Return (n,) RMS of the pattern on the patch grid in grey levels.

    Corrected for the high-pass. Definition: metrics/grid_amplitude.md.
    """
    return patch_grid_reading(batch).amplitude


@metric("grid_severity", needs=("severity_parts", "collapse"))
def grid_severity(batch: Batch) -> Tensor:
    """Return (n,) multiples of the threshold of visibility.

    Of whatever on the patch grid is seen best. Definition: metrics/grid_severity.md.
    """
    parts: dict[str, Tensor] = batch["severity_parts"]
    return worst_if_collapsed(batch, torch.stack(list(parts.values())).amax(0), _WORST)
