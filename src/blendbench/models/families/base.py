"""The interface of every model family, and the types passed to it."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

import numpy as np

from blendbench.core.depths import Depth
from blendbench.models.layout import Layout
from blendbench.models.model_file import ModelSetFile, Sampler

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from blendbench.core.tokens import Tokens

Capability = Literal["compilation", "fp8", "guidance", "image_start", "injection"]


@dataclass(frozen=True)
class Facts:
    """Numbers of a model set that plans and strategies depend on.

    `patch_grid`: period of the transformer's patches in pixels. `longest_caption`: most tokens of a conditioning, which
    is padded to multiples of `caption_bucket`. `caption_width`: values of a caption token. `blocks`: of the
    transformer's main stream. `hidden_states`: of the vision-language model, its layers and the embedding. `deepstack`:
    number of its first layers after which features of the image are added.
    """

    patch_grid: int
    longest_caption: int
    caption_bucket: int
    blocks: int
    caption_width: int
    hidden_states: int
    deepstack: int

    def has_deepstack(self, layer: int) -> bool:
        """Report whether a hidden state holds features added behind a layer."""
        return 1 <= layer % self.hidden_states <= self.deepstack

    @property
    def depth(self) -> Depth:
        """Return what percentages of the depth are taken of."""
        return Depth(self.hidden_states, self.blocks)


@dataclass(frozen=True)
class Injection:
    """Captions that only some blocks of the main stream read.

    `rows`: an array (tokens, dim) per caption, of its shape: those of the images, then of their negatives. `blocks`:
    indices.
    """

    rows: "list[Tensor]"
    blocks: tuple[int, ...]


@dataclass(frozen=True)
class Start:
    """Starting images uint8 (n, h, w, 3), and the fraction of steps in (0, 1)."""

    images: np.ndarray
    strength: float


class PromptError(ValueError):
    """A prompt that the text encoder does not take, with the reason."""


class TextEncoder(Protocol):
    """The text encoder as the pipeline uses it."""

    def encode(self, prompt: str) -> "Tokens":
        """Encode a prompt at the model set's layer."""

    def encode_layers(self, prompt: str, layers: tuple[int, ...]) -> "dict[int, Tokens]":
        """Encode a prompt once and return the hidden states of several layers."""


class Denoiser(Protocol):
    """Denoiser: conditionings and initial latents to images.

    An image depends on its own conditioning and latents only, not on the rest of its batch.
    """

    def is_cold(self, images: int) -> bool:
        """Report whether a batch of `images` would first have to compile."""

    def warm_up(self, images: int) -> None:
        """Compile for batches of `images` and wait for it."""

    def stop_replays(self) -> bool:
        """Drop recorded GPU graphs for good; report whether there were any."""

    def initial_latents(self, noise_seed: int) -> "Tensor":
        """Return float32 latents of a CPU generator, equal on every device."""

    def denoise(
        self,
        schedules: "Sequence[tuple[Tensor, ...]]",
        latents: "Tensor",
        injection: Injection | None = None,
        start: Start | None = None,
        negatives: "Sequence[tuple[Tensor, ...]] | None" = None,
    ) -> "Tensor":
        """Denoise n images; return float32 latents on the transformer's device.

        `schedules`: for each image its conditionings (tokens, dim): one per step, or one for all steps. `latents`:
        initial ones, (n, channels, height, width). `injection`: captions for some of the blocks. `start`: images to
        start from instead of noise. `negatives`: as `schedules`, what guidance leads away from; needed if there is
        guidance. A GPU may still be computing what is returned.
        """

    def decode(self, latents: "Tensor") -> "tuple[Tensor, Tensor]":
        """Decode latents: uint8 (n, h, w, 3), and (n,) whether all were finite."""

    def generate(
        self,
        schedules: "Sequence[tuple[Tensor, ...]]",
        latents: "Tensor",
        injection: Injection | None = None,
        start: Start | None = None,
        negatives: "Sequence[tuple[Tensor, ...]] | None" = None,
    ) -> "tuple[Tensor, Tensor]":
        """Denoise and decode."""


@dataclass(frozen=True)
class Family(ABC):
    """One pipeline architecture, described by a model set's configurations."""

    pipeline: Path
    vision_language: Path | None = None

    class_name: ClassVar[str]
    layout: ClassVar[Layout]
    capabilities: ClassVar[frozenset[Capability]]

    @abstractmethod
    def problems(self, file: ModelSetFile) -> Iterator[str]:
        """Yield a line for every configuration entry that does not fit."""

    @property
    @abstractmethod
    def facts(self) -> Facts:
        """Read the facts from the configurations."""

    @abstractmethod
    def sigmas(self, sampler: Sampler) -> tuple[float, ...]:
        """Return the noise levels of all steps and the final 0."""

    @abstractmethod
    def load_text_encoder(self, folder: Path, file: ModelSetFile, dtype: "torch.dtype", device: str) -> TextEncoder:
        """Load the text encoder from the complete folder of the pipeline."""

    @abstractmethod
    def load_denoiser(
        self, folder: Path, file: ModelSetFile, dtype: "torch.dtype", device: str, compiled: bool, recorded: bool
    ) -> Denoiser:
        """Load transformer and VAE from the complete folder of the pipeline.

        Sampler and planted activations are read from `file`. `dtype`: precision of weights and activations. `device`:
        "cpu" or "cuda". `compiled`: whether to compile the networks. `recorded`: whether to replay calls as CUDA
        graphs, which takes memory of its own.
        """
