"""Model sets: pipeline, encoders and scorers, as a model_set.toml names them.

Components load on first use: a run with nothing left to do loads nothing. They share the device by the plan of
`residency`.
"""

import functools
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from blendbench.core.config import read_toml, suggest
from blendbench.core.errors import UsageError
from blendbench.models import residency as memory
from blendbench.models.described import DescribedSet
from blendbench.models.model_file import ModelSetFile

if TYPE_CHECKING:
    from blendbench.models.families.base import Denoiser, TextEncoder
    from blendbench.models.vision import VisionEncoder

T = TypeVar("T")
_SHIPPED = {
    "miniature": Path(__file__).parent / "miniature" / "weights",
    "miniature-planted": Path(__file__).parent / "miniature_planted",
    "z-image": Path(__file__).parent / "z_image",
    "z-image-turbo": Path(__file__).parent / "z_image_turbo",
}
_GROUPS = {
    "text": "text",
    "vision": "vision",
    "denoiser": "generate",
    "clip": "score",
    "siglip": "score",
    "judge": "judge",
    "probe": "score",
}


def list_model_sets() -> list[str]:
    """List the names of the shipped model sets."""
    return sorted(name for name, folder in _SHIPPED.items() if (folder / "model_set.toml").is_file())


def shipped_name(folder: Path) -> str | None:
    """Return the name under which a model set's folder is shipped."""
    return next((name for name, shipped in _SHIPPED.items() if shipped == folder), None)


def load_model_set(
    name_or_folder: str | Path,
    device: str = "auto",
    sampler: dict[str, Any] | None = None,
    memory_budget: float | None = None,
    hash_weights: bool = True,
) -> "ModelSet":
    """Open a model set by shipped name or by folder; nothing heavy is loaded.

    `device`: "auto", "cpu" or "cuda". `sampler`: fields of the sampler to override. `memory_budget`: GiB of the
    device's memory to use; default: what is free. `hash_weights`: whether weights may be read to identify them by
    content, which takes long once. Errors: UsageError in one line.
    """
    folder = _SHIPPED.get(str(name_or_folder), Path(name_or_folder))
    if not (folder / "model_set.toml").is_file():
        raise UsageError(
            f"unknown model set {str(name_or_folder)!r}: no folder with a model_set.toml"
            f"{suggest(str(name_or_folder), list_model_sets())}"
        )
    file = read_toml(folder / "model_set.toml", ModelSetFile)
    if sampler:
        file = file.model_copy(update={"sampler": file.sampler.overridden(sampler)})
    return ModelSet(folder, file, device, memory_budget, hash_weights)


@dataclass
class ModelSet(DescribedSet):
    """An opened model set: its description and its loaded parts."""

    _loaded: dict[str, Any] = field(default_factory=dict, init=False, repr=False)
    _locks: dict[str, threading.RLock] = field(default_factory=dict, init=False, repr=False, compare=False)

    @functools.cached_property
    def residency(self) -> memory.Residency:
        """Return the memory plan of the device; enforce the user's budget."""
        budget = memory.free_memory(self.device)
        if self.memory_budget is not None:
            asked = int(self.memory_budget * memory.GIB)
            memory.limit(self.device, asked)
            budget = asked if budget is None else min(asked, budget)
        return memory.choose(self.memory_sizes(), budget)

    def at_once(self, *groups: str) -> bool:
        """Report whether groups of networks can work at once.

        That takes a device of its own, with memory for all.
        """
        return self.asynchronous and self.residency.at_once(*groups)

    def share(self, *groups: str) -> bool:
        """Report whether groups of networks stay on the device together."""
        return all(self.residency.together(one, other) for one in groups for other in groups)

    def load(self, *parts: str) -> bool:
        """Load parts now instead of at their first use.

        Report whether all could be. Loading an encoder or the judge changes settings of the whole process for a moment,
        such as the default dtype of torch, and imports libraries, which two threads must not do at once: no other
        thread may work meanwhile.
        """
        import torch

        try:
            for part in parts:
                getattr(self, part)
        except (ValueError, torch.OutOfMemoryError):
            return False
        return True

    def beside(self) -> AbstractContextManager[Any]:
        """Run this thread's GPU work on a side stream, beside generation.

        The stream has priority: otherwise its work would wait for as long as images are generated.
        """
        if self.device == "cpu":
            return nullcontext()
        import torch

        return torch.cuda.stream(self._side)

    @functools.cached_property
    def _side(self) -> Any:
        import torch

        return torch.cuda.Stream(priority=-1)

    def peak_memory(self) -> int | None:
        """Return the most bytes allocated on the GPU since last asked, or None."""
        return memory.peak(self.device)

    def unload(self) -> None:
        """Free every part; the next use loads it again."""
        self._loaded.clear()
        self.release_cache()

    def release_cache(self) -> None:
        """Free the device memory that torch caches."""
        memory.free_cache(self.device)

    def _lock(self, name: str) -> threading.RLock:
        """Return what is held while a part is loaded; where parts are freed for others, one lock for all."""
        return self._locks.setdefault(name if self.residency.name == "resident" else "", threading.RLock())

    def _part(self, name: str, load: Callable[[], T]) -> T:
        """Return a part, loaded once.

        Parts that must not share the device with it are freed first.
        """
        # None is a valid part: a scorer that the set lacks.
        if (ready := self._loaded.get(name, self)) is not self:
            return cast(T, ready)
        with self._lock(name):
            if name not in self._loaded:
                group = _GROUPS[name]
                parting = [other for other in self._loaded if not self.residency.together(group, _GROUPS[other])]
                for other in parting:
                    del self._loaded[other]
                if parting:
                    self.release_cache()
                self._loaded[name] = load()
                memory.settle(self.device, group)
            return cast(T, self._loaded[name])

    @property
    def denoiser(self) -> "Denoiser":
        """Transformer, VAE and sampler."""
        part: Denoiser = self._part("denoiser", self._load_denoiser)
        return part

    def _load_denoiser(self) -> "Denoiser":
        with self._loading("pipeline"):
            return self.family.load_denoiser(
                self._weights_folder("pipeline"),
                self.file,
                self.torch_dtype,
                self.device,
                compiled=self.compiled,
                recorded=self.compiled and self.residency.roomy,
            )

    @property
    def text(self) -> "TextEncoder":
        """Return the text encoder."""
        part: TextEncoder = self._part("text", self._load_text)
        return part

    def _load_text(self) -> "TextEncoder":
        with self._loading("pipeline"):
            folder = self._weights_folder("pipeline")
            return self.family.load_text_encoder(folder, self.file, self.torch_dtype, self.device)

    @property
    def vision(self) -> "VisionEncoder":
        """Return the vision-language encoder."""
        part: VisionEncoder = self._part("vision", self._load_vision)
        return part

    def _load_vision(self) -> "VisionEncoder":
        with self._loading("vision_language"):
            from blendbench.models.vision import load_vision_encoder

            folder = self._weights_folder("vision_language")
            return load_vision_encoder(folder, self.torch_dtype, self.device, self.image_tokens, self.file.planted)

    @property
    def clip(self) -> Any:
        """Return CLIP as a scorer, or None."""
        return self._part("clip", lambda: self._load_scorer("clip"))

    @property
    def siglip(self) -> Any:
        """Return SigLIP as a scorer, or None."""
        return self._part("siglip", lambda: self._load_scorer("siglip"))

    def _load_scorer(self, name: str) -> Any:
        if name not in self.places:
            return None
        with self._loading(name):
            from blendbench.models.scorers import load_encoder

            folder = self._weights_folder(name)
            activation = self.activation(name)
            return load_encoder(folder, activation == "quick_gelu", self.device)

    @property
    def judge(self) -> Any:
        """Return the vision-language model that is asked about images, or None."""
        return self._part("judge", self._load_judge)

    def _load_judge(self) -> Any:
        if "judge" not in self.places:
            return None
        with self._loading("judge"):
            from blendbench.models.judge import load_judge

            return load_judge(self._weights_folder("judge"), self.torch_dtype, self.device)

    @property
    def probe(self) -> Any:
        """Return the miniature's recognition network, or None."""
        return self._part("probe", self._load_probe)

    def _load_probe(self) -> Any:
        if "probe" not in self.places:
            return None
        with self._loading("probe"):
            from blendbench.models.miniature.probe import load_probe

            return load_probe(self._weights_folder("probe"), self.device)
