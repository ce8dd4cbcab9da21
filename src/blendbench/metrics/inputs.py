"""The shared inputs that blendbench has itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from blendbench.core.lazy import torch
from blendbench.metrics import colourspace
from blendbench.metrics.bands import read_bands
from blendbench.metrics.borders import BorderReading, read_borders, sampling_deviation
from blendbench.metrics.collapse import find_collapse
from blendbench.metrics.history import were_jpeg
from blendbench.metrics.mosaic import read_mosaic
from blendbench.metrics.palette import Palette, read_palette
from blendbench.metrics.patch_grid import PatchGridReading, chroma_severity, read_patch_grid
from blendbench.metrics.quantiles import read_quantiles
from blendbench.metrics.shared import shared_input
from blendbench.metrics.style_space import style_space as find_style_space

if TYPE_CHECKING:
    from torch import Tensor

    from blendbench.metrics.batch import Batch
    from blendbench.metrics.protocols import Encoder, Probe, Reading
    from blendbench.metrics.style_space import StylePairs, StyleSpace

Made = TypeVar("Made")

# Standard deviations of clean borders from which steps at borders count.
_DEVIATIONS = 2.0
# Log ratios of steps that count as just visible: at patch borders, at half patches, and in mosaics. With these, offsets
# of the patches and mosaics with soft borders read about what a mesh of equal RMS reads, in good generated images.
_SEAM, _HALF, _MOSAIC = 0.25, 0.5, 0.15
# Severity of a window from which it is no chance: in one of 38 crops of photos the content reads more.
_LOCAL = 0.3
# The same of colour: good generated images have 0.05, and a JPEG's blocks of colour 0.01.
_CHROMA = 0.1
# Colour is read at half the size.
_MIN_OF_CHROMA = 8
# A middle part of this side shows whether an image went through JPEG.
_JPEG_SIDE = 256


@shared_input("luma", needs=("images",))
def luma(batch: Batch) -> Tensor:
    """Return (n, h, w) float32 luma in 0..255."""
    return colourspace.luma(batch.images)


@shared_input("patch_grid_reading", needs=("luma",))
def patch_grid_reading(batch: Batch) -> PatchGridReading:
    """Read what is locked to the patch grid."""
    return read_patch_grid(luma(batch), batch.patch_grid)


@shared_input("border_reading", needs=("luma",))
def border_reading(batch: Batch) -> BorderReading:
    """Read the steps at patch borders."""
    return read_borders(luma(batch), batch.patch_grid)


@shared_input("mosaic", needs=("luma", "patch_grid_reading"))
def mosaic(batch: Batch) -> Tensor:
    """Return (n,) swings of the steps within a patch, log ratios.

    Without the pattern that all patches share.
    """
    y, p = luma(batch), batch.patch_grid
    height, width = (size // p * p for size in y.shape[-2:])
    reading = patch_grid_reading(batch)
    tile = torch.where((reading.odd + reading.even > 0)[:, None, None], reading.tile, 0.0)
    return read_mosaic(y[:, :height, :width] - tile.repeat(1, height // p, width // p), p)


@shared_input("chroma_grid", needs=("images",))
def chroma_grid(batch: Batch) -> Tensor:
    """Return (n,) severities of patterns of colour; 0 at an odd patch grid or below 8."""
    if batch.patch_grid % 2 or batch.patch_grid < _MIN_OF_CHROMA:
        return torch.zeros(len(batch), device=batch.images.device)
    return chroma_severity(colourspace.half_chroma(batch.images), batch.patch_grid)


@shared_input("jpeg_blocks", needs=("border_reading", "images", "luma"))
def jpeg_blocks(batch: Batch) -> Tensor:
    """Say (n,) whether JPEG explains steps at half the patch grid and lines."""
    reading = border_reading(batch)
    # JPEG's blocks are looked for where there is something to explain; to ask a GPU would take longer.
    found = (_beyond_chance(batch, reading.half) > 0) | (reading.line > 0)
    return were_jpeg(luma(batch), _JPEG_SIDE) if found.device.type != "cpu" or found.any() else found


@shared_input("half_seams", needs=("border_reading", "images", "jpeg_blocks"))
def half_seams(batch: Batch) -> Tensor:
    """Return (n,) excesses of steps at half the patch grid that JPEG does not explain."""
    return torch.where(jpeg_blocks(batch), 0.0, _beyond_chance(batch, border_reading(batch).half))


@shared_input("tile_seams", needs=("border_reading", "jpeg_blocks"))
def tile_seams(batch: Batch) -> Tensor:
    """Return (n,) excesses of steps along straight lines that JPEG does not explain."""
    return torch.where(jpeg_blocks(batch), 0.0, border_reading(batch).line.nan_to_num(0))


def _beyond_chance(batch: Batch, excess: Tensor) -> Tensor:
    """Return (n,) excesses of steps at borders, 0 where clean images have as much."""
    height, width = batch.images.shape[-2:]
    limit = _DEVIATIONS * sampling_deviation(height, width, batch.patch_grid)
    return torch.where(excess > limit, excess, 0.0)


@shared_input(
    "severity_parts",
    needs=("patch_grid_reading", "chroma_grid", "border_reading", "images", "half_seams", "tile_seams", "mosaic"),
)
def severity_parts(batch: Batch) -> dict[str, Tensor]:
    """Return (n,) multiples of the threshold of visibility, by what is seen.

    NaN where the patch grid cannot be read.
    """
    chroma = chroma_grid(batch)
    reading, seams = patch_grid_reading(batch), _beyond_chance(batch, border_reading(batch).excess)
    return {
        "pattern": reading.severity,
        "local pattern": torch.where(reading.local >= _LOCAL, reading.local, 0.0),
        "pattern of colour": torch.where(chroma >= _CHROMA, chroma, 0.0),
        # Weak seams are seen sooner than in proportion.
        "seams": torch.maximum((seams / _SEAM).sqrt(), half_seams(batch) / _HALF),
        "seams of tiles": tile_seams(batch),
        "mosaic": mosaic(batch) / _MOSAIC,
    }


@shared_input("collapse", needs=("images", "luma"))
def collapse(batch: Batch) -> Tensor:
    """Return (n,) places in COLLAPSES of what images show instead of a scene."""
    return find_collapse(batch.images, luma(batch))


def worst_if_collapsed(batch: Batch, values: Tensor, worst: float) -> Tensor:
    """Replace the (n,) values of images that show nothing; NaN stays."""
    return torch.where((collapse(batch) > 0) & ~values.isnan(), worst, values)


@shared_input("oklab", needs=("images",))
def oklab(batch: Batch) -> Tensor:
    """Return (n, 3, h, w) float32 OKLab L, a, b."""
    return colourspace.oklab(batch.images)


@shared_input("baseline_oklab", needs=("baselines",))
def baseline_oklab(batch: Batch) -> Tensor:
    """Return (n, 3, h, w) float32 OKLab of the baseline's images."""
    baselines: Tensor = batch["baselines"]
    return colourspace.oklab(baselines)


@shared_input("palette", needs=("oklab",))
def palette(batch: Batch) -> Palette:
    """Return how the colours of the images are distributed."""
    return read_palette(oklab(batch))


@shared_input("baseline_palette", needs=("baseline_oklab",))
def baseline_palette(batch: Batch) -> Palette:
    """Return how the colours of the baseline's images are distributed."""
    return read_palette(baseline_oklab(batch))


@shared_input("reference_palette", needs=("references",))
def reference_palette(batch: Batch) -> Palette:
    """Return how the colours of the reference images are distributed."""
    palettes = _each(batch["references"], lambda image: read_palette(colourspace.oklab(image)))
    return Palette(torch.cat([one.chroma for one in palettes]), torch.cat([one.tone for one in palettes]))


@shared_input("color_quantiles", needs=("oklab",))
def color_quantiles(batch: Batch) -> Tensor:
    """Return (n, 16, 8) sliced quantiles of the colours of the images."""
    return read_quantiles(oklab(batch))


@shared_input("baseline_color_quantiles", needs=("baseline_oklab",))
def baseline_color_quantiles(batch: Batch) -> Tensor:
    """Return (n, 16, 8) sliced quantiles of the colours of the baseline's images."""
    return read_quantiles(baseline_oklab(batch))


@shared_input("reference_color_quantiles", needs=("references",))
def reference_color_quantiles(batch: Batch) -> Tensor:
    """Return (n, 16, 8) sliced quantiles of the colours of the reference images."""
    return torch.cat(_each(batch["references"], lambda image: read_quantiles(colourspace.oklab(image))))


@shared_input("bands", needs=("luma",))
def bands(batch: Batch) -> Tensor:
    """Return (n, 18) log power in bands of frequency."""
    return read_bands(luma(batch))


@shared_input("baseline_bands", needs=("baselines",))
def baseline_bands(batch: Batch) -> Tensor:
    """Return (n, 18) log power in bands of frequency of the baseline's images."""
    baselines: Tensor = batch["baselines"]
    return read_bands(colourspace.luma(baselines))


@shared_input("reference_bands", needs=("references",))
def reference_bands(batch: Batch) -> Tensor:
    """Return (n, 18) log power in bands of frequency of the reference images."""
    return torch.cat(_each(batch["references"], lambda image: read_bands(colourspace.luma(image))))


@shared_input("siglip_baselines", needs=("baselines", "siglip"))
def siglip_baselines(batch: Batch) -> Tensor:
    """Return (n, d) unit rows: SigLIP of the baseline's images."""
    return _encoded("siglip", batch["siglip"], batch["baselines"])


@shared_input("siglip_references", needs=("references", "siglip"))
def siglip_references(batch: Batch) -> Tensor:
    """Return (n, d) unit rows: SigLIP of the reference images."""
    siglip: Encoder = batch["siglip"]
    return torch.cat(_each(batch["references"], lambda image: _encoded("siglip", siglip, image)))


@shared_input("clip_images", needs=("images", "clip"))
def clip_images(batch: Batch) -> Tensor:
    """Return (n, d) unit rows: CLIP of the images."""
    return _encoded("clip", batch["clip"], batch.images)


@shared_input("clip_texts", needs=("prompts", "clip"))
def clip_texts(batch: Batch) -> Tensor:
    """Return (n, d) unit rows: CLIP of the prompts."""
    return _encoded("clip", batch["clip"], batch["prompts"])


@shared_input("siglip_images", needs=("images", "siglip"))
def siglip_images(batch: Batch) -> Tensor:
    """Return (n, d) unit rows: SigLIP of the images."""
    return _encoded("siglip", batch["siglip"], batch.images)


@shared_input("siglip_texts", needs=("prompts", "siglip"))
def siglip_texts(batch: Batch) -> Tensor:
    """Return (n, d) unit rows: SigLIP of the prompts."""
    return _encoded("siglip", batch["siglip"], batch["prompts"])


@shared_input("style_space", needs=("pairs", "siglip", "clip"))
def style_space(batch: Batch) -> StyleSpace:
    """Return the axes of style in SigLIP's and CLIP's joined embeddings."""
    pairs: StylePairs = batch["pairs"]
    rows = [pairs.embedded(batch[name]) for name in ("siglip", "clip")]
    return find_style_space(*(torch.cat(parts, dim=1) for parts in zip(*rows, strict=True)))


@shared_input("embeddings", needs=("siglip_images", "clip_images"))
def embeddings(batch: Batch) -> Tensor:
    """Return (n, d) rows of SigLIP and CLIP, joined, of the images."""
    return torch.cat((siglip_images(batch), clip_images(batch)), dim=1)


@shared_input("baseline_embeddings", needs=("siglip_baselines", "baselines", "clip"))
def baseline_embeddings(batch: Batch) -> Tensor:
    """Return (n, d) rows of SigLIP and CLIP, joined, of the baseline's images."""
    return torch.cat((siglip_baselines(batch), _encoded("clip", batch["clip"], batch["baselines"])), dim=1)


@shared_input("reference_embeddings", needs=("siglip_references", "references", "clip"))
def reference_embeddings(batch: Batch) -> Tensor:
    """Return (n, d) rows of SigLIP and CLIP, joined, of the reference images."""
    clip: Encoder = batch["clip"]
    rows = torch.cat(_each(batch["references"], lambda image: _encoded("clip", clip, image)))
    return torch.cat((siglip_references(batch), rows), dim=1)


@shared_input("reading", needs=("images", "probe"))
def reading(batch: Batch) -> Reading:
    """Return what the attribute probe reads off the images."""
    probe: Probe = batch["probe"]
    return probe(batch.images)


def _each(images: list[Tensor], function: Callable[[Tensor], Made]) -> list[Made]:
    """Call `function` with each (3, h, w) image as a batch of one.

    Equal images in a row are read once.
    """
    made: list[Made] = []
    last: Tensor | None = None
    for image in images:
        if last is None or not torch.equal(image, last):
            last, value = image, function(image[None].contiguous())
        made.append(value)
    return made


def _encoded(name: str, encoder: Encoder, inputs: Tensor | list[str]) -> Tensor:
    rows = encoder.encode_texts(inputs) if isinstance(inputs, list) else encoder.encode_images(inputs)
    if not torch.isfinite(rows).all():
        raise ValueError(f"{name} gave an embedding that is not finite")
    return rows
