"""CLIP's activation function, QuickGELU or GELU: other networks of equal weights."""

from pathlib import Path
from typing import Any, Literal

from blendbench.core.errors import UsageError
from blendbench.models.layout import read_object

Activation = Literal["quick_gelu", "gelu"]


def resolve_activation(folder: Path, declared: bool | None = None, repository: str | None = None) -> Activation:
    """Return the activation function that a folder's weights need.

    `folder`: a scorer in open_clip's layout. `declared`: `clip_quick_gelu` of model_set.toml. `repository`: where the
    folder was downloaded from. Errors: UsageError if nothing states the function, or two statements differ.
    """
    config = folder / "open_clip_config.json"
    model = read_object(config).get("model_cfg") or {}
    stated: dict[str, Any] = {
        f"model_cfg.quick_gelu of {config}": model.get("quick_gelu"),
        f"hidden_act of {folder / 'config.json'}": _hidden_act(folder / "config.json"),
        "clip_quick_gelu of model_set.toml": declared,
    }
    found = {key: value for key, value in stated.items() if isinstance(value, bool)}
    if len(set(found.values())) > 1:
        raise UsageError(f"{' and '.join(found)} differ; QuickGELU or GELU is part of what CLIP computes")
    if not found and model.get("init_logit_bias") is not None:
        return "gelu"  # open_clip builds every SigLIP with GELU
    if not found and repository and (known := _known(repository)) is not None:
        return _named(known)
    if not found:
        raise UsageError(
            f"{config} leaves open whether CLIP was trained with QuickGELU (OpenAI's weights were) or GELU; set "
            "clip_quick_gelu in model_set.toml, or model_cfg.quick_gelu there, to true or false"
        )
    return _named(next(iter(found.values())))


def _named(quick: bool) -> Activation:
    return "quick_gelu" if quick else "gelu"


def _hidden_act(path: Path) -> bool | None:
    """Read transformers' activation name where image and text network agree."""
    config = read_object(path)
    parts = [config, config.get("vision_config") or {}, config.get("text_config") or {}]
    names = {part["hidden_act"] for part in parts if isinstance(part, dict) and "hidden_act" in part}
    return {"quick_gelu": True, "gelu": False}.get(names.pop()) if len(names) == 1 else None


def _known(repository: str) -> bool | None:
    """Look a hub repository up in open_clip's list of trained weights."""
    import open_clip

    listed = (open_clip.get_pretrained_cfg(architecture, tag) for architecture, tag in open_clip.list_pretrained())
    known = [bool(entry.get("quick_gelu")) for entry in listed if entry.get("hf_hub") == f"{repository}/"]
    return any(known) if known else None
