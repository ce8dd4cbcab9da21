"""Model sets: text encoder, vision-language encoder, diffusion pipeline and scorers, named by one model_set.toml.

Components load on first use, so that a run with nothing left to do loads nothing, and share the device as
`residency` says.
"""

import functools
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blendbench.core.config import read_toml, suggest
from blendbench.core.errors import UsageError
from blendbench.models import residency as memory
from blendbench.models.described import DescribedSet
from blendbench.models.model_file import ModelSetFile

if TYPE_CHECKING:
    from blendbench.models.denoiser import Denoiser
    from blendbench.models.text import TextEncoder
    from blendbench.models.vision import VisionEncoder

_SHIPPED = {
    "miniature": Path(__file__).parent / "miniature" / "weights",
    "miniature-planted": Path(__file__).parent / "miniature_planted",
    "z-image-turbo": Path(__file__).parent / "z_image_turbo",
}
_GROUPS = {
    "text": "text",
    "vision": "vision",
    "denoiser": "draw",
    "clip": "score",
    "siglip": "score",
    "probe": "score",
}


def list_model_sets() -> list[str]:
    """Names of the shipped model sets."""
    return sorted(name for name, folder in _SHIPPED.items() if (folder / "model_set.toml").is_file())


def load_model_set(
    name_or_folder: str | Path,
    device: str = "auto",
    sampler: dict[str, float] | None = None,
    memory_budget: float | None = None,
    hash_weights: bool = True,
) -> "ModelSet":
    """Open a model set by shipped name or by folder; nothing heavy is loaded.

    `memory_budget`: GiB of the device's memory to use, default what is free; `hash_weights`: whether weights may be
    read to know them by their content, which takes long once. Errors: UsageError in one line.
    """
    folder = _SHIPPED.get(str(name_or_folder), Path(name_or_folder))
    if not (folder / "model_set.toml").is_file():
        raise UsageError(
            f"unknown model set {str(name_or_folder)!r}: no folder with a model_set.toml"
            f"{suggest(str(name_or_folder), list_model_sets())}"
        )
    file = read_toml(folder / "model_set.toml", ModelSetFile)
    if sampler:
        file = file.model_copy(update={"sampler": file.sampler.model_copy(update=sampler)})
    return ModelSet(folder, file, device, memory_budget, hash_weights)


@dataclass
class ModelSet(DescribedSet):
    """An opened model set: what its files describe, and the parts that are loaded of it."""

    _loaded: dict[str, Any] = field(default_factory=dict, init=False, repr=False)
    _loading_one: threading.RLock = field(default_factory=threading.RLock, init=False, repr=False, compare=False)

    @functools.cached_property
    def residency(self) -> memory.Residency:
        """The plan of what shares the device's memory; a budget that was asked for is enforced from now on."""
        budget = memory.free_memory(self.device)
        if self.memory_budget is not None:
            asked = int(self.memory_budget * memory.GIB)
            memory.limit(self.device, asked)
            budget = asked if budget is None else min(asked, budget)
        return memory.choose(self.memory_sizes(), budget)

    def at_once(self, *groups: str) -> bool:
        """Whether groups of networks can work at the same time: the device by itself, with memory for all of them."""
        return self.asynchronous and self.residency.at_once(*groups)

    def load(self, *parts: str) -> bool:
        """Load parts now, and not at their first use; whether all could be. Loading changes settings of the whole
        process for a moment: it has to come before threads work side by side."""
        import torch

        try:
            for part in parts:
                getattr(self, part)
        except (ValueError, torch.OutOfMemoryError):
            return False
        return True

    def beside(self) -> AbstractContextManager[Any]:
        """Within, this thread's work for the GPU goes into a stream of its own: beside what is being drawn, and before
        it where both wait, or it would wait for as long as something is drawn."""
        if self.device == "cpu":
            return nullcontext()
        import torch

        return torch.cuda.stream(self._side)

    @functools.cached_property
    def _side(self) -> Any:
        import torch

        return torch.cuda.Stream(priority=-1)

    def peak_memory(self) -> int | None:
        """Most bytes that were allocated on the GPU since the last call; None without a GPU."""
        return memory.peak(self.device)

    def release_cache(self) -> None:
        """Give back the device memory that torch keeps for later."""
        memory.give_back(self.device)

    def _part(self, name: str, load: Callable[[], Any]) -> Any:
        """A loaded part; before it is loaded, what must not be on the device with it is freed."""
        # None is a part too: a scorer that the set lacks.
        if (ready := self._loaded.get(name, self)) is not self:
            return ready
        with self._loading_one:
            if name not in self._loaded:
                group = _GROUPS[name]
                parting = [other for other in self._loaded if not self.residency.together(group, _GROUPS[other])]
                for other in parting:
                    del self._loaded[other]
                if parting:
                    self.release_cache()
                self._loaded[name] = load()
                memory.settle(self.device)
            return self._loaded[name]

    @property
    def denoiser(self) -> "Denoiser":
        """What draws: transformer, VAE and scheduler."""
        return self._part("denoiser", self._load_denoiser)

    def _load_denoiser(self) -> "Denoiser":
        with self._loading("pipeline"):
            from blendbench.models.denoiser import Denoiser
            from blendbench.models.pipeline import load_pipeline
            from blendbench.models.replays import Recorder

            folder, sampler = self._weights_folder("pipeline"), self.file.sampler
            pipeline = load_pipeline(folder, self.torch_dtype, self.device, sampler.shift)
            # Graphs take memory of their own.
            recorder = Recorder() if self.compiled and self.residency.roomy else None
            return Denoiser(pipeline, sampler, self.file.planted, self.compiled, recorder)

    @property
    def text(self) -> "TextEncoder":
        """The text encoder."""
        return self._part("text", self._load_text)

    def _load_text(self) -> "TextEncoder":
        with self._loading("pipeline"):
            from blendbench.models.pipeline import load_text_encoder
            from blendbench.models.text import TextEncoder

            encoder = load_text_encoder(self._weights_folder("pipeline"), self.torch_dtype, self.device)
            text = self.file.text
            return TextEncoder(*encoder, text.layer, text.max_sequence_length, self.file.planted)

    @property
    def vision(self) -> "VisionEncoder":
        """The vision-language encoder."""
        return self._part("vision", self._load_vision)

    def _load_vision(self) -> "VisionEncoder":
        with self._loading("vision_language"):
            from blendbench.models.vision import load_vision_encoder

            folder = self._weights_folder("vision_language")
            return load_vision_encoder(folder, self.torch_dtype, self.device, self.file.planted)

    @property
    def clip(self) -> Any:
        """CLIP as a scorer, or None."""
        return self._part("clip", lambda: self._load_scorer("clip"))

    @property
    def siglip(self) -> Any:
        """SigLIP as a scorer, or None."""
        return self._part("siglip", lambda: self._load_scorer("siglip"))

    def _load_scorer(self, name: str) -> Any:
        if name not in self.places:
            return None
        with self._loading(name):
            from blendbench.models.scorers import load_encoder

            place = self.places[name]
            return load_encoder(self._weights_folder(name), self.device, None if place.local else place.value)

    @property
    def probe(self) -> Any:
        """The network that recognises the miniature's objects, or None."""
        return self._part("probe", self._load_probe)

    def _load_probe(self) -> Any:
        if "probe" not in self.places:
            return None
        with self._loading("probe"):
            from blendbench.models.miniature.probe import load_probe

            return load_probe(self._weights_folder("probe"), self.device)
