"""A batch of images to score, with the inputs that metrics share."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from blendbench.core.lazy import torch
from blendbench.metrics.shared import FIELDS, SCORERS, SHARED, roots
from blendbench.registry.entries import SHIPPED

if TYPE_CHECKING:
    from torch import Tensor

    from blendbench.core.suites import Attributes, Fact
    from blendbench.metrics.protocols import Scorers
    from blendbench.metrics.style_space import StylePairs


@dataclass(frozen=True, eq=False)
class Batch:
    """Hold n images of one size and how they were made.

    `images`: uint8 (n, 3, h, w) as generated, never resized. `baselines`: the baseline's images of the same items and
    seeds, and `baseline_image_sha256s` their hashes. `references`: one uint8 (3, h, w) an image, of any size. `facts`:
    statements about each image, with foils. `expects`: what each prompt states; `reference_expects`: what each
    reference shows. `pairs`: the suite's images of one content in two styles. `patch_grid`: patch period of the
    generator in pixels (VAE stride x patch). `scorers`: the judging networks (see protocols.Scorers).
    What is None is missing: metrics that need it are skipped.

    `batch[name]` returns any input by its name in `needs`: a field, a scorer, or a shared input, which is computed at
    the first access. Errors: ValueError for a wrong dtype, shape or length.
    """

    images: Tensor
    baselines: Tensor | None = None
    references: list[Tensor] | None = None
    prompts: list[str] | None = None
    facts: list[tuple[Fact, ...]] | None = None
    expects: list[Attributes | None] | None = None
    patch_grid: int = 16
    scorers: Scorers | None = None
    reference_expects: list[Attributes | None] | None = None
    baseline_image_sha256s: list[str] | None = None
    pairs: StylePairs | None = None
    # Values of shared inputs by name.
    _made: dict[str, Any] = field(default_factory=dict, init=False, repr=False)
    # The inputs that the metric or shared input which is being computed has declared; None: all.
    _declared: tuple[str, ...] | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        """Check types, shapes and lengths."""
        for name in ("images", "baselines"):
            _check_images(name, getattr(self, name), dimensions=4)
        for i, reference in enumerate(self.references or []):
            _check_images(f"references[{i}]", reference, dimensions=3)
        for name in {*FIELDS, "baseline_image_sha256s"} - {*_COMMON}:
            value = getattr(self, name)
            if value is not None and len(value) != len(self):
                raise ValueError(f"{name}: {len(value)} for {len(self)} images")
        if self.baseline_image_sha256s is not None and self.baselines is None:
            raise ValueError("baseline_image_sha256s: given without baselines")
        for name in ("images", "baselines"):
            if (made := getattr(self, name)) is not None:
                # Decoders give pixel after pixel; everything here reads plane after plane.
                object.__setattr__(self, name, made.contiguous())
        if self.patch_grid < 2:
            raise ValueError(
                f"patch_grid: {self.patch_grid} is not a period in pixels; it is VAE stride x patch, 16 for Z-Image"
            )

    def __len__(self) -> int:
        """Return the number of images."""
        return len(vars(self)["images"])

    if not TYPE_CHECKING:

        def __getattribute__(self, name: str) -> Any:
            """Refuse a field that the running metric has not declared.

            Its scores would not be keyed by it.
            """
            if name in _KEPT_BACK:
                declared = object.__getattribute__(self, "__dict__").get("_declared")
                if declared is not None and name not in roots(declared):
                    raise ValueError(f"reads {name!r}, which is not among its needs {declared}; add it there")
            return object.__getattribute__(self, name)

    def __getitem__(self, name: str) -> Any:
        """Return an input by its name in `needs`.

        Errors: ValueError if it is missing or was not declared.
        """
        if self._declared is not None and name not in self._declared and name not in roots(self._declared):
            raise ValueError(f"reads {name!r}, which is not among its needs {self._declared}; add it there")
        if name not in SHARED:
            value = getattr(vars(self)["scorers"], name, None) if name in SCORERS else getattr(self, name)
            if value is None:
                raise ValueError(f"reads {name!r}, which this batch does not have")
            return value
        if name not in self._made:
            source = SHARED.get(name)
            self._made[name] = source.function(self.declaring(source.needs, source.origin))
        return self._made[name]

    def declaring(self, needs: Iterable[str], origin: str) -> Batch:
        """Return this batch for code that reads `needs` and their inputs.

        Code from outside the package gets copies, so that nothing it writes in place reaches another metric.
        """
        view = copy.copy(self)
        object.__setattr__(view, "_declared", tuple(needs))
        if origin != SHIPPED:
            whole = copy.copy(self)
            object.__setattr__(whole, "_declared", None)
            made = {name: copy.deepcopy(whole[name]) for name in needs if name in SHARED}
            vars(view).update({name: copy.deepcopy(vars(self)[name]) for name in FIELDS if name in roots(needs)})
            object.__setattr__(view, "_made", made)
        return view

    def single(self, i: int) -> Batch:
        """Return image i and all that is known about it, as a batch of one."""
        entries = {f.name: getattr(self, f.name) for f in fields(self) if f.init and f.name not in _COMMON}
        return replace(self, **{name: rows[i : i + 1] for name, rows in entries.items() if rows is not None})

    def take_over(self, other: Batch) -> None:
        """Take over what a batch of one computed from an equal image.

        The image is the baseline or the reference.
        """
        same = {*SCORERS, "pairs"}
        if self.baselines is not None and other.baselines is not None and torch.equal(self.baselines, other.baselines):
            same.add("baselines")
        if self.references and other.references and torch.equal(self.references[0], other.references[0]):
            same.add("references")
        self._made.update({name: value for name, value in other._made.items() if roots((name,)) <= same})

    def missing(self, need: str) -> str | None:
        """Return the first field or scorer that `need` takes and is missing."""
        if need in SHARED:
            return next((gap for root in SHARED.get(need).needs if (gap := self.missing(root))), None)
        return need if getattr(self.scorers if need in SCORERS else self, need, None) is None else None


# Fields that all images have in common; the others hold one entry an image.
_COMMON = ("patch_grid", "pairs", "scorers")
# Scorers are read by name, so that each is declared.
_KEPT_BACK = frozenset({*FIELDS, "baseline_image_sha256s", "scorers"})


def _check_images(name: str, images: Tensor | None, dimensions: int) -> None:
    if images is None:
        return
    wanted = "(n, 3, h, w)" if dimensions == 4 else "(3, h, w)"
    if images.dtype != torch.uint8 or images.ndim != dimensions or images.shape[-3] != 3:
        raise ValueError(f"{name}: must be uint8 {wanted}, not {images.dtype} {tuple(images.shape)}")
    if 0 in images.shape:
        raise ValueError(f"{name}: no pixel in {tuple(images.shape)}")
