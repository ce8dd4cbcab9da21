"""What the metrics ask of the networks that read images; the model sets provide them."""

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor


class Encoder(Protocol):
    """An image-text encoder such as CLIP or SigLIP; its own logit is `logit_scale` x cosine + `logit_bias`."""

    weights_sha256: str
    context_length: int
    logit_scale: float
    logit_bias: float

    def encode_images(self, images: Tensor) -> Tensor:
        """uint8 (n, 3, h, w) -> float32 (n, d) rows of unit norm."""

    def encode_texts(self, texts: list[str]) -> Tensor:
        """n texts -> float32 (n, d) rows of unit norm."""

    def token_counts(self, texts: list[str]) -> list[int]:
        """Tokens of each text with its start and end, before it is cut to `context_length`."""


class Reading(Protocol):
    """Probabilities read off n images: `objects` (n, colours, shapes), `style` (n, styles), `background` (n, ...)."""

    objects: Tensor
    style: Tensor
    background: Tensor
    colours: Sequence[str]
    shapes: Sequence[str]
    styles: Sequence[str]
    backgrounds: Sequence[str]


class Probe(Protocol):
    """An attribute probe: ground truth read off images of the world that it was trained on."""

    def __call__(self, images: Tensor) -> Reading:
        """uint8 (n, 3, h, w) -> a Reading."""


class Scorers(Protocol):
    """The networks of a model set that judge images; one that the set does not have is None."""

    @property
    def clip(self) -> Encoder | None:
        """Judges images against texts by CLIP."""

    @property
    def siglip(self) -> Encoder | None:
        """Judges images against texts by SigLIP."""

    @property
    def probe(self) -> Probe | None:
        """Reads an image's attributes."""
