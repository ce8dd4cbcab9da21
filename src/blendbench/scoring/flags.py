"""Flags: what a reader must know before believing a picture's values."""

from blendbench.scoring.batch import Batch
from blendbench.scoring.blockiness import blockiness
from blendbench.scoring.cards import card_of
from blendbench.scoring.history import is_drawn, was_jpeg, was_resampled

# Power on sub-harmonics over that on the lattice from which the content accounts for the lattice.
_PERIODIC = 0.8

FLAGS = {
    "jpeg": "the file is lossy: JPEG's 8-pixel blocks lie on the lattice",
    "jpeg_history": "the pixels went through JPEG before they were saved",
    "resampled": "the pixels were enlarged, or blurred as if they were: the generator's lattice is lost",
    "size_differs": "the size is not the generated one: the picture was cropped or resized",
    "not_whole_patches": "a side is no multiple of the lattice: no generator with this lattice makes this size",
    "periodic_content": "the content repeats with a multiple of the lattice: it accounts for what is found there",
    "lattice": "grid_energy is above its threshold: there is a pattern on the lattice, visible or not",
    "visible_lattice": "grid_energy and grid_severity are above their thresholds: the pattern can be seen",
    "seams": "blockiness is above its threshold: steps at the patch borders, whether a pattern repeats or not",
    "16_bit": "16 bits a channel; the upper 8 are scored",
    "transparent": "transparent; scored on white",
    "first_frame": "several frames; the first is scored",
    "turned": "the file asks viewers to turn it; scored as it is stored, where the lattice is",
    "prompt_cut": "the prompt is longer than the judge reads",
}


def pixel_flags(batch: Batch, generated: tuple[int, int] | None = None) -> list[list[str]]:
    """Flags of each picture that follow from its pixels. `generated`: (height, width) as generated, if known."""
    height, width = batch.pictures.shape[-2:]
    size = []
    if generated is not None and (height, width) != generated:
        size.append("size_differs")
    if height % batch.lattice or width % batch.lattice:
        size.append("not_whole_patches")
    steps = blockiness(batch).tolist()
    return [size + _own_flags(batch, i, steps[i]) for i in range(len(batch))]


def _own_flags(batch: Batch, i: int, steps: float) -> list[str]:
    reading = batch.lattice_reading
    energy, sub, severity = (value[i].item() for value in (reading.odd + reading.even, reading.sub, reading.severity))
    found = energy >= _threshold("grid_energy")
    periodic = found and sub > _PERIODIC * energy
    flags = {
        "jpeg_history": was_jpeg(batch.luma[i]),
        "resampled": not periodic and was_resampled(batch.luma[i], batch.lattice),
        "periodic_content": periodic,
        "lattice": found and not periodic,
        "visible_lattice": found and severity >= _threshold("grid_severity"),
        # Pixel art on the lattice has the same steps, but no decoder makes neighbours exactly alike.
        "seams": steps >= _threshold("blockiness") and not is_drawn(batch.luma[i]),
    }
    return [name for name, holds in flags.items() if holds]


def _threshold(name: str) -> float:
    threshold = card_of(name).threshold
    assert threshold is not None, f"metrics/{name}.md has no threshold"
    return threshold
