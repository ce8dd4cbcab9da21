"""`[vision] max_pixels`: what Qwen3-VL sees of an image, known before it is loaded and part of the identity."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from blendbench.core.errors import UsageError
from blendbench.core.suites import load_suite
from blendbench.models.image_tokens import ImageTokens, image_tokens
from blendbench.models.sets import load_model_set
from blendbench.registry.strategies import parse_configuration
from blendbench.run.inputs import reference_tokens

OFFICIAL = {"shortest_edge": 65536, "longest_edge": 16777216}  # preprocessor_config.json of Qwen3-VL-4B-Instruct


@pytest.fixture
def large(untrained: Path, tmp_path: Path) -> Path:
    """A model set whose processor has the official limits."""
    folder = Path(shutil.copytree(untrained, tmp_path / "large"))
    config = folder / "vision_language" / "processor_config.json"
    made = json.loads(config.read_text())
    made["image_processor"]["size"] = OFFICIAL
    config.write_text(json.dumps(made))
    return folder


def limit(folder: Path, pixels: int) -> Path:
    file = folder / "model_set.toml"
    file.write_text(file.read_text().partition("\n[vision]")[0] + f"\n[vision]\nmax_pixels = {pixels}\n")
    return folder


@pytest.mark.parametrize(
    ("size", "pixels", "tokens"),
    [
        ((1024, 1024), 1024 * 1024, 1024),
        ((2048, 1536), 1024 * 1024, 972),  # 3,072 at the processor's own limit
        ((2048, 1536), 16777216, 3072),
        ((512, 512), 1024 * 1024, 256),
        ((64, 64), 1024 * 1024, 64),  # made larger, to the fewest pixels
    ],
)
def test_the_limit_acts_on_the_images_that_are_encoded(
    large: Path, tmp_path: Path, size: tuple[int, int], pixels: int, tokens: int
) -> None:
    models, path = load_model_set(limit(large, pixels), "cpu"), tmp_path / "image.png"
    Image.new("RGB", size, "red").save(path)
    assert models.image_tokens.count(size[1], size[0]) == tokens
    processed = models.vision.processor(
        text=[models.vision._turn("a star")], images=[Image.open(path)], return_tensors="pt"
    )
    assert int(processed["image_grid_thw"][0].prod()) == 4 * tokens


def test_a_set_is_known_by_a_limit_that_acts_and_by_no_other(untrained: Path, large: Path, tmp_path: Path) -> None:
    def identity(folder: Path) -> str:
        return load_model_set(folder, "cpu").sha256

    before, copy = identity(untrained), Path(shutil.copytree(untrained, tmp_path / "copy"))
    # The miniature's processor makes 128 x 128 pixels of every image.
    for pixels in (16384, 16385, 1024 * 1024):
        assert identity(limit(copy, pixels)) == before
    unset = identity(large)
    known = {pixels: identity(limit(large, pixels)) for pixels in (65536, 1024 * 1024 - 1, 1024 * 1024, 16777215)}
    assert known[1024 * 1024] == unset  # the default
    assert len({*known.values(), identity(limit(large, 16777216))}) == 5
    assert identity(limit(large, 16777216)) == identity(limit(large, 99999999))


def test_the_shipped_set_of_the_real_models_shows_qwen_at_most_1024_tokens() -> None:
    assert load_model_set("z-image-turbo", "cpu").file.vision.max_pixels == 1024 * 1024


def test_a_limit_below_what_the_processor_makes_is_refused(large: Path) -> None:
    with pytest.raises(UsageError, match=r"vision: max_pixels = 65535 is less than 65536, the fewest pixels"):
        load_model_set(limit(large, 65535), "cpu").check()


def test_older_folders_state_the_sizes_in_a_file_of_their_own(large: Path) -> None:
    folder = large / "vision_language"
    config = json.loads((folder / "processor_config.json").read_text())["image_processor"]
    (folder / "processor_config.json").write_text(json.dumps({"processor_class": "Qwen3VLProcessor"}))
    (folder / "preprocessor_config.json").write_text(json.dumps(config))
    assert image_tokens(folder) == ImageTokens(32, 65536, 16777216)
    assert load_model_set(large, "cpu").vision.processor.image_processor.size["longest_edge"] == 1024 * 1024


@pytest.mark.parametrize(
    ("label", "tokens"),
    [
        ("text_only", None),
        ("self_alignment", None),
        ("vision_only", 837),
        ("lerp:reference=noise", 837),
        ("lerp:reference=unrelated", 1024),
        ("blank_reference", 1024),
    ],
)
def test_the_tokens_of_what_a_configuration_reads(large: Path, label: str, tokens: int | None) -> None:
    suite, counting = load_suite("standard"), load_model_set(large, "cpu").image_tokens
    item = next(item for item in suite.items if item.reference.stem == "hubble" and item.unrelated.stem == "robin")
    assert reference_tokens(parse_configuration(label), item, suite, counting) == tokens
