"""CLIP's activation function is stated by something, or the set is refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from blendbench.core.errors import UsageError
from blendbench.models.activation import resolve_activation
from blendbench.models.sets import load_model_set

OPENAI, LAION = "timm/vit_large_patch14_clip_224.openai", "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"


def write(folder: Path, transformers: dict[str, Any] | None = None, **model: Any) -> Path:
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": {"embed_dim": 8, **model}}))
    if transformers is not None:
        (folder / "config.json").write_text(json.dumps(transformers))
    return folder


@pytest.mark.parametrize(
    ("model", "transformers", "declared", "repository", "expected"),
    [
        ({"quick_gelu": True}, None, None, None, "quick_gelu"),
        ({"quick_gelu": False}, None, None, None, "gelu"),
        ({}, {"vision_config": {"hidden_act": "quick_gelu"}}, None, None, "quick_gelu"),
        ({}, {"text_config": {"hidden_act": "gelu"}, "vision_config": {"hidden_act": "gelu"}}, None, None, "gelu"),
        ({}, None, True, None, "quick_gelu"),
        ({}, None, None, OPENAI, "quick_gelu"),
        ({}, None, None, LAION, "gelu"),
        ({"init_logit_bias": -10.0}, None, None, None, "gelu"),
    ],
)
def test_one_statement_decides(
    tmp_path: Path, model: Any, transformers: Any, declared: bool | None, repository: str | None, expected: str
) -> None:
    assert resolve_activation(write(tmp_path, transformers, **model), declared, repository) == expected


@pytest.mark.parametrize(
    "transformers",
    [None, {}, {"text_config": {"hidden_act": "gelu"}, "vision_config": {"hidden_act": "quick_gelu"}}],
    ids=["no config", "no key", "two towers that differ"],
)
@pytest.mark.parametrize("repository", [None, "somebody/clip"])
def test_what_nothing_states_is_refused_with_the_key_to_set(
    tmp_path: Path, transformers: Any, repository: str | None
) -> None:
    with pytest.raises(
        UsageError, match=r"set clip_quick_gelu in model_set\.toml, or model_cfg\.quick_gelu there"
    ) as e:
        resolve_activation(write(tmp_path, transformers), None, repository)
    assert "\n" not in str(e.value)


def test_statements_that_differ_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"clip_quick_gelu of model_set\.toml differ"):
        resolve_activation(write(tmp_path, quick_gelu=True), declared=False)


def test_the_activation_function_is_part_of_the_scorer_and_of_nothing_else(untrained: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(untrained, tmp_path / "set"))
    config = folder / "clip" / "open_clip_config.json"
    config.write_text(config.read_text().replace('    "quick_gelu": false,\n', ""))
    with pytest.raises(UsageError, match="leaves open"):
        load_model_set(folder, "cpu").check()
    text = (folder / "model_set.toml").read_text()
    sets = []
    for value in ("true", "false"):
        (folder / "model_set.toml").write_text(
            text.replace('clip = "clip"', f'clip = "clip"\nclip_quick_gelu = {value}')
        )
        sets.append(load_model_set(folder, "cpu"))
        sets[-1].check()
    assert sets[0].scorer_sha256("clip") != sets[1].scorer_sha256("clip")
    assert sets[0].scorer_sha256("siglip") == sets[1].scorer_sha256("siglip")
    assert sets[0].sha256 == sets[1].sha256
    kinds = {type(part).__name__ for part in sets[0].clip._model.modules()}
    assert "QuickGELU" in kinds
