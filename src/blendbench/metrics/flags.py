"""Flags: what to know before trusting the values of an image."""

from blendbench.metrics.batch import Batch
from blendbench.metrics.borders import sampling_deviation
from blendbench.metrics.history import is_drawing, was_jpeg, was_resampled
from blendbench.metrics.inputs import border_reading, collapse, luma, patch_grid_reading
from blendbench.metrics.measuring import get_metric

# Power on sub-harmonics over that on the patch grid from which the content accounts for the patch grid.
_PERIODIC = 0.8
# Grey levels RMS from which a pattern on the patch grid is flagged: a weaker one cannot be seen on any ground. Good
# images of models with patches have 0.02 to 0.37, broken ones 0.9 or more.
_FAINT = 0.5
# Standard deviations of clean borders that the threshold of seams is raised by: much at 128 pixels, little at 1024.
_DEVIATIONS = 4.0

FLAGS = {
    "blank": "one colour: nothing was generated; artifact metrics have their worst value",
    "noise": "noise alone: nothing was generated; artifact metrics have their worst value",
    "jpeg": "the file is lossy: JPEG's 8-pixel blocks lie on the patch grid",
    "jpeg_history": "the pixels went through JPEG before they were saved",
    "resampled": "the pixels were enlarged, or blurred as if they were: the generator's patch grid is lost",
    "size_differs": "the size is not the generated one: the image was cropped or resized",
    "not_whole_patches": "a side is not a multiple of the patch grid: no generator with this grid makes this size",
    "periodic_content": "the content repeats with a multiple of the patch grid: it accounts for what is found there",
    "faint_grid": "a pattern on the patch grid: grid_energy is above its threshold, and grid_amplitude at least 0.5",
    "visible_grid": "grid_energy and grid_severity are above their thresholds: the pattern can be seen",
    "seams": "steps at the patch borders: blockiness is above its threshold for this size, and at no other phase",
    "16_bit": "16 bits a channel; scored at 8",
    "transparent": "transparent; scored on white",
    "first_frame": "several frames; the first is scored",
    "turned": "turned upright as the file asks viewers to; the origin of the patch grid may be another corner",
    "icc": "converted from the colour profile of the file to sRGB",
    "icc_ignored": "the colour profile of the file cannot be used; scored as sRGB",
    "prompt_cut": "the prompt is longer than the judging network reads",
}


def pixel_flags(batch: Batch, generated: tuple[int, int] | None = None) -> list[list[str]]:
    """Return the flags of each image that follow from its pixels.

    `generated`: (height, width) as generated, if known.
    """
    height, width = batch.images.shape[-2:]
    size = []
    if generated is not None and (height, width) != generated:
        size.append("size_differs")
    if height % batch.patch_grid or width % batch.patch_grid:
        size.append("not_whole_patches")
    return [size + _own_flags(batch, i) for i in range(len(batch))]


def _own_flags(batch: Batch, i: int) -> list[str]:
    reading, y, shows = patch_grid_reading(batch), luma(batch)[i], collapse(batch)[i]
    values = (reading.odd + reading.even, reading.sub, reading.severity, reading.amplitude)
    energy, sub, severity, amplitude = (value[i].item() for value in values)
    found = energy >= _threshold("grid_energy")
    periodic = found and sub > _PERIODIC * energy
    flags = {
        shows: shows != "",
        "jpeg_history": was_jpeg(y),
        "resampled": not periodic and was_resampled(y, batch.patch_grid),
        "periodic_content": periodic,
        "faint_grid": found and not periodic and amplitude >= _FAINT,
        "visible_grid": found and severity >= _threshold("grid_severity"),
        "seams": _has_seams(batch, i),
    }
    return [name for name, holds in flags.items() if holds]


def _has_seams(batch: Batch, i: int) -> bool:
    reading, y = border_reading(batch), luma(batch)[i]
    height, width = y.shape
    limit = _threshold("blockiness") + _DEVIATIONS * sampling_deviation(height, width, batch.patch_grid)
    # Dots and stripes of other periods meet the borders unevenly, and other phases as much.
    found = reading.excess[i].item() >= limit and reading.lead[i].item() > 0
    # Pixel art on the patch grid has the same steps, but no decoder makes neighbours exactly alike.
    return found and not is_drawing(y)


def _threshold(name: str) -> float:
    threshold = get_metric(name).info.threshold
    assert threshold is not None, f"metrics/{name}.md has no threshold"
    return threshold
