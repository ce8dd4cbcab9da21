"""Check a model set's names, configurations and headers, loading nothing."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from blendbench.core.errors import UsageError
from blendbench.models.families import family_of
from blendbench.models.image_tokens import image_tokens
from blendbench.models.layout import Layout, read_object
from blendbench.models.model_file import ModelSetFile

_TOKENIZER_PARTS = ("merges.txt", "added_tokens.json", "special_tokens_map.json")
# What a scorer's own tokenizer may be in; without one, open_clip has CLIP's built in.
_SCORER_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.txt")
_SCORER = Layout(
    needed=(("open_clip_config.json",),),
    networks=(("", ("open_clip_model", "open_clip_pytorch_model", "model")),),
    optional=("config.json", "tokenizer_config.json", "vocab.json", *_TOKENIZER_PARTS, *_SCORER_TOKENIZERS),
)
_QWEN3_VL = Layout(
    needed=(
        ("config.json",),
        ("chat_template.jinja", "chat_template.json"),
        ("tokenizer.json", "vocab.json"),
        ("tokenizer_config.json",),
        ("preprocessor_config.json", "processor_config.json"),
    ),
    networks=(("", ("model",)),),
    optional=_TOKENIZER_PARTS,
)
_LAYOUTS = {
    "vision_language": _QWEN3_VL,
    "clip": _SCORER,
    "siglip": _SCORER,
    "judge": _QWEN3_VL,
    "probe": Layout(needed=(("config.json",),), networks=(("", ("probe",)),)),
}
_MODEL_TYPE = "qwen3_vl"


def layout(component: str, folder: Path) -> Layout:
    """Return the files of a component.

    Those of a pipeline depend on its family. A pipeline of no known family needs its model_index.json alone:
    `mismatches` reports what is in it.
    """
    if component == "pipeline":
        try:
            return family_of(folder).layout
        except UsageError:
            return Layout(needed=(("model_index.json",),))
    found = _LAYOUTS[component]
    text = (read_object(folder / "open_clip_config.json").get("model_cfg") or {}).get("text_cfg") or {}
    return replace(found, needed=(*found.needed, _SCORER_TOKENIZERS)) if text.get("hf_tokenizer_name") else found


def mismatches(folders: Mapping[str, Path], file: ModelSetFile) -> list[str]:
    """Describe configurations that are unexpected or do not fit each other."""
    lines = list(_vision_language(folders, file))
    if "pipeline" in folders and (folders["pipeline"] / "model_index.json").is_file():
        try:
            family = family_of(folders["pipeline"])(folders["pipeline"], folders.get("vision_language"))
        except UsageError as error:
            lines.append(str(error))
        else:
            lines += family.problems(file)
    return [*lines, *_scorers(folders)]


def _vision_language(folders: Mapping[str, Path], file: ModelSetFile) -> Iterator[str]:
    for component in ("vision_language", "judge"):
        path = folders.get(component, Path()) / "config.json"
        found = read_object(path) if component in folders else {}
        if found and found.get("model_type") != _MODEL_TYPE:
            yield f"{path}: model_type = {found.get('model_type')!r}, expected {_MODEL_TYPE!r}"
    if "vision_language" in folders:
        folder, most = folders["vision_language"], file.vision.max_pixels
        if most < (least := image_tokens(folder).least):
            yield (
                f"vision: max_pixels = {most} is less than {least}, the fewest pixels that the processor in {folder} "
                "makes of an image; raise it"
            )


def _scorers(folders: Mapping[str, Path]) -> Iterator[str]:
    for component in ("clip", "siglip"):
        file = folders.get(component, Path()) / "open_clip_config.json"
        if component not in folders or not file.is_file():
            continue
        model = read_object(file).get("model_cfg") or {}
        for part in ("vision_cfg", "text_cfg"):
            if not isinstance(model.get(part), dict):
                yield f"{file}: model_cfg.{part} = {model.get(part)!r}, expected a table as open_clip writes it"
        has_bias = model.get("init_logit_bias") is not None
        if model and has_bias != (component == "siglip"):
            expected = "a number" if component == "siglip" else "none"
            found = model.get("init_logit_bias")
            yield f"{file}: model_cfg.init_logit_bias = {found!r}, expected {expected}, as {component} models have it"
