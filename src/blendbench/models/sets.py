"""Model sets: text encoder, vision-language encoder, diffusion pipeline and scorers, named by one model_set.toml.

Components load on first use, so that a run with nothing left to do loads nothing.
"""

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

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
    "z-image-turbo": Path(__file__).parent / "z_image_turbo",
}
_HASHED = (".safetensors", ".json", ".txt", ".jinja", ".toml", ".bin", ".model")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Sampler(_Strict):
    """How pictures are drawn; `steps` is the pipeline's own count."""

    height: int = Field(ge=16)
    width: int = Field(ge=16)
    steps: int = Field(ge=1)
    guidance: float = Field(default=0.0, ge=0)
    shift: float | None = Field(default=None, gt=0)


class _Text(_Strict):
    layer: int = -2
    max_sequence_length: int = 512


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

    @functools.cached_property
    def torch_dtype(self) -> "torch.dtype":
        import torch

        dtype: torch.dtype = getattr(torch, self.file.dtype)
        return dtype

    @functools.cached_property
    def sha256(self) -> str:
        """Hash of the settings and of every weight and configuration file in the folder (hub ids count by name)."""
        files = [path for path in self.folder.rglob("*") if path.is_file() and path.suffix in _HASHED]
        weights = sha256_files([path for path in files if path.name != "model_set.toml"], self.folder)
        settings = self.file.model_dump(exclude={"sampler"})
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

    @property
    def lattice(self) -> int:
        """Period in pixels of the transformer's patches: VAE stride times patch size, from the configurations."""
        pipeline = Path(str(self.component("pipeline")))
        if not pipeline.is_dir():
            return self.denoiser.lattice
        vae = json.loads((pipeline / "vae" / "config.json").read_text())
        transformer = json.loads((pipeline / "transformer" / "config.json").read_text())
        stride: int = 2 ** (len(vae["block_out_channels"]) - 1)
        return stride * int(transformer["all_patch_size"][0])

    @functools.cached_property
    def sampler_record(self) -> dict[str, Any]:
        """What is stored of the sampler: size, guidance and the resolved noise levels (steps are a request only)."""
        from diffusers import FlowMatchEulerDiscreteScheduler
        from diffusers.pipelines.z_image.pipeline_z_image import get_default_z_image_sigmas

        sampler = self.file.sampler
        scheduler = FlowMatchEulerDiscreteScheduler.from_pretrained(
            str(self.component("pipeline")), subfolder="scheduler"
        )
        if sampler.shift is not None:
            scheduler = FlowMatchEulerDiscreteScheduler.from_config(scheduler.config, shift=sampler.shift)
        scheduler.set_timesteps(sigmas=get_default_z_image_sigmas(sampler.steps), mu=1.0)
        sigmas = [round(float(sigma), 6) for sigma in scheduler.sigmas]
        return {"height": sampler.height, "width": sampler.width, "guidance": sampler.guidance, "sigmas": sigmas}

    @functools.cached_property
    def _pipeline(self) -> Any:
        from blendbench.models.denoiser import load_pipeline

        return load_pipeline(str(self.component("pipeline")), self.torch_dtype, self.device, self.file.sampler.shift)

    @functools.cached_property
    def denoiser(self) -> "Denoiser":
        from blendbench.models.denoiser import Denoiser

        return Denoiser(self._pipeline, self.file.sampler)

    @functools.cached_property
    def text(self) -> "TextEncoder":
        from blendbench.models.text import TextEncoder

        return TextEncoder(self._pipeline, self.file.text.layer, self.file.text.max_sequence_length)

    @functools.cached_property
    def vision(self) -> "VisionEncoder":
        from blendbench.models.vision import VisionEncoder

        return VisionEncoder(str(self.component("vision_language")), self.torch_dtype, self.device)

    @functools.cached_property
    def clip(self) -> Any:
        return self._encoder("clip")

    @functools.cached_property
    def siglip(self) -> Any:
        return self._encoder("siglip")

    def _encoder(self, name: str) -> Any:
        from blendbench.models.scorers import load_encoder

        place = self.component(name)
        return None if place is None else load_encoder(place, self.device)

    @functools.cached_property
    def probe(self) -> Any:
        place = self.component("probe")
        if place is None:
            return None
        from blendbench.models.miniature.probe import load_probe

        return load_probe(Path(place), self.device)
