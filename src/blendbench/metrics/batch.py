"""A batch of images to be scored, with the inputs that several metrics share, each computed once."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import Tensor

from blendbench.core.suites import Attributes
from blendbench.metrics import colourspace
from blendbench.metrics.bands import read_bands
from blendbench.metrics.palette import Palette, read_palette
from blendbench.metrics.patch_grid import PatchGridReading, read_patch_grid
from blendbench.metrics.protocols import Encoder, Reading, Scorers

Made = TypeVar("Made")
_SCORERS = ("clip", "siglip", "probe")
# Fields that all images have in common; the others hold one entry an image.
_COMMON = ("patch_grid", "scorers")


class shared(cached_property):  # noqa: N801 - a decorator, named like cached_property
    """A cached input of a Batch, and the fields or scorers that it is made from."""

    def __init__(self, function: Callable[["Batch"], Any], requires: tuple[str, ...]) -> None:
        super().__init__(function)
        self.requires = requires


def _from(*requires: str) -> Callable[[Callable[["Batch"], Any]], Any]:
    return lambda function: shared(function, requires)


@dataclass(frozen=True)
class Batch:
    """n images of one size and all that is known about how they were made.

    `images` uint8 (n, 3, h, w) as generated, never resized; `baselines` the text_only images of the same items and
    seeds; `references` one uint8 (3, h, w) an image, of any size; `expects` what each prompt states and
    `reference_expects` what each reference shows; `patch_grid` the patch period of the generator in pixels (VAE stride
    x patch); `scorers` the judging networks (see protocols.Scorers). What is None is missing: metrics that need it are
    skipped. Errors: ValueError for a wrong dtype, shape or length.
    """

    images: Tensor
    baselines: Tensor | None = None
    references: list[Tensor] | None = None
    prompts: list[str] | None = None
    expects: list[Attributes | None] | None = None
    patch_grid: int = 16
    scorers: Scorers | None = None
    reference_expects: list[Attributes | None] | None = None

    def __post_init__(self) -> None:
        for name in ("images", "baselines"):
            _check_images(name, getattr(self, name), dimensions=4)
        for i, reference in enumerate(self.references or []):
            _check_images(f"references[{i}]", reference, dimensions=3)
        for name in ("baselines", "references", "prompts", "expects", "reference_expects"):
            value = getattr(self, name)
            if value is not None and len(value) != len(self):
                raise ValueError(f"{name}: {len(value)} for {len(self)} images")
        for name in ("images", "baselines"):
            if (made := getattr(self, name)) is not None:
                # Decoders give pixel after pixel; everything here reads plane after plane.
                object.__setattr__(self, name, made.contiguous())
        if self.patch_grid < 2:
            raise ValueError(
                f"patch_grid: {self.patch_grid} is no period in pixels; it is VAE stride x patch, 16 for Z-Image"
            )

    def __len__(self) -> int:
        return len(self.images)

    def single(self, i: int) -> "Batch":
        """Image i and all that is known about it, as a batch of one."""
        entries = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in _COMMON}
        return replace(self, **{name: rows[i : i + 1] for name, rows in entries.items() if rows is not None})

    def take_over(self, other: "Batch") -> None:
        """Keep what `other`, a batch of one like this, has computed from an equal baseline or reference image."""
        same = set()
        if self.baselines is not None and other.baselines is not None and torch.equal(self.baselines, other.baselines):
            same.add("baselines")
        if self.references and other.references and torch.equal(self.references[0], other.references[0]):
            same.add("references")
        for name, value in vars(other).items():
            source = getattr(type(self), name, None)
            if isinstance(source, shared) and self._roots(source) - set(_SCORERS) <= same:
                vars(self)[name] = value

    def _roots(self, source: shared) -> set[str]:
        made = {name: getattr(type(self), name, None) for name in source.requires}
        return {
            root for name, one in made.items() for root in (self._roots(one) if isinstance(one, shared) else {name})
        }

    def missing(self, need: str) -> str | None:
        """The first field or scorer that `need` is made from and this batch does not have."""
        source = getattr(type(self), need, None)
        if isinstance(source, shared):
            return next((gap for root in source.requires if (gap := self.missing(root))), None)
        holder = self.scorers if need in _SCORERS else self
        return need if getattr(holder, need, None) is None else None

    @_from("images")
    def luma(self) -> Tensor:
        """(n, h, w) float32, 0..255."""
        return colourspace.luma(self.images)

    @_from("luma")
    def patch_grid_reading(self) -> PatchGridReading:
        """What is locked to the patch grid."""
        return read_patch_grid(self.luma, self.patch_grid)

    @_from("images")
    def oklab(self) -> Tensor:
        """(n, 3, h, w) float32: OKLab L, a, b."""
        return colourspace.oklab(self.images)

    @_from("baselines")
    def baseline_oklab(self) -> Tensor:
        """(n, 3, h, w) float32: OKLab of the baseline images."""
        return colourspace.oklab(_present(self.baselines))

    @_from("oklab")
    def palette(self) -> Palette:
        """How the colours of the images are distributed."""
        return read_palette(self.oklab)

    @_from("baseline_oklab")
    def baseline_palette(self) -> Palette:
        """How the colours of the baseline images are distributed."""
        return read_palette(self.baseline_oklab)

    @_from("references")
    def reference_palette(self) -> Palette:
        """How the colours of the reference images are distributed."""
        palettes = _each(self.references, lambda image: read_palette(colourspace.oklab(image)))
        return Palette(torch.cat([one.chroma for one in palettes]), torch.cat([one.tone for one in palettes]))

    @_from("luma")
    def bands(self) -> Tensor:
        """(n, 18) log power in bands of frequency."""
        return read_bands(self.luma)

    @_from("baselines")
    def baseline_bands(self) -> Tensor:
        """(n, 18) log power in bands of frequency of the baseline images."""
        return read_bands(colourspace.luma(_present(self.baselines)))

    @_from("references")
    def reference_bands(self) -> Tensor:
        """(n, 18) log power in bands of frequency of the reference images."""
        return torch.cat(_each(self.references, lambda image: read_bands(colourspace.luma(image))))

    @_from("baselines", "siglip")
    def siglip_baselines(self) -> Tensor:
        """(n, d) unit rows: SigLIP of the baseline images."""
        return _encoded("siglip", _present(self.scorers).siglip, self.baselines)

    @_from("references", "siglip")
    def siglip_references(self) -> Tensor:
        """(n, d) unit rows: SigLIP of the reference images."""
        siglip = _present(self.scorers).siglip
        return torch.cat(_each(self.references, lambda image: _encoded("siglip", siglip, image)))

    @_from("images", "clip")
    def clip_images(self) -> Tensor:
        """(n, d) unit rows: CLIP of the images."""
        return _encoded("clip", _present(self.scorers).clip, self.images)

    @_from("prompts", "clip")
    def clip_texts(self) -> Tensor:
        """(n, d) unit rows: CLIP of the prompts."""
        return _encoded("clip", _present(self.scorers).clip, self.prompts)

    @_from("images", "siglip")
    def siglip_images(self) -> Tensor:
        """(n, d) unit rows: SigLIP of the images."""
        return _encoded("siglip", _present(self.scorers).siglip, self.images)

    @_from("prompts", "siglip")
    def siglip_texts(self) -> Tensor:
        """(n, d) unit rows: SigLIP of the prompts."""
        return _encoded("siglip", _present(self.scorers).siglip, self.prompts)

    @_from("images", "probe")
    def reading(self) -> Reading:
        """What the attribute probe reads off the images."""
        return _present(_present(self.scorers).probe)(self.images)


def known_needs() -> frozenset[str]:
    """Every input that a metric may name: the fields of a Batch, its shared inputs, and the scorers."""
    made = {name for name, value in vars(Batch).items() if isinstance(value, shared)}
    return frozenset(made | {field.name for field in fields(Batch)} - set(_COMMON) | set(_SCORERS))


def _present(value: Any) -> Any:
    if value is None:
        raise ValueError("a shared input was read although what it is made from is missing")
    return value


def _each(images: list[Tensor] | None, function: Callable[[Tensor], Made]) -> list[Made]:
    """`function` of each (3, h, w) image as a batch of one; equal images in a row are read once."""
    made: list[Made] = []
    last: Tensor | None = None
    for image in _present(images):
        if last is None or not torch.equal(image, last):
            last, value = image, function(image[None].contiguous())
        made.append(value)
    return made


def _encoded(name: str, encoder: Encoder | None, inputs: Tensor | list[str] | None) -> Tensor:
    encoder = _present(encoder)
    rows = encoder.encode_texts(inputs) if isinstance(inputs, list) else encoder.encode_images(_present(inputs))
    if not torch.isfinite(rows).all():
        raise ValueError(f"{name} gave an embedding that is not finite")
    return rows


def _check_images(name: str, images: Tensor | None, dimensions: int) -> None:
    if images is None:
        return
    wanted = "(n, 3, h, w)" if dimensions == 4 else "(3, h, w)"
    if images.dtype != torch.uint8 or images.ndim != dimensions or images.shape[-3] != 3:
        raise ValueError(f"{name}: must be uint8 {wanted}, not {images.dtype} {tuple(images.shape)}")
    if 0 in images.shape:
        raise ValueError(f"{name}: there is no pixel in {tuple(images.shape)}")
