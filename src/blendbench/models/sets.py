"""Model sets: text encoder, vision-language encoder, diffusion pipeline and scorers, named by one model_set.toml.

Components load on first use, so that a run with nothing left to do loads nothing.
"""

import functools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from blendbench.errors import UsageError
from blendbench.hashing import sha256_files, sha256_json
from blendbench.suites import read_toml, suggest

if TYPE_CHECKING:
    import torch

    from blendbench.models.denoiser import Denoiser
    from blendbench.models.text import TextEncoder
    from blendbench.models.vision import VisionEncoder

_SHIPPED = {
    "miniature": Path(__file__).parent / "miniature" / "weights",
    "miniature-planted": Path(__file__).parent / "miniature_planted",
    "z-image-turbo": Path(__file__).parent / "z_image_turbo",
}
# What each local component must hold at the least; the libraries' own messages about a missing file are long.
_REQUIRED = {
    "pipeline": (
        "model_index.json", "scheduler/scheduler_config.json", "text_encoder/config.json", "tokenizer",
        "transformer/config.json", "vae/config.json",
    ),
    "vision_language": ("config.json", "chat_template.jinja"),
    "clip": ("open_clip_config.json",),
    "siglip": ("open_clip_config.json",),
    "probe": ("config.json",),
}  # fmt: skip
_HASHED = (".safetensors", ".json", ".txt", ".jinja", ".toml", ".bin", ".model")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Sampler(_Strict):
    """How pictures are drawn: size in pixels, the pipeline's own count of steps, pictures a batch."""

    height: int = Field(ge=16)
    width: int = Field(ge=16)
    steps: int = Field(ge=1)
    guidance: float = Field(default=0.0, ge=0)
    shift: float | None = Field(default=None, gt=0)
    batch_size: int = Field(default=16, ge=1)


class _Text(_Strict):
    layer: int = -2
    max_sequence_length: int = 512


class Planted(_Strict):
    """Massive activations put into the hidden states of position 0 of a chat template, for models that have none.

    `dimensions` get `values` added, in both encoders and at every layer; the transformer reads position 0 without them.
    """

    dimensions: list[int] = Field(min_length=1)
    values: list[float] = Field(min_length=1)

    @model_validator(mode="after")
    def _paired(self) -> "Planted":
        if len(self.dimensions) != len(self.values):
            raise ValueError("dimensions and values must be equally many")
        return self


class ModelSetFile(_Strict):
    """model_set.toml; a component is a sub-folder of the file's folder, an absolute folder, or a hub id."""

    name: str
    version: int
    title: str
    licence: str = ""
    dtype: Literal["float32", "bfloat16"]
    pipeline: str
    vision_language: str
    clip: str | None = None
    siglip: str | None = None
    probe: str | None = None
    sampler: Sampler
    text: _Text = _Text()
    planted: Planted | None = None


def list_model_sets() -> list[str]:
    """Names of the shipped model sets."""
    return sorted(name for name, folder in _SHIPPED.items() if (folder / "model_set.toml").is_file())


def load_model_set(
    name_or_folder: str | Path, device: str = "auto", sampler: dict[str, float] | None = None
) -> "ModelSet":
    """Open a model set by shipped name or by folder; nothing heavy is loaded. Errors: UsageError in one line."""
    folder = _SHIPPED.get(str(name_or_folder), Path(name_or_folder))
    if not (folder / "model_set.toml").is_file():
        raise UsageError(
            f"unknown model set {str(name_or_folder)!r}: no folder with a model_set.toml"
            f"{suggest(str(name_or_folder), list_model_sets())}"
        )
    file = read_toml(folder / "model_set.toml", ModelSetFile)
    if sampler:
        file = file.model_copy(update={"sampler": file.sampler.model_copy(update=sampler)})
    return ModelSet(folder, file, device)


@dataclass
class ModelSet:
    """An opened model set. `device` may be "auto" until a component is needed."""

    folder: Path
    file: ModelSetFile
    requested_device: str = "auto"

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

    def release_cache(self) -> None:
        """Give back the device memory that torch keeps for later."""
        if self.device == "cuda":
            import torch

            torch.cuda.empty_cache()

    @functools.cached_property
    def torch_dtype(self) -> "torch.dtype":
        import torch

        dtype: torch.dtype = getattr(torch, self.file.dtype)
        return dtype

    @functools.cached_property
    def sha256(self) -> str:
        """Hash of the settings and of every weight and configuration file of the components (hub ids count by name)."""
        weights = {}
        for name in _REQUIRED:
            if self.is_local(name):
                folder = Path(str(self.component(name)))
                files = [path for path in folder.rglob("*") if path.is_file() and path.suffix in _HASHED]
                weights[name] = sha256_files(files, folder)
        settings = self.file.model_dump(exclude={"sampler", *weights})
        return sha256_json([settings, weights])

    def component(self, name: str) -> str | None:
        """Where a component is: a folder, or a hub id. Errors: UsageError if a local folder is meant but missing."""
        value = getattr(self.file, name)
        if value is None:
            return None
        local = self.folder / value
        if local.is_dir():
            return str(local)
        if "/" not in value and ":" not in value:
            raise UsageError(f"{self.folder / 'model_set.toml'}: {name}: folder {value!r} is missing")
        return str(value)

    def check(self) -> None:
        """Refuse what could not work, before anything is loaded or written.

        Errors: UsageError (a component's folder or file is missing, a size that the patches do not divide).
        """
        for name, files in _REQUIRED.items():
            folder = Path(self.component(name) or "")
            missing = [file for file in files if self.is_local(name) and not (folder / file).exists()]
            if missing:
                raise UsageError(f"{self.folder / 'model_set.toml'}: {name}: {folder} has no {missing[0]}")
        for side in ("height", "width"):
            pixels = getattr(self.file.sampler, side)
            if self.is_local("pipeline") and pixels % self.lattice:
                raise UsageError(f"sampler: {side} = {pixels} is not a multiple of {self.lattice}, the patch in pixels")

    def is_local(self, name: str) -> bool:
        """Whether a component is a folder here, and not a hub id."""
        return Path(self.component(name) or "\0").is_dir()

    @functools.cached_property
    def lattice(self) -> int:
        """Period in pixels of the transformer's patches: VAE stride times patch size, from the configurations."""
        stride: int = 2 ** (len(self._config("vae")["block_out_channels"]) - 1)
        return stride * int(self._config("transformer")["all_patch_size"][0])

    @functools.cached_property
    def longest(self) -> int:
        """The most caption tokens, padded to 32, whose positions and the picture's after them fit the rotary table."""
        length: int = self._config("transformer")["axes_lens"][0]
        return (length - 2) // 32 * 32

    @functools.cached_property
    def blocks(self) -> int:
        """Number of blocks of the transformer's main stream."""
        return int(self._config("transformer")["n_layers"])

    @functools.cached_property
    def vision_states(self) -> int:
        """Number of hidden states of the vision-language model: its layers and the embedding."""
        source = str(self.component("vision_language"))
        with self._loading("vision_language"):
            if self.is_local("vision_language"):
                config = json.loads((Path(source) / "config.json").read_text())
                return int(config["text_config"]["num_hidden_layers"]) + 1
            from blendbench.models.vision import count_layers

            return count_layers(source) + 1

    def _config(self, part: str) -> dict[str, Any]:
        source = str(self.component("pipeline"))
        with self._loading("pipeline"):
            if self.is_local("pipeline"):
                config: dict[str, Any] = json.loads((Path(source) / part / "config.json").read_text())
                return config
            from blendbench.models.denoiser import load_config

            return load_config(source, part)

    @functools.cached_property
    def sampler_request(self) -> str | None:
        """Hash of all that `sampler_record` follows from, known without diffusers itself; None for a hub id."""
        if not self.is_local("pipeline"):
            return None
        scheduler = Path(str(self.component("pipeline"))) / "scheduler" / "scheduler_config.json"
        return sha256_json([self.file.sampler.model_dump(), self.lattice, scheduler.read_text(), version("diffusers")])

    @functools.cached_property
    def sampler_record(self) -> dict[str, Any]:
        """What is stored of the sampler: size, guidance, the resolved noise levels and the transformer's calls.

        Steps are a request only: schedulers resolve them differently.
        """
        with self._loading("pipeline"):
            from blendbench.models.denoiser import load_scheduler, resolved_sigmas

            scheduler = load_scheduler(str(self.component("pipeline")), self.file.sampler.shift)
        sampler = self.file.sampler
        patches = (sampler.height // self.lattice) * (sampler.width // self.lattice)
        sigmas, calls = resolved_sigmas(scheduler, sampler.steps, patches)
        calls *= 2 if sampler.guidance > 0 else 1
        return {
            "height": sampler.height, "width": sampler.width, "guidance": sampler.guidance, "sigmas": sigmas,
            "transformer_calls": calls,
        }  # fmt: skip

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

    @functools.cached_property
    def _pipeline(self) -> Any:
        with self._loading("pipeline"):
            from blendbench.models.denoiser import load_pipeline

            return load_pipeline(
                str(self.component("pipeline")), self.torch_dtype, self.device, self.file.sampler.shift
            )

    @functools.cached_property
    def denoiser(self) -> "Denoiser":
        from blendbench.models.denoiser import Denoiser

        return Denoiser(self._pipeline, self.file.sampler, self.file.planted)

    @functools.cached_property
    def text(self) -> "TextEncoder":
        from blendbench.models.text import TextEncoder

        text = self.file.text
        return TextEncoder(self._pipeline, text.layer, text.max_sequence_length, self.file.planted)

    @functools.cached_property
    def vision(self) -> "VisionEncoder":
        with self._loading("vision_language"):
            from blendbench.models.vision import load_vision_encoder

            source = str(self.component("vision_language"))
            return load_vision_encoder(source, self.torch_dtype, self.device, self.file.planted)

    @functools.cached_property
    def clip(self) -> Any:
        return self._encoder("clip")

    @functools.cached_property
    def siglip(self) -> Any:
        return self._encoder("siglip")

    def _encoder(self, name: str) -> Any:
        place = self.component(name)
        if place is None:
            return None
        with self._loading(name):
            from blendbench.models.scorers import load_encoder

            return load_encoder(place, self.device)

    @functools.cached_property
    def probe(self) -> Any:
        place = self.component("probe")
        if place is None:
            return None
        with self._loading("probe"):
            from blendbench.models.miniature.probe import load_probe

            return load_probe(Path(place), self.device)
