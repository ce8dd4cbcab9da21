"""The grid metrics: how much of a picture is locked to the generator's patch lattice, and how visible that is."""

from torch import Tensor

from blendbench.scoring.batch import Batch
from blendbench.scoring.registry import metric


@metric("grid_energy", needs=("lattice_reading",))
def grid_energy(batch: Batch) -> Tensor:
    """(n,) share of normalised high-frequency power on the lattice's harmonics; NaN below eight tiles a side.

    Definition and source: metrics/grid_energy.md.
    """
    return batch.lattice_reading.odd + batch.lattice_reading.even


@metric("grid_odd", needs=("lattice_reading",))
def grid_odd(batch: Batch) -> Tensor:
    """(n,) the part of grid_energy on harmonics with an odd order: only a pattern of the full period has them."""
    return batch.lattice_reading.odd


@metric("grid_even", needs=("lattice_reading",))
def grid_even(batch: Batch) -> Tensor:
    """(n,) the part of grid_energy on even harmonics: patterns of half the period, of its parts, and of JPEG."""
    return batch.lattice_reading.even


@metric("grid_amplitude", needs=("lattice_reading",))
def grid_amplitude(batch: Batch) -> Tensor:
    """(n,) RMS of the lattice pattern in grey levels, corrected for the high-pass. See metrics/grid_amplitude.md."""
    return batch.lattice_reading.amplitude


@metric("grid_severity", needs=("lattice_reading",))
def grid_severity(batch: Batch) -> Tensor:
    """(n,) visible RMS of the lattice pattern over the threshold of visibility. See metrics/grid_severity.md."""
    return batch.lattice_reading.severity
