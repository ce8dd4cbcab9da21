"""Suites and experiments are read strictly, and every mistake is told in one line."""

from pathlib import Path

import pytest
from PIL import Image

from blendbench.errors import UsageError
from blendbench.experiments import Grid, list_experiments, load_experiment
from blendbench.suites import list_suites, load_suite

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
EXPERIMENT = """\
name = "tiny"
title = "Tiny"
seeds = [0, 1]
strategies = [{name = "text_only"}, {name = "lerp", alpha = [0.1, 0.3], align = ["area", "truncate"], layer = -2}]
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
    ("old", "new", "told"),
    [
        ("prompt =", "promt =", "did you mean 'prompt'"),
        ('"a.png"', '"gone.png"', "'gone.png' is missing"),
        ('relation = "unrelated"', 'relation = "other"', "items.0.relation"),
        ('id = "one"', 'id = "../one"', "items.0.id"),
        ("version = 1", "version = ", "not valid TOML"),
        ('prompt = "a red circle"', 'prompt = ""', "items.0.prompt"),
    ],
)
def test_mistakes_in_a_suite_are_named(suite: Path, old: str, new: str, told: str) -> None:
    (suite / "suite.toml").write_text(SUITE.replace(old, new))
    with pytest.raises(UsageError) as caught:
        load_suite(suite)
    assert told in str(caught.value)
    assert "suite.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_empty_suite_and_a_repeated_id_are_refused(suite: Path) -> None:
    (suite / "suite.toml").write_text(SUITE.partition("[[items]]")[0] + "items = []\n")
    with pytest.raises(UsageError, match="items"):
        load_suite(suite)
    (suite / "suite.toml").write_text(SUITE + "\n[[items]]" + SUITE.partition("[[items]]")[2])
    with pytest.raises(UsageError, match="occurs twice"):
        load_suite(suite)


def test_an_undecodable_picture_is_refused(suite: Path) -> None:
    (suite / "a.png").write_bytes(b"not a picture")
    with pytest.raises(UsageError, match="not a readable picture"):
        load_suite(suite)


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
    with pytest.raises(UsageError, match="did you mean 'smoke'"):
        load_experiment("smok")


@pytest.mark.parametrize("name", list_suites())
def test_shipped_suites_load(name: str) -> None:
    assert len(load_suite(name).items) >= 24


@pytest.mark.parametrize("name", list_experiments())
def test_shipped_experiments_load_and_keep_a_baseline(name: str) -> None:
    experiment = load_experiment(name)
    assert experiment.name == name
    assert experiment.baseline == "text_only"


def test_a_grid_is_expanded_in_the_order_written(tmp_path: Path) -> None:
    path = tmp_path / "tiny.toml"
    path.write_text(EXPERIMENT)
    cells = load_experiment(path).strategies[1].cells()
    assert [(c["alpha"], c["align"]) for c in cells] == [
        (0.1, "area"),
        (0.1, "truncate"),
        (0.3, "area"),
        (0.3, "truncate"),
    ]
    assert {c["layer"] for c in cells} == {-2}


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("seeds =", "seed =", "did you mean 'seeds'"),
        ("seeds = [0, 1]", "seeds = []", "seeds"),
        ('{name = "text_only"}', "{alpha = 1}", "each needs a name"),
        ("alpha = [0.1, 0.3]", "alpha = []", "strategies.lerp.alpha"),
    ],
)
def test_mistakes_in_an_experiment_are_named(tmp_path: Path, old: str, new: str, told: str) -> None:
    path = tmp_path / "tiny.toml"
    path.write_text(EXPERIMENT.replace(old, new))
    with pytest.raises(UsageError) as caught:
        load_experiment(path)
    assert told in str(caught.value)


def test_overrides_replace_values_and_strategies(tmp_path: Path) -> None:
    path = tmp_path / "tiny.toml"
    path.write_text(EXPERIMENT)
    experiment = load_experiment(path)
    changed = experiment.with_overrides({"alpha": ("0", "0.5")}).strategies[1]
    assert [c["alpha"] for c in changed.cells()] == ["0", "0", "0.5", "0.5"]
    assert experiment.with_overrides(strategies=[Grid("lerp", ())]).strategies == (Grid("lerp", ()),)
    with pytest.raises(UsageError, match="did you mean 'alpha'"):
        experiment.with_overrides({"alhpa": ("0",)})
    assert experiment.quick().seeds == (0,)
