"""The grid metrics: how much of an image is locked to the generator's patch grid, and how visible that is."""

from torch import Tensor

from blendbench.metrics.batch import Batch
from blendbench.metrics.registry import metric


@metric("grid_energy", needs=("patch_grid_reading",))
def grid_energy(batch: Batch) -> Tensor:
    """(n,) share of normalised high-frequency power on the patch grid's harmonics; NaN below eight tiles a side.

    Definition and source: metrics/grid_energy.md.
    """
    return batch.patch_grid_reading.odd + batch.patch_grid_reading.even


@metric("grid_odd", needs=("patch_grid_reading",))
def grid_odd(batch: Batch) -> Tensor:
    """(n,) the part of grid_energy on harmonics with an odd order: only a pattern of the full period has them."""
    return batch.patch_grid_reading.odd


@metric("grid_even", needs=("patch_grid_reading",))
def grid_even(batch: Batch) -> Tensor:
    """(n,) the part of grid_energy on even harmonics: patterns of half the period, of its parts, and of JPEG."""
    return batch.patch_grid_reading.even


@metric("grid_amplitude", needs=("patch_grid_reading",))
def grid_amplitude(batch: Batch) -> Tensor:
    """(n,) RMS of the patch grid pattern in grey levels, corrected for the high-pass. See metrics/grid_amplitude.md."""
    return batch.patch_grid_reading.amplitude


@metric("grid_severity", needs=("patch_grid_reading",))
def grid_severity(batch: Batch) -> Tensor:
    """(n,) visible RMS of the patch grid pattern over the threshold of visibility. See metrics/grid_severity.md."""
    return batch.patch_grid_reading.severity
