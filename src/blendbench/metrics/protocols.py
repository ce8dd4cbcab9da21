"""The judging networks as metrics use them; model sets provide them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


class Encoder(Protocol):
    """Embed images and texts, as CLIP and SigLIP do.

    Its own logit is `logit_scale` x cosine + `logit_bias`.
    """

    context_length: int
    logit_scale: float
    logit_bias: float

    def encode_images(self, images: Tensor) -> Tensor:
        """Embed uint8 (n, 3, h, w) images as float32 (n, d) rows of unit norm."""

    def encode_texts(self, texts: list[str]) -> Tensor:
        """Embed n texts as float32 (n, d) rows of unit norm."""

    def token_counts(self, texts: list[str]) -> list[int]:
        """Count the tokens of each text before it is cut to `context_length`.

        With its start and end tokens.
        """


class Judge(Protocol):
    """Answer yes or no about images."""

    def probabilities(self, images: Tensor, questions: Sequence[Sequence[str]]) -> list[Tensor]:
        """Return for each uint8 (n, 3, h, w) image the probabilities of yes to its questions."""


class Reading(Protocol):
    """Hold probabilities read off n images.

    `objects`: (n, colours, shapes); `style`: (n, styles); `background`: (n, backgrounds).
    """

    objects: Tensor
    style: Tensor
    background: Tensor
    colours: Sequence[str]
    shapes: Sequence[str]
    styles: Sequence[str]
    backgrounds: Sequence[str]


class Probe(Protocol):
    """Read attributes off images of the world that it was trained on."""

    def __call__(self, images: Tensor) -> Reading:
        """Read uint8 (n, 3, h, w) images."""


class Scorers(Protocol):
    """Offer the networks of a model set that judge images.

    None for a missing one.
    """

    @property
    def clip(self) -> Encoder | None:
        """Return CLIP."""

    @property
    def siglip(self) -> Encoder | None:
        """Return SigLIP."""

    @property
    def judge(self) -> Judge | None:
        """Return the vision-language model that is asked."""

    @property
    def probe(self) -> Probe | None:
        """Return the attribute probe."""

    def scorer_sha256(self, name: str) -> str | None:
        """Return the identity of one of the networks, or None."""
