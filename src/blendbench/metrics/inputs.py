"""The shared inputs that blendbench has itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from blendbench.core.lazy import torch
from blendbench.metrics import colourspace
from blendbench.metrics.bands import read_bands
from blendbench.metrics.borders import BorderReading, read_borders
from blendbench.metrics.collapse import find_collapse
from blendbench.metrics.palette import Palette, read_palette
from blendbench.metrics.patch_grid import PatchGridReading, read_patch_grid
from blendbench.metrics.quantiles import read_quantiles
from blendbench.metrics.shared import shared_input
from blendbench.metrics.style_space import style_space as find_style_space

if TYPE_CHECKING:
    from torch import Tensor

    from blendbench.metrics.batch import Batch
    from blendbench.metrics.protocols import Encoder, Probe, Reading
    from blendbench.metrics.style_space import StylePairs, StyleSpace

Made = TypeVar("Made")


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


@shared_input("collapse", needs=("images", "luma"))
def collapse(batch: Batch) -> list[str]:
    """Name what each image shows instead of a scene; "" for all others."""
    return find_collapse(batch.images, luma(batch))


def worst_if_collapsed(batch: Batch, values: Tensor, worst: float) -> Tensor:
    """Replace the (n,) values of images that show nothing; NaN stays."""
    shows_nothing = torch.tensor([found != "" for found in collapse(batch)], device=values.device)
    return torch.where(shows_nothing & ~values.isnan(), worst, values)


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
