"""Images are paired by seed, and in their order where seeds do not say it."""

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from blendbench.core.errors import UsageError
from blendbench.core.suites import load_suite
from blendbench.run.matching import Found, Naming, file_pattern, match, pair, read_table


def found(*images: tuple[str, int | None]) -> list[Found]:
    return [Found(Path(f"{number:03}.png"), item, seed) for number, (item, seed) in enumerate(images)]


def test_equal_seeds_are_paired_whatever_their_order() -> None:
    pairing = pair(found(("a", 9), ("a", 3), ("b", 5)), found(("b", 5), ("a", 3), ("a", 9), ("b", 6)))
    assert (pairing.items, pairing.numbers, pairing.same_noise) == (("a", "b"), (0,), 2)
    pairing = pair(found(("a", 9), ("a", 3)), found(("a", 3), ("a", 9)))
    assert {unit: image.noise_seed for unit, image in pairing.candidate.items()} == {("a", 0): 3, ("a", 1): 9}
    assert pairing.same_noise == 2 and not pairing.left_out


def test_other_seeds_take_the_places_that_are_left_and_are_counted() -> None:
    pairing = pair(found(("a", 9), ("a", 100), ("a", None)), found(("a", 3), ("a", 9)))
    assert [pairing.candidate["a", number].noise_seed for number in pairing.numbers] == [100, 9]
    assert pairing.same_noise == 1
    assert pairing.left_out == ("002.png: no baseline image is left for item a",)
    unknown = pair(found(("a", None)), found(("a", None)))
    assert unknown.same_noise == 0


def test_the_numbers_of_a_baseline_do_not_depend_on_the_candidate() -> None:
    baseline = found(("a", 1), ("a", 2), ("b", 1))
    assert pair(found(("a", 2)), baseline).numbers == (1,)
    assert pair(found(("a", 2)), baseline).numbered == pair(found(("b", 1)), baseline).numbered


def test_every_item_keeps_equally_many_pairs_and_the_most_are_kept() -> None:
    baseline = found(*((item, seed) for item in "abc" for seed in range(3)))
    several = pair(found(("a", 0), ("a", 1), ("a", 2), ("b", 0), ("b", 1), ("c", 0)), baseline)
    assert (several.items, several.numbers) == (("a", "b"), (0, 1))
    assert len(several.candidate) == len(several.baseline) == 4 and len(several.left_out) == 2


def test_without_a_common_item_nothing_is_paired() -> None:
    with pytest.raises(UsageError, match="no item has an image in both folders"):
        pair(found(("a", 1)), found(("b", 1)))


@pytest.mark.parametrize(
    ("pattern", "name", "item", "seed"),
    [
        ("{item}_{seed}", "my-item_2_17", "my-item_2", "17"),
        ("{item}", "one", "one", None),
        ("{any}-{item}-s{seed}", "lerp 0.3-one-s4", "one", "4"),
        ("({item})", "(one)", "one", None),
    ],
)
def test_patterns_of_file_names(pattern: str, name: str, item: str, seed: str | None) -> None:
    match = file_pattern(pattern).fullmatch(name)
    assert match and match["item"] == item and match.groupdict().get("seed") == seed


@pytest.mark.parametrize("pattern", ["{seed}", "{item}{item}", "{items}", "plain"])
def test_other_patterns_are_refused(pattern: str) -> None:
    with pytest.raises(UsageError, match="--pattern"):
        file_pattern(pattern)


def test_a_table_needs_its_columns(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("file,item,seed,more\n sub/a.png , one ,3,x\n,two,4,\n")
    assert read_table(path) == {"a.png": {"file": "sub/a.png", "item": "one", "seed": "3", "more": "x"}}
    path.write_text("file, item, seed\nC:\\blend\\a.png,one,3\nplain/a.png,one,3\n")
    assert {name: (row["item"], row["seed"]) for name, row in read_table(path).items()} == {"a.png": ("one", "3")}
    path.write_text("name,item\n")
    with pytest.raises(UsageError, match="file, and item or prompt"):
        read_table(path)


def test_a_table_that_contradicts_itself_or_states_no_seed_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("file,item,seed\nx/a.png,one,3\nb.png,two,3.0\ny/a.png,one,4\nb.png,two,-1\n")
    with pytest.raises(UsageError) as refused:
        read_table(path)
    said = [problem.split(": ", 1)[1] for problem in refused.value.problems]
    assert said == [
        "line 3: seed = '3.0'; write a whole number from 0, or nothing",
        "line 4: another line says otherwise of a.png; give each file a name of its own",
        "line 5: another line says otherwise of b.png; give each file a name of its own",
        "line 5: seed = '-1'; write a whole number from 0, or nothing",
    ]


def test_a_name_that_fits_two_items_belongs_to_neither(tmp_path: Path) -> None:
    suite = load_suite("miniature")
    suite = replace(
        suite, items=tuple(replace(suite.items[n], id=name) for n, name in enumerate(("cat", "cat-2", "d")))
    )
    for name in ("cat-2-7", "cat-7", "d-8", "e-9", "cat"):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{name}.png")
    exact = match(tmp_path, suite, Naming(pattern=file_pattern("{item}-{seed}")))
    assert [(image.path.stem, image.item, image.noise_seed) for image in exact.images] == [
        ("cat-2-7", "cat-2", 7),
        ("cat-7", "cat", 7),
        ("d-8", "d", 8),
    ]
    assert exact.left_out[0] == "cat.png: its name does not fit the pattern"
    assert exact.left_out[1].startswith("e-9.png: the suite has no item 'e'")
    loose = match(tmp_path, suite, Naming(pattern=file_pattern("{item}-{any}")))
    assert "cat-2-7.png: its name fits the items cat and cat-2; make the pattern exact" in loose.left_out
    assert [image.item for image in loose.images] == ["cat", "d"]
