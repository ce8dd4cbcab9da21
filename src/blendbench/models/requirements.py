"""What the folders of a model set must hold, told from their names, configurations and headers: nothing is loaded.

Every function returns lines for the user, all of them: what is found, and what was expected.
"""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

# What each component must hold beside its weights; of several names one is enough.
_SMALL: dict[str, tuple[tuple[str, ...], ...]] = {
    "pipeline": (
        ("model_index.json",),
        ("scheduler/scheduler_config.json",),
        ("text_encoder/config.json",),
        ("tokenizer/tokenizer.json", "tokenizer/vocab.json"),
        ("tokenizer/tokenizer_config.json",),
        ("transformer/config.json",),
        ("vae/config.json",),
    ),
    "vision_language": (
        ("config.json",),
        ("chat_template.jinja", "chat_template.json"),
        ("tokenizer.json", "vocab.json"),
        ("tokenizer_config.json",),
        ("preprocessor_config.json", "processor_config.json"),
    ),
    "clip": (("open_clip_config.json",),),
    "siglip": (("open_clip_config.json",),),
    "probe": (("config.json",),),
}
# The networks of each component: sub-folder, and the names that its weights may have, without ".safetensors".
NETWORKS: dict[str, tuple[tuple[str, tuple[str, ...]], ...]] = {
    "pipeline": (
        ("text_encoder", ("model",)),
        ("transformer", ("diffusion_pytorch_model",)),
        ("vae", ("diffusion_pytorch_model",)),
    ),
    "vision_language": (("", ("model",)),),
    "clip": (("", ("open_clip_model", "open_clip_pytorch_model", "model")),),
    "siglip": (("", ("open_clip_model", "open_clip_pytorch_model", "model")),),
    "probe": (("", ("probe",)),),
}
# What a scorer's own tokenizer may be in; without one, open_clip has CLIP's built in.
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.txt")
_PICKLES = (".bin", ".pt", ".pth", ".ckpt")
_CLASSES = {
    ("pipeline", "model_index.json", "_class_name"): "ZImagePipeline",
    ("pipeline", "scheduler/scheduler_config.json", "_class_name"): "FlowMatchEulerDiscreteScheduler",
    ("pipeline", "text_encoder/config.json", "model_type"): "qwen3",
    ("pipeline", "transformer/config.json", "_class_name"): "ZImageTransformer2DModel",
    ("pipeline", "vae/config.json", "_class_name"): "AutoencoderKL",
    ("vision_language", "config.json", "model_type"): "qwen3_vl",
}


def absent(component: str, folder: Path) -> list[str]:
    """Configurations and tokenizer files that are not there."""
    needed = _SMALL[component]
    text = _read(folder / "open_clip_config.json").get("model_cfg", {}).get("text_cfg") or {}
    if text.get("hf_tokenizer_name"):
        needed = (*needed, _TOKENIZERS)
    return [" or ".join(names) for names in needed if not any((folder / name).is_file() for name in names)]


def weight_files(component: str, folder: Path) -> list[Path]:
    """The files that the weights are read from and that are there: all shards, or the one file."""
    return [path for place, names in NETWORKS[component] for path in _shards(folder / place, names) if path.is_file()]


def absent_weights(component: str, folder: Path) -> list[str]:
    """Weight files that are not there or cut short, and pickles in their place."""
    lines: list[str] = []
    for place, names in NETWORKS[component]:
        part = folder / place
        shards = _shards(part, names)
        pickles = sorted(path.name for path in part.glob("*") if path.suffix in _PICKLES)
        if len(shards) == 1 and not shards[0].is_file() and pickles:
            lines.append(
                f"{part} has only pickled weights ({pickles[0]}), which are never loaded; convert them to "
                f"{shards[0].name}"
            )
            continue
        lines += [f"{folder} has no {path.relative_to(folder)}" for path in shards if not path.is_file()]
        lines += [line for path in shards if path.is_file() for line in _cut_short(path)]
    return lines


def _shards(part: Path, names: tuple[str, ...]) -> list[Path]:
    """The files that the weights of one network are in; the one that is expected if there are none."""
    for name in names:
        index = part / f"{name}.safetensors.index.json"
        if index.is_file():
            return [part / file for file in sorted(set(_read(index).get("weight_map", {}).values()))] or [index]
        if (part / f"{name}.safetensors").is_file():
            return [part / f"{name}.safetensors"]
    return [part / f"{names[0]}.safetensors"]


def header(path: Path) -> dict[str, Any]:
    """Name -> {dtype, shape, data_offsets} of a safetensors file. Errors: ValueError if it is none, or cut short."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 0 < length <= size - 8:
            raise ValueError("is not a whole safetensors file")
        found: dict[str, Any] = json.loads(file.read(length))
    found.pop("__metadata__", None)
    end = 8 + length + max((entry["data_offsets"][1] for entry in found.values()), default=0)
    if end != size:
        raise ValueError(f"is cut short or damaged: {size} bytes, expected {end}")
    return found


def parameters(component: str, folder: Path, place: str = "") -> int:
    """How many values the weights of a network hold, from the headers of its files; 0 for what is not there."""
    files = _shards(folder / place, dict(NETWORKS[component])[place])
    return sum(math.prod(e["shape"]) for path in files if path.is_file() for e in header(path).values())


def _cut_short(path: Path) -> list[str]:
    try:
        header(path)
    except ValueError as error:
        return [f"{path} {error}"]
    return []


def mismatches(folders: Mapping[str, Path], text_layer: int) -> list[str]:
    """Configurations of another architecture than Z-Image's, or of parts that do not fit each other."""
    read = {
        (component, file): _read(folders[component] / file)
        for component, file, _ in _CLASSES
        if component in folders and (folders[component] / file).is_file()
    }
    lines = [
        f"{folders[component] / file}: {field} = {read[component, file].get(field)!r}, expected {expected!r}"
        for (component, file, field), expected in _CLASSES.items()
        if (component, file) in read and read[component, file].get(field) != expected
    ]
    # Sizes of another architecture would only repeat the same in other words.
    return lines or [*_sizes(folders, read, text_layer), *_scorers(folders)]


def _sizes(
    folders: Mapping[str, Path], read: Mapping[tuple[str, str], dict[str, Any]], text_layer: int
) -> Iterator[str]:
    transformer = read.get(("pipeline", "transformer/config.json"))
    text = read.get(("pipeline", "text_encoder/config.json"))
    vae = read.get(("pipeline", "vae/config.json"))
    vision = read.get(("vision_language", "config.json"))

    def told(component: str, file: str, field: str, found: Any, expected: Any, why: str) -> Iterator[str]:
        if found != expected:
            yield f"{folders[component] / file}: {field} = {found}, expected {expected}, {why}"

    if transformer and text:
        yield from told(
            "pipeline",
            "transformer/config.json",
            "cap_feat_dim",
            transformer.get("cap_feat_dim"),
            text.get("hidden_size"),
            f"the hidden_size of {folders['pipeline'] / 'text_encoder/config.json'}",
        )
    if transformer and vae:
        yield from told(
            "pipeline",
            "transformer/config.json",
            "in_channels",
            transformer.get("in_channels"),
            vae.get("latent_channels"),
            f"the latent_channels of {folders['pipeline'] / 'vae/config.json'}",
        )
    if vision and text:
        yield from told(
            "vision_language",
            "config.json",
            "text_config.hidden_size",
            vision.get("text_config", {}).get("hidden_size"),
            text.get("hidden_size"),
            f"the hidden_size of {folders['pipeline'] / 'text_encoder/config.json'}",
        )
    states = (text or {}).get("num_hidden_layers", 0) + 1
    if text and not -states <= text_layer < states:
        yield (
            f"{folders['pipeline'] / 'text_encoder/config.json'}: num_hidden_layers = {states - 1}, so there is no "
            f"hidden state {text_layer}, expected by text.layer"
        )


def _scorers(folders: Mapping[str, Path]) -> Iterator[str]:
    for component in ("clip", "siglip"):
        file = folders.get(component, Path()) / "open_clip_config.json"
        if component not in folders or not file.is_file():
            continue
        model = _read(file).get("model_cfg") or {}
        for part in ("vision_cfg", "text_cfg"):
            if not isinstance(model.get(part), dict):
                yield f"{file}: model_cfg.{part} = {model.get(part)!r}, expected a table as open_clip writes it"
        has_bias = model.get("init_logit_bias") is not None
        if model and has_bias != (component == "siglip"):
            expected = "a number" if component == "siglip" else "none"
            found = model.get("init_logit_bias")
            yield f"{file}: model_cfg.init_logit_bias = {found!r}, expected {expected}, as {component} models have it"


def _read(path: Path) -> dict[str, Any]:
    """A JSON object; an empty one if it is none, which every check then reports."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
