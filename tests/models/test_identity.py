"""A model set is what its files contain: never its name, its place, or what lies beside them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from blendbench.models.described import SCORERS
from blendbench.models.sets import load_model_set

Change = Callable[[Path], object]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def copy(untrained: Path, tmp_path: Path) -> Path:
    """A model set folder that a test may change."""
    return Path(shutil.copytree(untrained, tmp_path / "copy"))


def identities(folder: Path) -> dict[str, str | None]:
    models = load_model_set(folder, "cpu")
    return {"pixels": models.sha256, **{name: models.scorer_sha256(name) for name in SCORERS}}


def flip(name: str) -> Change:
    def change(folder: Path) -> None:
        path = folder / name
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(bytes(data))

    return change


def replace(old: str, new: str) -> Change:
    def change(folder: Path) -> None:
        path = folder / "model_set.toml"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    return change


def rewrite(name: str, key: str, value: object) -> Change:
    def change(folder: Path) -> None:
        path = folder / name
        path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))

    return change


def move(folder: Path) -> None:
    (folder / "pipeline").rename(folder / "elsewhere")
    replace('pipeline = "pipeline"', 'pipeline = "elsewhere"')(folder)


def link(folder: Path) -> None:
    kept = folder.parent / "kept"
    (folder / "vision_language").rename(kept)
    (folder / "vision_language").symlink_to(kept, target_is_directory=True)


def add_files(folder: Path) -> None:
    for name in ("README.md", "notes.txt", "other.json", ".git/config.json", "assets/showcase.safetensors"):
        for component in ("pipeline", "pipeline/transformer", "vision_language", "clip", "probe"):
            path = folder / component / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("{}")


@pytest.mark.parametrize(
    "change",
    [
        replace('name = "miniature"', 'name = "mine"'),
        replace('title = "Mini', 'title = "Maxi'),
        replace("version = 1", "version = 2"),
        replace('licence = "Apache-2.0"', 'licence = "other"'),
        move,
        link,
        add_files,
        lambda folder: (folder / "vision_language/generation_config.json").write_text("{}"),
        rewrite("pipeline/scheduler/scheduler_config.json", "shift", 2.0),  # known by the sampler's record
    ],
    ids=["name", "title", "version", "licence", "moved", "linked", "other files", "generation_config", "scheduler"],
)
def test_what_computes_nothing_changes_nothing(untrained: Path, copy: Path, change: Change) -> None:
    change(copy)
    assert identities(copy) == identities(untrained)


@pytest.mark.parametrize(
    "change",
    [
        *(
            flip(name)
            for name in (
                "pipeline/transformer/diffusion_pytorch_model.safetensors",
                "pipeline/vae/diffusion_pytorch_model.safetensors",
                "pipeline/text_encoder/model.safetensors",
                "pipeline/tokenizer/tokenizer.json",
                "pipeline/tokenizer/chat_template.jinja",
                "pipeline/vae/config.json",
                "pipeline/model_index.json",
                "vision_language/model.safetensors",
                "vision_language/tokenizer.json",
                "vision_language/chat_template.jinja",
            )
        ),
        rewrite("vision_language/processor_config.json", "processor_class", "other"),
        replace("layer = -2", "layer = -3"),
        replace("max_sequence_length = 64", "max_sequence_length = 96"),
        replace('"float32"', '"bfloat16"'),
        lambda folder: (folder / "model_set.toml").open("a").write("\n[planted]\ndimensions = [4]\nvalues = [1.0]\n"),
        lambda folder: (folder / "vision_language/preprocessor_config.json").write_text("{}"),
    ],
)
def test_what_makes_pixels_changes_their_identity_alone(untrained: Path, copy: Path, change: Change) -> None:
    before = identities(untrained)
    change(copy)
    after = identities(copy)
    assert after["pixels"] != before["pixels"]
    assert {name: after[name] for name in SCORERS} == {name: before[name] for name in SCORERS}


@pytest.mark.parametrize(
    ("scorer", "file"),
    [
        ("clip", "open_clip_model.safetensors"),
        ("clip", "tokenizer.json"),
        ("siglip", "open_clip_model.safetensors"),
        ("siglip", "tokenizer_config.json"),
        ("probe", "probe.safetensors"),
    ],
)
def test_another_scorer_changes_its_own_identity_alone(untrained: Path, copy: Path, scorer: str, file: str) -> None:
    before = identities(untrained)
    flip(f"{scorer}/{file}")(copy)
    assert {name for name, value in identities(copy).items() if value != before[name]} == {scorer}


def test_a_preprocessing_setting_of_a_scorer_changes_its_identity(untrained: Path, copy: Path) -> None:
    config = copy / "siglip" / "open_clip_config.json"
    config.write_text(config.read_text().replace("bicubic", "bilinear"))
    before = identities(untrained)
    assert {name for name, value in identities(copy).items() if value != before[name]} == {"siglip"}


def test_a_set_without_a_scorer_generates_the_same(untrained: Path, copy: Path) -> None:
    replace('siglip = "siglip"\n', "")(copy)
    after = identities(copy)
    assert after["siglip"] is None
    assert after["pixels"] == identities(untrained)["pixels"]


def test_the_planted_variant_shares_its_scorers_with_the_miniature() -> None:
    plain, planted = (load_model_set(name, "cpu") for name in ("miniature", "miniature-planted"))
    assert plain.sha256 != planted.sha256
    assert [plain.scorer_sha256(name) for name in SCORERS] == [planted.scorer_sha256(name) for name in SCORERS]
