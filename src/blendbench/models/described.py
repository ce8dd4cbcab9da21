"""Describe a model set without loading it, and everything wrong with it."""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blendbench.core.config import placed
from blendbench.core.errors import Problems, UsageError, first_line
from blendbench.core.hashing import sha256_contents, sha256_json
from blendbench.core.suites import list_suites
from blendbench.models import requirements
from blendbench.models import residency as memory
from blendbench.models.activation import Activation, resolve_activation
from blendbench.models.device import choose_device
from blendbench.models.families import family_of
from blendbench.models.families.base import Facts, Family
from blendbench.models.fingerprint import WeightFile, file_hashes, identities, unread
from blendbench.models.image_tokens import ImageTokens, image_tokens
from blendbench.models.model_file import COMPONENTS, ModelSetFile
from blendbench.models.places import Place, find
from blendbench.models.sigmas import resolve as resolve_sigmas

if TYPE_CHECKING:
    import torch

    from blendbench.core.conditioning import Denoising

# What makes pixels, and what measures them.
_GENERATING = ("pipeline", "vision_language")
SCORERS = ("clip", "siglip", "judge", "probe")
# Size of a transformer in fp8 over that in bfloat16: of Z-Image's values, 98 % are in layers that become fp8.
_FP8_VALUES = 0.52


@dataclass
class DescribedSet:
    """A model set as its files describe it."""

    folder: Path
    file: ModelSetFile
    requested_device: str = "auto"
    memory_budget: float | None = None
    hash_weights: bool = True
    _identities: dict[Path, str] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def name(self) -> str:
        """Return the file's name for the set; no part of any identity."""
        return self.file.name

    @property
    def suite(self) -> str | None:
        """Return the suite of experiments that were written for other models."""
        return self.file.suite and placed(self.folder / "model_set.toml", self.file.suite, list_suites())

    @property
    def dtype(self) -> str:
        """Precision of the pipeline's weights."""
        return self.file.dtype

    @functools.cached_property
    def device(self) -> str:
        """Return the device of the networks. Errors: UsageError without cuda."""
        return choose_device(self.requested_device)

    def place(self, device: str, residency: memory.Residency | None = None) -> None:
        """Describe networks that other processes load, on their device and with their memory plan."""
        vars(self)["device"] = device
        if residency is not None:
            vars(self)["residency"] = residency

    @property
    def asynchronous(self) -> bool:
        """Return whether the device computes while its feeding thread goes on."""
        return self.device != "cpu"

    @property
    def compiled(self) -> bool:
        """Return whether compiled networks generate images, if asked, on a GPU."""
        return self.file.sampler.compile and self.device != "cpu"

    @functools.cached_property
    def torch_dtype(self) -> "torch.dtype":
        """Return `dtype` as a torch object."""
        import torch

        dtype: torch.dtype = getattr(torch, self.file.dtype)
        return dtype

    def find(self, name: str) -> Place | None:
        """Find one component, if the set has it. Errors: UsageError."""
        value, commit = getattr(self.file, name), getattr(self.file.revisions, name, None)
        return None if value is None else find(name, value, commit, self.folder / "model_set.toml")

    @functools.cached_property
    def places(self) -> dict[str, Place]:
        """Return the place of each component. Errors: UsageError as `find`, for each of them."""
        problems, places = Problems(), {}
        for name in COMPONENTS:
            with problems.collected():
                places[name] = self.find(name)
        problems.check()
        return {name: place for name, place in places.items() if place}

    def component(self, name: str) -> str | None:
        """Return a component's folder or hub repository; None if the set lacks it."""
        return self.places[name].name if name in self.places else None

    @functools.cached_property
    def family(self) -> Family:
        """Return the pipeline's family with its files. Errors: UsageError."""
        pipeline = self.places["pipeline"].configured()
        return family_of(pipeline)(pipeline, self.places["vision_language"].configured())

    @functools.cached_property
    def _own_image_tokens(self) -> ImageTokens:
        return image_tokens(self.places["vision_language"].configured())

    @property
    def image_tokens(self) -> ImageTokens:
        """Return how many tokens an image becomes, by its size."""
        return self._own_image_tokens.limited(self.file.vision.max_pixels)

    @functools.cached_property
    def facts(self) -> Facts:
        """Return the sizes that plans depend on. Errors: UsageError."""
        with self._loading("pipeline"):
            return self.family.facts

    @functools.cached_property
    def sha256(self) -> str:
        """Return the identity of everything that makes pixels but the sampler.

        Contents of weights, configurations, tokenizers and preprocessing, precision, text layer and planted
        activations count; names, titles, places and scorers do not. So does a limit on the pixels of images, where it
        is lower than the processor's own.
        """
        settings = self.file.model_dump(include={"dtype", "text", "planted"})
        # What the processor does itself is not known before its files are here: until then the limit counts always.
        if self.places["vision_language"].known() is None:
            settings["vision"] = {"max_pixels": self.file.vision.max_pixels}
        elif self.image_tokens.most < self._own_image_tokens.most:
            settings["vision"] = {"max_pixels": self.image_tokens.most}
        return sha256_json([settings, {name: self._contents(name) for name in _GENERATING}])

    def scorer_sha256(self, name: str) -> str | None:
        """Return the identity of one of `SCORERS`, or None.

        Contents count, and CLIP's activation function. Errors: UsageError if that is left open.
        """
        return self._scorer_hashes[name] if name in self.places else None

    @functools.cached_property
    def _scorer_hashes(self) -> dict[str, str]:
        return {
            name: sha256_json([self._contents(name), self.activation(name)]) for name in SCORERS if name in self.places
        }

    def activation(self, name: str) -> Activation | None:
        """Return the activation function of "clip" or "siglip", or None.

        It is None for a network that has its own or is not here. Errors: UsageError if nothing states it.
        """
        place = self.places.get(name)
        folder = place.known() if place else None
        if place is None or folder is None or name not in ("clip", "siglip"):
            return None
        declared = self.file.clip_quick_gelu if name == "clip" else None
        return resolve_activation(folder, declared, None if place.local else place.value)

    def _contents(self, name: str) -> str:
        """Hash a component's files, or the commit of an incomplete repository."""
        place = self.places[name]
        if not self._is_here(place):
            return f"{place.value} at {place.commit}"
        folder = place.complete()
        files = requirements.layout(name, folder).identity_files(folder)
        if not self._identities.keys() >= {*files}:
            # Those of all components at once, since these are of very different sizes.
            self._identities |= identities(self._files(), self.hash_weights)
        return sha256_contents({path: self._identities[path] for path in files}, folder)

    def _files(self) -> list[Path]:
        """Return the files of the components that are here."""
        folders = {name: place.complete() for name, place in self.places.items() if self._is_here(place)}
        return [path for name, at in folders.items() for path in requirements.layout(name, at).identity_files(at)]

    def _is_here(self, place: Place) -> bool:
        folder = place.known()
        return bool(place.local or (folder and requirements.layout(place.component, folder).is_complete(folder)))

    @functools.cached_property
    def provisional(self) -> bool:
        """Return whether identities stand in for weights that were not read."""
        if not all(self._is_here(place) for place in self.places.values()):
            return True
        if self.hash_weights:
            return False
        return bool(unread(self._files()))

    def weight_files(self) -> list[WeightFile]:
        """Return every weight file with its sha256, downloading missing ones."""
        found: list[WeightFile] = []
        for name in self.places:
            folder = self._weights_folder(name)
            hashes = file_hashes(requirements.layout(name, folder).weight_files(folder))
            found += [
                WeightFile(name, path.relative_to(folder).as_posix(), path.stat().st_size, sha256)
                for path, sha256 in hashes.items()
            ]
        return found

    def problems(self) -> list[str]:
        """Return everything that keeps this set from working, a line each."""
        toml, lines, folders = self.folder / "model_set.toml", [], {}
        for name, place in self.places.items():
            try:
                folder = folders[name] = place.configured()
            except UsageError as error:
                lines.append(str(error))
                continue
            layout = requirements.layout(name, folder)
            found = [f"{folder} has no {file}" for file in layout.absent(folder)]
            found += layout.absent_weights(folder) if place.local else []
            lines += [f"{toml}: {name}: {line}" for line in found]
        lines += requirements.mismatches(folders, self.file)
        return lines or [*self._unsupported(), *self._open_activations()]

    def _unsupported(self) -> Iterator[str]:
        """Describe requests of the sampler that the family cannot serve."""
        sampler, grid = self.file.sampler, self.facts.patch_grid
        for side, pixels in (("height", sampler.height), ("width", sampler.width)):
            if pixels % grid:
                yield f"sampler: {side} = {pixels} is not a multiple of {grid}, the patch in pixels"
        able = self.family.capabilities
        if sampler.guidance and "guidance" not in able:
            yield f"sampler: guidance = {sampler.guidance} is not supported for {self.family.class_name}; set it to 0"
        if sampler.compile and "compilation" not in able:
            yield f"sampler: compile is not supported for {self.family.class_name}; leave it out"
        if sampler.precision and sampler.precision not in able:
            yield f"sampler: precision is not supported for {self.family.class_name}; leave it out"

    def _open_activations(self) -> Iterator[str]:
        for name in ("clip", "siglip"):
            try:
                self.activation(name)
            except UsageError as error:
                yield str(error)

    def check(self) -> None:
        """Refuse what could not work, with all `problems`. Errors: UsageError."""
        if lines := self.problems():
            raise UsageError(*lines)

    @functools.cached_property
    def sigmas(self) -> tuple[float, ...]:
        """Return noise levels of all steps and the final 0. Errors: UsageError."""
        sampler = self.file.sampler
        if sampler.sigmas is not None or sampler.shift is not None:
            # Stated in the file: known before the pipeline is here.
            return resolve_sigmas(sampler.steps, sampler.shift or 1.0, sampler.sigmas)
        with self._loading("pipeline"):
            return self.family.sigmas(sampler)

    @property
    def sampler_record(self) -> dict[str, Any]:
        """Return the sampler's record, which is part of a cell's identity.

        Size, guidance with its negative, the resolved noise levels, the steps, and whether networks are compiled.
        """
        sampler = self.file.sampler
        negative = {name: getattr(sampler, name) for name in ("negative_prompt", "negative", "cfg_normalization")}
        return {
            "height": sampler.height,
            "width": sampler.width,
            "guidance": sampler.guidance,
            **(negative if sampler.guidance else {}),
            "sigmas": list(self.sigmas),
            "transformer_calls": len(self.sigmas) - 1,
            **({"compiled": True} if self.compiled else {}),
            **({"precision": sampler.precision} if sampler.precision else {}),
        }

    @functools.cached_property
    def denoising(self) -> "Denoising":
        """Return the facts about the sampling that strategies may use."""
        from blendbench.core.conditioning import Denoising

        # Six decimals, as always: more would move schedules, and with them published images, in their last bits.
        return Denoising(tuple(round(sigma, 6) for sigma in self.sigmas[:-1]), self.facts.blocks)

    def memory_sizes(self, images: int | None = None) -> memory.Sizes:
        """Return memory of groups by headers, for `images` (default: the set's)."""
        sampler, value = self.file.sampler, self.torch_dtype.itemsize

        def counted(component: str, place: str = "") -> int:
            folder = self.places[component].known() if component in self.places else None
            with self._loading(component):
                return requirements.layout(component, folder).parameters(folder, place) if folder else 0

        narrowed = _FP8_VALUES if sampler.precision == "fp8" else 1.0
        weights = {
            "text": value * counted("pipeline", "text_encoder"),
            "vision": value * counted("vision_language"),
            "generate": round(
                value * narrowed * counted("pipeline", "transformer") + value * counted("pipeline", "vae")
            ),
            "score": sum(counted(name) for name in SCORERS if name != "judge") * (4 if self.device == "cpu" else 2),
            "judge": value * counted("judge"),
        }
        batch, pixels = sampler.batch_size if images is None else images, sampler.height * sampler.width
        return memory.Sizes(weights, memory.working_memory(batch, pixels, value, sampler.guidance > 0))

    def _weights_folder(self, name: str) -> Path:
        """Return a component's folder with its weights, downloading if needed."""
        place = self.places[name]
        known = place.known()
        return known if known and requirements.layout(name, known).is_complete(known) else place.complete()

    @contextmanager
    def _loading(self, name: str) -> Iterator[None]:
        """Turn whatever a library raises while it loads a component into one line."""
        try:
            yield
        except UsageError:
            raise
        except Exception as error:
            raise UsageError(
                f"{self.folder / 'model_set.toml'}: {name} = {getattr(self.file, name)!r} cannot be loaded: "
                f"{first_line(error)}"
            ) from error
