"""What is known of a model set without loading it: places, identity, sizes, sampler, and all that is wrong with it."""

import functools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blendbench.core.errors import UsageError
from blendbench.core.hashing import sha256_json
from blendbench.models import requirements
from blendbench.models import residency as memory
from blendbench.models.fingerprint import WeightFile, file_hashes, folder_hash, unread
from blendbench.models.model_file import COMPONENTS, ModelSetFile
from blendbench.models.places import Place, find

if TYPE_CHECKING:
    import torch

_HASHED = (".safetensors", ".json", ".txt", ".jinja", ".toml", ".bin", ".model")


@dataclass
class DescribedSet:
    """A model set as its files describe it. The device is found out when it is asked for."""

    folder: Path
    file: ModelSetFile
    requested_device: str = "auto"
    memory_budget: float | None = None
    hash_weights: bool = True

    @property
    def name(self) -> str:
        return self.file.name

    @property
    def dtype(self) -> str:
        return self.file.dtype

    @functools.cached_property
    def device(self) -> str:
        """cuda if there is one and nothing else was asked for. Errors: UsageError if cuda was asked for in vain."""
        import torch

        available = torch.cuda.is_available()
        if self.requested_device == "cuda" and not available:
            raise UsageError("--device cuda: this machine has no usable GPU; use --device cpu")
        return ("cuda" if available else "cpu") if self.requested_device == "auto" else self.requested_device

    @property
    def asynchronous(self) -> bool:
        """Whether the device computes by itself, while the thread that feeds it goes on."""
        return self.device != "cpu"

    @property
    def compiled(self) -> bool:
        """Whether images are drawn by compiled networks: on a GPU, if the set asks for it."""
        return self.file.sampler.compile and self.device != "cpu"

    @functools.cached_property
    def torch_dtype(self) -> "torch.dtype":
        import torch

        dtype: torch.dtype = getattr(torch, self.file.dtype)
        return dtype

    def find(self, name: str) -> Place | None:
        """Where one component is, if the set has it. Errors: UsageError (a folder is missing, a commit not pinned)."""
        value, commit = getattr(self.file, name), getattr(self.file.revisions, name, None)
        return None if value is None else find(name, value, commit, self.folder / "model_set.toml")

    @functools.cached_property
    def places(self) -> dict[str, Place]:
        """Where each component of the set is. Errors: UsageError as `find`."""
        return {name: place for name in COMPONENTS if (place := self.find(name))}

    def component(self, name: str) -> str | None:
        """Where a component is: a folder, or a hub repository; None if the set has none of it."""
        return self.places[name].name if name in self.places else None

    def is_local(self, name: str) -> bool:
        """Whether a component is a folder here, and not a hub repository."""
        return name in self.places and self.places[name].local is not None

    def _config_folder(self, name: str) -> Path:
        return self.places[name].configured()

    def _hashed_files(self, folder: Path) -> list[Path]:
        return [path for path in folder.rglob("*") if path.is_file() and path.suffix in _HASHED]

    @functools.cached_property
    def sha256(self) -> str:
        """Hash of the settings and of every weight and configuration file of the folders.

        A hub repository counts by its name and commit, which stand for its files. Where weights must not be read now,
        large files count by size and time of change: a hash that no result has, see `provisional`.
        """
        local = {name: place.local for name, place in self.places.items() if place.local}
        weights = {
            name: folder_hash(folder, self._hashed_files(folder), self.hash_weights) for name, folder in local.items()
        }
        commits = {name: place.commit for name, place in self.places.items() if place.commit}
        settings = self.file.model_dump(exclude={"suite", "sampler", "revisions", *weights})
        return sha256_json([settings | ({"revisions": commits} if commits else {}), weights])

    @functools.cached_property
    def provisional(self) -> bool:
        """Whether `sha256` is only a stand-in, because weights would have to be read first."""
        folders = [place.local for place in self.places.values() if place.local]
        return not self.hash_weights and any(unread(self._hashed_files(folder)) for folder in folders)

    def weight_files(self) -> list[WeightFile]:
        """Every file that weights are read from, with its sha256; hub repositories are downloaded now, if need be."""
        found: list[WeightFile] = []
        for name in self.places:
            folder = self._weights_folder(name)
            hashes = file_hashes(requirements.weight_files(name, folder))
            found += [
                WeightFile(name, path.relative_to(folder).as_posix(), path.stat().st_size, sha256)
                for path, sha256 in hashes.items()
            ]
        return found

    def problems(self) -> list[str]:
        """All that keeps this set from working, a line each, without loading or downloading weights."""
        toml, lines, folders = self.folder / "model_set.toml", [], {}
        for name, place in self.places.items():
            try:
                folders[name] = place.configured()
            except UsageError as error:
                lines.append(str(error))
                continue
            told = [f"{folders[name]} has no {file}" for file in requirements.absent(name, folders[name])]
            if place.local:
                told += requirements.absent_weights(name, folders[name])
            lines += [f"{toml}: {name}: {line}" for line in told]
        lines += requirements.mismatches(folders, self.file.text.layer)
        return lines or self.odd_sizes()

    def odd_sizes(self) -> list[str]:
        """Sides of the image that the transformer cannot cut into patches."""
        sampler = self.file.sampler
        return [
            f"sampler: {side} = {pixels} is not a multiple of {self.patch_grid}, the patch in pixels"
            for side, pixels in (("height", sampler.height), ("width", sampler.width))
            if pixels % self.patch_grid
        ]

    def check(self) -> None:
        """Refuse what could not work, before anything is loaded or written.

        Errors: UsageError, the first of `problems`.
        """
        for line in self.problems():
            raise UsageError(line)

    @functools.cached_property
    def patch_grid(self) -> int:
        """Period in pixels of the transformer's patches: VAE stride times patch size, from the configurations."""
        stride: int = 2 ** (len(self._config("pipeline", "vae")["block_out_channels"]) - 1)
        return stride * int(self._config("pipeline", "transformer")["all_patch_size"][0])

    @functools.cached_property
    def longest(self) -> int:
        """The most caption tokens, padded to 32, whose positions and the image's after them fit the rotary table."""
        length: int = self._config("pipeline", "transformer")["axes_lens"][0]
        return (length - 2) // 32 * 32

    @functools.cached_property
    def blocks(self) -> int:
        """Number of blocks of the transformer's main stream."""
        return int(self._config("pipeline", "transformer")["n_layers"])

    @functools.cached_property
    def vision_states(self) -> int:
        """Number of hidden states of the vision-language model: its layers and the embedding."""
        return int(self._config("vision_language")["text_config"]["num_hidden_layers"]) + 1

    def _config(self, name: str, part: str = "") -> dict[str, Any]:
        with self._loading(name):
            config: dict[str, Any] = json.loads((self._config_folder(name) / part / "config.json").read_text())
        return config

    @functools.cached_property
    def sampler_request(self) -> str:
        """Hash of all that `sampler_record` follows from, known without diffusers itself."""
        scheduler = self._config_folder("pipeline") / "scheduler" / "scheduler_config.json"
        settings = self.file.sampler.model_dump() | {"compile": self.compiled}
        return sha256_json([settings, self.patch_grid, scheduler.read_text(), version("diffusers")])

    @functools.cached_property
    def sampler_record(self) -> dict[str, Any]:
        """What is stored of the sampler: size, guidance, the resolved noise levels, the transformer's calls, and that
        its networks are compiled, if they are.

        Steps are a request only: schedulers resolve them differently.
        """
        with self._loading("pipeline"):
            from blendbench.models.pipeline import load_scheduler, resolved_sigmas

            scheduler = load_scheduler(self._config_folder("pipeline"), self.file.sampler.shift)
        sampler = self.file.sampler
        patches = (sampler.height // self.patch_grid) * (sampler.width // self.patch_grid)
        sigmas, calls = resolved_sigmas(scheduler, sampler.steps, patches)
        calls *= 2 if sampler.guidance > 0 else 1
        return {
            "height": sampler.height,
            "width": sampler.width,
            "guidance": sampler.guidance,
            "sigmas": sigmas,
            "transformer_calls": calls,
            **({"compiled": True} if self.compiled else {}),
        }

    def memory_sizes(self, images: int | None = None) -> memory.Sizes:
        """Memory of each group, from the headers of the weights that are here, for batches of `images` (default: the
        set's)."""
        sampler, value = self.file.sampler, self.torch_dtype.itemsize

        def counted(component: str, place: str = "") -> int:
            folder = self.places[component].known() if component in self.places else None
            with self._loading(component):
                return requirements.parameters(component, folder, place) if folder else 0

        weights = {
            "text": value * counted("pipeline", "text_encoder"),
            "vision": value * counted("vision_language"),
            "draw": value * (counted("pipeline", "transformer") + counted("pipeline", "vae")),
            "score": sum(counted(name) for name in ("clip", "siglip", "probe")) * (4 if self.device == "cpu" else 2),
        }
        batch = sampler.batch_size if images is None else images
        return memory.Sizes(weights, memory.working_memory(batch, sampler.height * sampler.width, value))

    def _weights_folder(self, name: str) -> Path:
        """A component's folder with its weights; downloaded if it is a hub repository whose files are not all here."""
        place = self.places[name]
        known = place.known()
        if known and not requirements.absent(name, known) and not requirements.absent_weights(name, known):
            return known
        return place.complete()

    @contextmanager
    def _loading(self, name: str) -> Iterator[None]:
        """Turn whatever a library raises while it loads a component into one line."""
        try:
            yield
        except UsageError:
            raise
        except Exception as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise UsageError(
                f"{self.folder / 'model_set.toml'}: {name} = {getattr(self.file, name)!r} cannot be loaded: {reason}"
            ) from error
