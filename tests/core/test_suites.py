"""Suites are read strictly, and every mistake is reported in one line."""

from pathlib import Path

import pytest
from PIL import Image

from blendbench.core.errors import UsageError
from blendbench.core.suites import Fact, list_suites, load_suite, trial

SUITE = """\
name = "tiny"
version = 1
title = "Tiny"
licence = "Apache-2.0"
blank = "blank.png"

[[items]]
id = "one"
prompt = "a red circle"
reference = "a.png"
reference_caption = "a blue star"
unrelated = "b.png"
relation = "unrelated"
expect = {objects = [["red", "circle"]], background = "white"}
"""


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    for name in ("blank", "a", "b"):
        Image.new("RGB", (16, 16), "gray").save(tmp_path / f"{name}.png")
    (tmp_path / "suite.toml").write_text(SUITE)
    return tmp_path


def test_a_suite_is_read(suite: Path) -> None:
    item = load_suite(suite).items[0]
    assert item.reference == suite / "a.png"
    assert item.expect is not None
    assert item.expect.objects == (("red", "circle"),)
    assert item.expect.style is None
    assert item.reference_expect is None


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("prompt =", "promt =", "did you mean 'prompt'"),
        ('"a.png"', '"gone.png"', "image 'gone.png': no such file"),
        ('relation = "unrelated"', 'relation = "other"', "items.0.relation"),
        ('id = "one"', 'id = "../one"', "items.0.id"),
        ("version = 1", "version = ", "not valid TOML"),
        ('prompt = "a red circle"', 'prompt = ""', "items.0.prompt"),
        ('prompt = "a red circle"', 'prompt = "  "', "items.0.prompt"),
        ('name = "tiny"', 'name = "../tiny"', "name"),
        ('"a.png"', '"../a.png"', "must lie inside"),
        ('"a.png"', '"/a.png"', "must lie inside"),
        ('"a.png"', '"."', "image '.': a folder"),
        ('objects = [["red", "circle"]]', 'objects = [["red"]]', "items.0.expect.objects"),
        ('background = "white"', 'backgroud = "white"', "did you mean 'background'"),
        ('relation = "unrelated"', 'relation = "unrelated"\nsplit = "train"', "items.0.split"),
        ('relation = "unrelated"', 'relation = "unrelated"\nstratum = " "', "items.0.stratum"),
        ("[[items]]", '[primary]\nstyle = "reference_style"\n\n[[items]]', "primary"),
        ("[[items]]", '[primary]\ngain = "../style"\n\n[[items]]', "primary.gain"),
    ],
)
def test_mistakes_in_a_suite_are_named(suite: Path, old: str, new: str, message: str) -> None:
    (suite / "suite.toml").write_text(SUITE.replace(old, new))
    with pytest.raises(UsageError) as caught:
        load_suite(suite)
    assert message in str(caught.value)
    assert "suite.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_strata_splits_and_primaries_are_read_and_are_part_of_the_hash(suite: Path) -> None:
    plain = load_suite(suite)
    assert (plain.items[0].stratum, plain.items[0].split, plain.primaries) == ("unrelated", "", ())
    hashes = {plain.sha256}
    for old, new in (
        ('relation = "unrelated"', 'relation = "unrelated"\nstratum = "unrelated, 1 object"'),
        ('relation = "unrelated"', 'relation = "unrelated"\nsplit = "dev"'),
        ("[[items]]", '[primary]\ngain = "reference_style"\n\n[[items]]'),
    ):
        (suite / "suite.toml").write_text(SUITE.replace(old, new))
        loaded = load_suite(suite)
        item = loaded.items[0]
        found = {item.stratum, item.split, *loaded.primaries}
        assert found & {"unrelated, 1 object", "dev", ("gain", "reference_style")}
        hashes.add(loaded.sha256)
    assert len(hashes) == 4
    trialled = trial(loaded, "a blue ring", None)
    assert trialled.items[0].split == ""


def test_a_suite_is_split_as_a_whole(suite: Path) -> None:
    first = SUITE.replace('relation = "unrelated"', 'relation = "unrelated"\nsplit = "dev"')
    second = SUITE[SUITE.index("[[items]]") :].replace('id = "one"', 'id = "two"')
    (suite / "suite.toml").write_text(first + second)
    with pytest.raises(UsageError, match=r"items\.split: some items have a split and some have none"):
        load_suite(suite)
    (suite / "suite.toml").write_text(first + second.replace("relation =", 'split = "test"\nrelation ='))
    loaded = load_suite(suite)
    assert [[item.id for item in loaded.of_split(split)] for split in ("dev", "test", "")] == [
        ["one"],
        ["two"],
        ["one", "two"],
    ]
    (suite / "suite.toml").write_text(first)
    with pytest.raises(UsageError, match="tiny: the suite has no test items"):
        load_suite(suite).of_split("test")


def test_an_empty_suite_and_a_repeated_id_are_refused(suite: Path) -> None:
    (suite / "suite.toml").write_text(SUITE.partition("[[items]]")[0] + "items = []\n")
    with pytest.raises(UsageError, match="items"):
        load_suite(suite)
    (suite / "suite.toml").write_text(SUITE + "\n[[items]]" + SUITE.partition("[[items]]")[2])
    with pytest.raises(UsageError, match="occurs twice"):
        load_suite(suite)


def test_an_undecodable_image_is_refused(suite: Path) -> None:
    (suite / "a.png").write_bytes(b"not an image")
    with pytest.raises(UsageError, match="not an image that can be read"):
        load_suite(suite)


def test_a_truncated_photo_is_refused(suite: Path) -> None:
    photo = suite / "a.jpg"
    Image.effect_noise((256, 256), 90).save(photo)
    (suite / "suite.toml").write_text(SUITE.replace("a.png", "a.jpg"))
    assert load_suite(suite).items[0].reference == photo
    photo.write_bytes(photo.read_bytes()[: photo.stat().st_size // 2])
    with pytest.raises(UsageError, match=r"reference: image 'a\.jpg': a damaged image"):
        load_suite(suite)


def test_images_are_found_from_any_working_folder(suite: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(suite.parent)
    item = load_suite(suite.name).items[0]
    monkeypatch.chdir("/")
    assert item.reference.is_file()
    assert load_suite(suite).items[0] == item


def test_the_hash_follows_text_and_pixels_but_not_the_place(
    suite: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    before = load_suite(suite).sha256
    moved = tmp_path_factory.mktemp("elsewhere") / "suite"
    suite.rename(moved)
    assert load_suite(moved).sha256 == before
    Image.new("RGB", (16, 16), "white").save(moved / "a.png")
    assert load_suite(moved).sha256 != before


def test_unknown_names_get_a_suggestion() -> None:
    with pytest.raises(UsageError, match="did you mean 'miniature'"):
        load_suite("minature")


@pytest.mark.parametrize("name", list_suites())
def test_shipped_suites_load(name: str) -> None:
    assert len(load_suite(name).items) >= 24


def test_a_private_trial_replaces_what_is_given_and_drops_what_no_longer_holds(tmp_path: Path) -> None:
    suite = load_suite("miniature")
    photo = tmp_path / "mine.png"
    Image.new("RGB", (64, 48), "teal").save(photo)
    other = trial(suite, "a red boat", photo)
    (item,) = other.items
    assert (item.prompt, item.reference, item.expect, item.reference_expect) == ("a red boat", photo, None, None)
    assert other.sha256 != suite.sha256
    assert trial(suite, "a red boat", photo).sha256 == other.sha256
    assert trial(suite, None, photo).items[0].expect == suite.items[0].expect
    photo.write_bytes(b"no image")
    wrong = [(" ", None, "empty"), ("a", photo, "not an image"), ("a", tmp_path / "gone", "no such file")]
    for prompt, image, message in wrong:
        with pytest.raises(UsageError, match=message):
            trial(suite, prompt, image)


def test_facts_and_category_are_read(suite: Path) -> None:
    rows = '[{text = "one circle", foils = ["two circles"]}, {text = "it is red"}]'
    facts = f'category = "shapes"\nfacts = {rows}\nrelation ='
    (suite / "suite.toml").write_text(SUITE.replace("relation =", facts))
    item = load_suite(suite).items[0]
    assert (item.category, item.facts) == ("shapes", (Fact("one circle", ("two circles",)), Fact("it is red")))
    assert trial(load_suite(suite), "a dog", None).items[0].facts == ()


@pytest.mark.parametrize("foils", ['["one circle"]', '["two circles", "two circles"]'])
def test_a_foil_that_is_the_fact_or_another_foil_is_refused(suite: Path, foils: str) -> None:
    facts = f'facts = [{{text = "one circle", foils = {foils}}}]\nrelation ='
    (suite / "suite.toml").write_text(SUITE.replace("relation =", facts))
    with pytest.raises(UsageError, match="'one circle': fact and foils must all be different"):
        load_suite(suite)


def record(name: str) -> str:
    return f'\n[[images]]\nfile = "{name}.png"\nlicence = "CC0-1.0"\norigin = "rendered"\n'


def test_licences_are_recorded_for_all_images_or_for_none(suite: Path) -> None:
    (suite / "suite.toml").write_text(SUITE + "".join(map(record, ("a", "b", "blank"))))
    assert {r.image.name for r in load_suite(suite).images} == {"a.png", "b.png", "blank.png"}
    (suite / "suite.toml").write_text(SUITE + record("a") + record("blank"))
    with pytest.raises(UsageError, match=r"'b.png' has no licence and origin"):
        load_suite(suite)
