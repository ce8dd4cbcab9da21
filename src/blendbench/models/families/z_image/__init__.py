"""Z-Image: a single-stream transformer with Qwen3 captions and FLUX's VAE."""

import functools
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blendbench.models import sigmas
from blendbench.models.families.base import Denoiser, Facts, Family, TextEncoder
from blendbench.models.layout import Layout, read_object
from blendbench.models.model_file import ModelSetFile, Sampler

if TYPE_CHECKING:
    import torch

_CLASSES = {
    ("scheduler/scheduler_config.json", "_class_name"): "FlowMatchEulerDiscreteScheduler",
    ("text_encoder/config.json", "model_type"): "qwen3",
    ("transformer/config.json", "_class_name"): "ZImageTransformer2DModel",
    ("vae/config.json", "_class_name"): "AutoencoderKL",
}
_TRAIN_TIMESTEPS = 1000
# Keys of the scheduler that a static shift reads, or that only matter to options that are off.
_SCHEDULER_KEYS = {
    "_class_name",
    "_diffusers_version",
    "base_image_seq_len",
    "base_shift",
    "max_image_seq_len",
    "max_shift",
    "num_train_timesteps",
    "shift",
    "time_shift_type",
}
# Layers of the transformer that become fp8: nearly all of its values. What sets scales and gates stays as it is.
FP8_LAYERS = re.compile(
    r"(noise_refiner|context_refiner|layers)\.\d+\.(attention\.to_(q|k|v|out\.0)|feed_forward\.w[123])\.weight"
)
_BUCKET = 32  # the transformer pads captions to multiples of this


@dataclass(frozen=True)
class ZImage(Family):
    """Describe and load Z-Image pipelines, Turbo and base."""

    class_name = "ZImagePipeline"
    capabilities = frozenset({"compilation", "fp8", "guidance", "image_start", "injection"})
    layout = Layout(
        needed=(
            ("model_index.json",),
            ("scheduler/scheduler_config.json",),
            ("text_encoder/config.json",),
            ("tokenizer/tokenizer.json", "tokenizer/vocab.json"),
            ("tokenizer/tokenizer_config.json",),
            ("transformer/config.json",),
            ("vae/config.json",),
        ),
        networks=(
            ("text_encoder", ("model",)),
            ("transformer", ("diffusion_pytorch_model",)),
            ("vae", ("diffusion_pytorch_model",)),
        ),
        identity_ignores=("scheduler/scheduler_config.json",),  # the noise levels stand in the sampler's record
        optional=tuple(
            f"tokenizer/{name}"
            for name in ("merges.txt", "added_tokens.json", "special_tokens_map.json", "chat_template.jinja")
        ),
    )

    def problems(self, file: ModelSetFile) -> Iterator[str]:
        """Yield a line for every configuration entry that does not fit."""
        foreign = [
            f"{self.pipeline / name}: {field} = {found.get(field)!r}, expected {expected!r}"
            for (name, field), expected in _CLASSES.items()
            if (found := self._read(name)) and found.get(field) != expected
        ]
        yield from foreign
        if foreign:
            # Sizes of another architecture would repeat the same in other words.
            return
        yield from self._scheduler_problems()
        yield from self._size_problems(file)

    def _scheduler_problems(self) -> Iterator[str]:
        name = "scheduler/scheduler_config.json"
        config = self._read(name)
        steps = config.get("num_train_timesteps", _TRAIN_TIMESTEPS)
        if steps != _TRAIN_TIMESTEPS:
            yield f"{self.pipeline / name}: num_train_timesteps = {steps!r}, expected {_TRAIN_TIMESTEPS}"
        for key, value in config.items():
            if key not in _SCHEDULER_KEYS and value not in (None, False):
                yield (
                    f"{self.pipeline / name}: {key} = {json.dumps(value)} is not implemented; only a static `shift` "
                    "is, or `sigmas` in model_set.toml"
                )

    def _size_problems(self, file: ModelSetFile) -> Iterator[str]:
        transformer, text = self._read("transformer/config.json"), self._read("text_encoder/config.json")
        vae = self._read("vae/config.json")
        vision = read_object(self.vision_language / "config.json") if self.vision_language else {}

        def compare(path: Path, field: str, found: Any, expected: Any, origin: str) -> Iterator[str]:
            if found != expected:
                yield f"{path}: {field} = {found}, expected {expected}, the {origin}"

        hidden = f"hidden_size of {self.pipeline / 'text_encoder/config.json'}"
        if transformer and text:
            yield from compare(
                self.pipeline / "transformer/config.json",
                "cap_feat_dim",
                transformer.get("cap_feat_dim"),
                text.get("hidden_size"),
                hidden,
            )
        if transformer and vae:
            yield from compare(
                self.pipeline / "transformer/config.json",
                "in_channels",
                transformer.get("in_channels"),
                vae.get("latent_channels"),
                f"latent_channels of {self.pipeline / 'vae/config.json'}",
            )
        if vision and text and self.vision_language:
            yield from compare(
                self.vision_language / "config.json",
                "text_config.hidden_size",
                vision.get("text_config", {}).get("hidden_size"),
                text.get("hidden_size"),
                hidden,
            )
        states, layer = text.get("num_hidden_layers", 0) + 1, file.text.layer
        if text and not -states <= layer < states:
            yield (
                f"{self.pipeline / 'text_encoder/config.json'}: num_hidden_layers = {states - 1}, so there is no "
                f"hidden state {layer}, expected by text.layer"
            )

    @functools.cached_property
    def facts(self) -> Facts:
        """Read facts of the configurations. Errors: OSError, KeyError."""
        transformer, vae = self._config("transformer/config.json"), self._config("vae/config.json")
        stride = 2 ** (len(vae["block_out_channels"]) - 1)
        # The image's positions come after the caption's in the rotary table.
        positions = int(transformer["axes_lens"][0])
        if self.vision_language is None:
            raise KeyError("vision_language")
        vision = json.loads((self.vision_language / "config.json").read_text(encoding="utf-8"))
        return Facts(
            patch_grid=stride * int(transformer["all_patch_size"][0]),
            longest_caption=(positions - 2) // _BUCKET * _BUCKET,
            caption_bucket=_BUCKET,
            blocks=int(transformer["n_layers"]),
            caption_width=int(transformer["cap_feat_dim"]),
            hidden_states=int(vision["text_config"]["num_hidden_layers"]) + 1,
            deepstack=len(vision["vision_config"]["deepstack_visual_indexes"]),
        )

    def sigmas(self, sampler: Sampler) -> tuple[float, ...]:
        """Return the noise levels of all steps and the final 0."""
        shift = sampler.shift
        if shift is None:
            shift = float(self._config("scheduler/scheduler_config.json").get("shift", 1.0))
        return sigmas.resolve(sampler.steps, shift, sampler.sigmas)

    def load_text_encoder(self, folder: Path, file: ModelSetFile, dtype: "torch.dtype", device: str) -> TextEncoder:
        """Load Qwen3. Errors: ValueError if weights are missing."""
        from blendbench.models.families.z_image.text import Qwen3TextEncoder, load_text_encoder

        encoder, tokenizer = load_text_encoder(folder, dtype, device)
        return Qwen3TextEncoder(encoder, tokenizer, file.text.layer, file.text.max_sequence_length, file.planted)

    def load_denoiser(
        self, folder: Path, file: ModelSetFile, dtype: "torch.dtype", device: str, compiled: bool, recorded: bool
    ) -> Denoiser:
        """Load transformer and VAE. Errors: ValueError if weights are missing."""
        from blendbench.models.loading import read_network

        with ThreadPoolExecutor(2, "weights") as readers:
            # Importing the classes takes longer than reading their weights: both at once.
            narrow = "transformer" if file.sampler.precision == "fp8" else None
            reading = {
                name: readers.submit(read_network, folder / name, dtype, device, FP8_LAYERS if name == narrow else None)
                for name in ("transformer", "vae")
            }
            from blendbench.models.compilation import graphs_folder
            from blendbench.models.families.z_image.denoiser import Guidance, ZImageDenoiser
            from blendbench.models.families.z_image.pipeline import make_pipeline
            from blendbench.models.families.z_image.replays import Recorder

            # Nothing but the networks may hold their weights: compilation joins some, and frees what they were.
            pipeline = make_pipeline(folder, {name: reading.pop(name).result() for name in list(reading)})
        sampler = file.sampler
        return ZImageDenoiser(
            pipeline,
            (sampler.height, sampler.width),
            self.sigmas(sampler),
            Guidance(sampler.guidance, sampler.cfg_normalization),
            file.planted,
            compiled,
            graphs_folder(),
            Recorder() if recorded else None,
        )

    def _read(self, name: str) -> dict[str, Any]:
        return read_object(self.pipeline / name)

    def _config(self, name: str) -> dict[str, Any]:
        config: dict[str, Any] = json.loads((self.pipeline / name).read_text(encoding="utf-8"))
        return config
