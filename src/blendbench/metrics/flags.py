"""Flags: what to know before trusting the values of an image."""

from torch import Tensor

from blendbench.metrics.batch import Batch
from blendbench.metrics.borders import sampling_deviation
from blendbench.metrics.collapse import COLLAPSES
from blendbench.metrics.history import has_few_levels, is_drawing, was_resampled, were_jpeg
from blendbench.metrics.inputs import (
    border_reading,
    collapse,
    half_seams,
    luma,
    patch_grid_reading,
    severity_parts,
    tile_seams,
)
from blendbench.metrics.measuring import get_metric
from blendbench.metrics.patch_grid import read_patch_grid

# Power on sub-harmonics over that on the patch grid from which the content accounts for the patch grid.
_PERIODIC = 0.8
# Grey levels RMS from which a pattern on the patch grid is flagged: a weaker one cannot be seen on any ground. Good
# images of models with patches have 0.02 to 0.37, broken ones 0.9 or more.
_FAINT = 0.5
# Standard deviations of clean borders that the threshold of seams is raised by: much at 128 pixels, little at 1024.
_DEVIATIONS = 2.5

# Log ratio of steps at half patches that is flagged: the decoders of good images leave 0.12.
_HALF = 0.15
# Log ratio of steps that a codec explains: its blocks are 16 pixels wide too (colour of JPEG at half size, blocks of
# WebP and of video codecs). Zero coefficients show JPEG, steps at quarters of this part of those at borders the others.
_CODEC, _QUARTERS = 0.25, 0.15
# Part of the threshold of seams that the axis with less needs: patches have borders along both, most content has not.
_LESSER = 0.25
# Times the strongest lines elsewhere that a line must have: content has its own lines at any place. Tiles of decoders
# mostly have 1.3 or more, diagrams and cards whose edges happen to lie on the patch grid at most 1.1.
_LINE_LEAD = 1.15
# Enlargements that a patch grid is looked for after.
_SCALES = (1.25, 1.5, 2)

FLAGS = {
    "blank": "one colour: nothing was generated; artifact metrics have their worst value",
    "noise": "noise alone: nothing was generated; artifact metrics have their worst value",
    "jpeg": "the file is lossy: JPEG's 8-pixel blocks lie on the patch grid",
    "jpeg_history": "the pixels went through JPEG before they were saved",
    "few_levels": "posterised: the values of every channel are three or more apart",
    "resampled": "the pixels were enlarged, or blurred as if they were: the generator's patch grid is lost",
    "size_differs": "the size is not the generated one: the image was cropped or resized",
    "not_whole_patches": "a side is not a multiple of the patch grid: no generator with this grid makes this size",
    "resized_grid": "the pixels were enlarged, and a visible pattern has the period of the patch grid enlarged alike",
    "periodic_content": "the content repeats with a multiple of the patch grid: it accounts for what is found there",
    "faint_grid": "a pattern on the patch grid: grid_energy is above its threshold, and grid_amplitude at least 0.5",
    "visible_grid": "a pattern, a part of one, or a mosaic on the patch grid can be seen: grid_severity is above its"
    " threshold, and not by seams",
    "seams": "steps at the borders of patches, or of half patches if JPEG does not explain them: above the threshold of"
    " blockiness for this size",
    "tile_seams": "steps along a straight line across the image and another down it, where a decoder's tiles meet",
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
    reading, y = patch_grid_reading(batch), luma(batch)[i]
    shows = COLLAPSES[int(collapse(batch)[i])]
    energy, sub, amplitude = (v[i].item() for v in (reading.odd + reading.even, reading.sub, reading.amplitude))
    found = energy >= _threshold("grid_energy")
    periodic = sub > _PERIODIC * energy
    # Content that repeats meets the patch grid, and so do the blocks of JPEG.
    repeats = periodic and max(energy, sub) >= _threshold("grid_energy")
    jpeg, resampled = bool(were_jpeg(y[None])), was_resampled(y, batch.patch_grid)
    # Pixel art on the patch grid has the same steps, but no decoder makes neighbours exactly alike.
    exact = is_drawing(y)
    seams = not exact and _has_seams(batch, i, jpeg=jpeg, repeats=repeats)
    lines = tile_seams(batch)[i].item() > 0 and border_reading(batch).line_lead[i].item() >= _LINE_LEAD
    flags = {
        shows: shows != "",
        "jpeg_history": jpeg,
        "few_levels": not exact and has_few_levels(batch.images[i]),
        "resampled": resampled,
        "resized_grid": resampled and _has_resized_grid(y, batch.patch_grid),
        "periodic_content": found and periodic,
        "faint_grid": found and not periodic and amplitude >= _FAINT,
        "visible_grid": not exact and _is_visible(batch, i, whole=found, places=not jpeg, repeats=repeats),
        "seams": seams,
        "tile_seams": lines and not (seams or exact or jpeg),
    }
    return [name for name, holds in flags.items() if holds]


def _is_visible(batch: Batch, i: int, *, whole: bool, places: bool, repeats: bool) -> bool:
    """Say whether a pattern of the whole image, or another part of severity, is seen."""
    parts = {name: value[i].item() for name, value in severity_parts(batch).items()}
    # Seams have flags of their own. Patterns of a part are compared with what repeats in that part.
    counted = {
        "pattern": whole,
        "local pattern": places,
        "pattern of colour": places,
        "mosaic": places and not repeats,
    }
    return any(counts and parts[name] >= _threshold("grid_severity") for name, counts in counted.items())


def _has_seams(batch: Batch, i: int, *, jpeg: bool, repeats: bool) -> bool:
    """Say whether borders of patches, or of half patches too, have steps that no codec explains."""
    reading = border_reading(batch)
    height, width = batch.images.shape[-2:]
    limit = _threshold("blockiness") + _DEVIATIONS * sampling_deviation(height, width, batch.patch_grid)
    codec = jpeg or reading.quarters[i].item() >= _QUARTERS
    on_both = reading.lesser[i].item() >= _LESSER * limit
    # Dots and stripes of other periods meet the borders unevenly, and other phases as much.
    if on_both and reading.excess[i].item() >= max(limit, codec * _CODEC) and reading.lead[i].item() > 0:
        return True
    return not jpeg and not repeats and half_seams(batch)[i].item() >= max(limit, _HALF)


def _has_resized_grid(y: Tensor, p: int) -> bool:
    """Say whether (h, w) luma has a pattern whose period is that of the patch grid, enlarged."""
    readings = [read_patch_grid(y[None], round(p * scale)) for scale in _SCALES]
    limit = _threshold("grid_energy")
    return any(
        (reading.odd + reading.even).item() >= limit and reading.severity.item() >= _threshold("grid_severity")
        for reading in readings
    )


def _threshold(name: str) -> float:
    threshold = get_metric(name).info.threshold
    assert threshold is not None, f"metrics/{name}.md has no threshold"
    return threshold
