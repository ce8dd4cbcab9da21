"""The standard suite: mixed prompts with checkable facts, and images that may be passed on."""

import importlib
import shutil
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import open_clip
import pytest
import skimage.data
from PIL import Image

from blendbench.core.images import image_identity
from blendbench.core.suites import Item, Suite, load_suite
from blendbench.metrics import get_metric
from blendbench.models.sets import load_model_set
from blendbench.run.experiments import load_experiment
from blendbench.run.planning import plan_on_models
from miniature.folder import WEIGHTS

CLIP_LIMIT = 77


@pytest.fixture(scope="module")
def suite() -> Suite:
    return load_suite("standard")


@pytest.fixture(scope="module")
def maker(suite: Suite) -> ModuleType:
    sys.path.insert(0, str(suite.folder))
    module = importlib.import_module("make_images")
    sys.path.remove(str(suite.folder))
    return module


def length(item: Item) -> str:
    """short: 2 to 8 words; long: more tokens than CLIP reads; else medium."""
    if len(item.prompt.split()) <= 8:
        return "short"
    tokens = int((open_clip.tokenize([item.prompt], context_length=400) != 0).sum())
    return "long" if tokens > CLIP_LIMIT else "medium"


def test_categories_lengths_and_relations_are_balanced(suite: Suite) -> None:
    assert len(suite.items) == 108
    per_category = Counter(item.category for item in suite.items)
    assert len(per_category) >= 10
    assert set(per_category.values()) == {9}
    lengths = Counter((item.category, length(item)) for item in suite.items)
    assert set(lengths.values()) == {3}
    assert Counter((item.split, item.relation) for item in suite.items) == {
        ("dev", "matched"): 18,
        ("dev", "unrelated"): 18,
        ("test", "matched"): 36,
        ("test", "unrelated"): 36,
    }
    for n in range(1, len(suite.items) + 1):
        assert abs(sum(item.split == "dev" for item in suite.items[:n]) - n / 3) <= 1
    for split in ("dev", "test"):
        assert set(Counter((i.category, length(i)) for i in suite.of_split(split)).values()) == {
            1 if split == "dev" else 2
        }
    assert min(len(item.prompt.split()) for item in suite.items) >= 2


def test_the_first_items_are_as_mixed_as_the_suite(suite: Suite) -> None:
    first = suite.items[:12]
    assert len({item.category for item in first}) == 12
    assert Counter(map(length, first)) == {"short": 4, "medium": 4, "long": 4}


def test_its_primary_metrics_are_of_their_roles_and_need_no_probe(suite: Suite) -> None:
    assert [role for role, _ in suite.primaries] == ["prompt", "gain", "artifact", "drift"]
    for role, name in suite.primaries:
        assert get_metric(name).info.role == role
        assert not {"reading", "reference_expects"} & set(get_metric(name).needs)


def test_every_prompt_says_something_of_its_own_that_can_be_checked(suite: Suite) -> None:
    assert len({item.prompt for item in suite.items}) == len(suite.items)
    for item in suite.items:
        assert 2 <= len(item.facts) <= 4
        assert item.prompt == item.prompt.strip()
        assert "  " not in item.prompt


@pytest.mark.parametrize("name", ["miniature", "standard"])
def test_every_fact_has_foils_that_are_like_it_and_no_fact_of_its_item(name: str) -> None:
    for item in load_suite(name).items:
        facts = {fact.text.casefold() for fact in item.facts}
        assert len(facts) == len(item.facts), item.id
        for fact in item.facts:
            foils = {foil.casefold() for foil in fact.foils}
            assert len(foils) == len(fact.foils) >= 3, (item.id, fact.text)
            assert not foils & facts, (item.id, fact.text)
            words = len(fact.text.split())
            # A longer or shorter text is nearer to an image or farther from it, whatever the image shows.
            assert all(abs(len(foil.split()) - words) <= 2 for foil in foils), (item.id, fact.text)
            # Encoders of texts read "no cat" as a cat.
            assert not {"no", "not", "without", "none"} & set(" ".join(facts | foils).split()), (item.id, fact.text)


def test_the_unrelated_image_is_another_category_s(suite: Suite) -> None:
    categories: dict[Path, set[str | None]] = {}
    for item in suite.items:
        if item.relation == "matched":
            categories.setdefault(item.reference, set()).add(item.category)
    for item in suite.items:
        assert item.unrelated not in (item.reference, suite.blank, suite.white)
        if item.relation == "matched":
            assert item.category not in categories.get(item.unrelated, set())


def test_every_image_has_a_free_licence_and_an_origin(suite: Suite) -> None:
    assert {record.image for record in suite.images} == set((suite.folder / "images").iterdir())
    for record in suite.images:
        if record.origin.startswith("scikit-image, skimage.data."):
            assert record.licence in ("CC0-1.0", "public domain")
            name = record.origin.removeprefix("scikit-image, skimage.data.").partition(":")[0]
            text = " ".join(str(getattr(skimage.data, name).__doc__).split())
            assert ("CC0" if record.licence == "CC0-1.0" else "public domain") in text.replace("Commons CC0", "CC0")
        else:
            assert record.licence == "Apache-2.0"
            assert "make_images.py" in record.origin


def test_images_are_small_and_in_colour(suite: Suite) -> None:
    paths = [record.image for record in suite.images]
    assert sum(path.stat().st_size for path in paths) <= 5_500_000
    for path in paths:
        with Image.open(path) as image:
            assert image.mode == "RGB"


def test_references_are_as_large_as_their_source_allows(suite: Suite, maker: ModuleType) -> None:
    """1024 pixels a side are 1,024 tokens of Qwen3-VL; photographs are not enlarged."""
    sizes = {path.stem: Image.open(path).size for item in suite.items for path in (item.reference, item.unrelated)}
    assert {size for name, size in sizes.items() if name not in maker.PHOTOS} == {(1024, 1024)}
    photographs = {name: size for name, size in sizes.items() if name in maker.PHOTOS}
    assert photographs == {name: getattr(skimage.data, maker.PHOTOS[name])().shape[1::-1] for name in photographs}
    assert max(max(size) for size in photographs.values()) <= 1024


def test_pairs_show_scenes_of_their_own_in_several_styles(suite: Suite, maker: ModuleType) -> None:
    assert len(suite.pairs) == 32
    assert len({pair.caption for pair in suite.pairs}) == 32
    styles = Counter(words for pair in suite.pairs for words, *_ in maker.STYLES if pair.caption.endswith(f", {words}"))
    assert set(styles.values()) == {4}
    assert sum(styles.values()) == 32
    # A fit must not have seen the items: no image, and no thing that is fitted on, is one of theirs.
    fitted = {path for pair in suite.pairs for path in (pair.image, pair.plain)}
    assert len({image_identity(path) for path in fitted}) == 64
    shown = {path for item in suite.items for path in (item.reference, item.unrelated)}
    assert not {image_identity(path) for path in fitted} & {image_identity(path) for path in shown}
    captions = {item.reference_caption for item in suite.items}
    for things in ("mushroom", "cactus", "snowm", " bus ", "windmill", "owl", "butterfl", "cake", "tent", "bridge",
                   "steamer", "lamp", "whale", "penguin", "pineapple", "guitar"):  # fmt: skip
        assert sum(things in pair.caption for pair in suite.pairs) == 2, things
        assert not any(caption.startswith(f"a {things.strip()}") for caption in captions)


def test_both_images_of_a_pair_have_one_size_and_differ_well_beyond_the_losses_of_jpeg(suite: Suite) -> None:
    for pair in suite.pairs:
        styled, plain = (np.asarray(Image.open(path), np.int16) for path in (pair.image, pair.plain))
        assert styled.shape == plain.shape == (448, 448, 3)
        assert (np.abs(styled - plain).max(axis=2) > 24).mean() > 0.02, pair.caption


@pytest.mark.parametrize("number", [1, 16])
def test_pairs_are_what_the_script_renders(suite: Suite, maker: ModuleType, number: int) -> None:
    caption, styled, plain = maker.pair(number)
    pair = suite.pairs[number - 1]
    assert pair.caption == caption
    assert_alike(styled, pair.image)
    assert_alike(plain, pair.plain)


def test_neutrals_show_nothing(suite: Suite) -> None:
    assert suite.white is not None
    for path, grey in ((suite.blank, 128), (suite.white, 255)):
        assert np.unique(np.asarray(Image.open(path))).tolist() == [grey]


@pytest.mark.parametrize("name", ["castle", "robin", "tea-sign", "teapot", "umbrella"])
def test_rendered_images_are_what_the_script_renders(suite: Suite, maker: ModuleType, name: str) -> None:
    assert_alike(maker.drawn(name), suite.folder / "images" / f"{name}.jpg")


def test_photographs_are_what_scikit_image_has(suite: Suite, maker: ModuleType) -> None:
    for name in maker.PHOTOS:
        assert_alike(maker.photo(name), suite.folder / "images" / f"{name}.jpg")


def assert_alike(made: Image.Image, kept: Path) -> None:
    """Equal up to JPEG's losses, which libraries round differently."""
    with Image.open(kept) as image:
        assert image.size == made.size
        difference = np.asarray(image, np.int16) - np.asarray(made, np.int16)
    assert np.abs(difference).mean() < 6


@pytest.mark.slow
def test_experiments_run_on_it_with_other_models(untrained: Path, tmp_path: Path) -> None:
    """The core experiment is written for the miniature; z-image-turbo's file names this suite."""
    experiment, shipped_set = load_experiment("core"), load_model_set("z-image-turbo")
    assert (experiment.suite, shipped_set.file.suite) == ("miniature", "standard")
    other, renamed = tmp_path / "other", tmp_path / "renamed"
    for source, folder in ((untrained, other), (WEIGHTS, renamed)):
        shutil.copytree(source, folder)
        file = folder / "model_set.toml"
        file.write_text('suite = "standard"\n' + file.read_text(encoding="utf-8"), encoding="utf-8")
    (renamed / "model_set.toml").write_text(
        (renamed / "model_set.toml").read_text(encoding="utf-8").replace('"miniature"', '"renamed"', 1),
        encoding="utf-8",
    )
    assert plan_on_models(experiment, str(other), "cpu")[0].suite.name == "standard"
    # The miniature by another name in another place is still the miniature.
    for same in ("miniature", str(renamed)):
        assert plan_on_models(experiment, same, "cpu")[0].suite.name == "miniature"
    written_for_it = replace(experiment, model_set=str(other))
    assert plan_on_models(written_for_it, str(other), "cpu")[0].suite.name == "miniature"
