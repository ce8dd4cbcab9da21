"""The miniature's suite is what its maker writes, balanced, and distinct from what is fitted on."""

import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from blendbench.core.errors import UsageError
from blendbench.core.images import image_identity, load_image
from blendbench.core.suites import Suite, load_suite
from blendbench.models.miniature.suite import ITEMS, MOST_FRESH, _content, cases, fresh, pairs, write_suite


@pytest.fixture(scope="module")
def suite() -> Suite:
    return load_suite("miniature")


def test_the_maker_writes_the_same_text_and_pixels(suite: Suite, tmp_path: Path) -> None:
    write_suite(tmp_path)
    assert (tmp_path / "suite.toml").read_text() == (suite.folder / "suite.toml").read_text()
    names = sorted(path.name for path in (suite.folder / "images").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "images").iterdir())
    for name in names:
        made, kept = (load_image(folder / "images" / name).pixels for folder in (tmp_path, suite.folder))
        assert np.array_equal(made, kept), name


def test_strata_and_splits_are_balanced_in_every_prefix(suite: Suite) -> None:
    assert (suite.name, suite.version, len(suite.items)) == ("miniature", 4, 288)
    assert set(Counter((item.stratum, item.split) for item in suite.items).items()) == {
        ((f"{relation}, {objects}", split), count)
        for relation in ("matched", "unrelated")
        for objects in ("1 object", "2 objects")
        for split, count in (("dev", 24), ("test", 48))
    }
    for n in range(1, len(suite.items) + 1):
        prefix = suite.items[:n]
        strata = Counter(item.stratum for item in prefix)
        assert max(strata.values()) - min([*strata.values(), *[0] * (4 - len(strata))]) <= 1
        assert abs(sum(item.split == "dev" for item in prefix) - n / 3) <= 1.01
        for stratum, count in strata.items():
            dev = sum(item.split == "dev" for item in prefix if item.stratum == stratum)
            assert abs(dev - count / 3) <= 1
    for split in ("dev", "test"):
        stated = [item.expect.style is not None for item in suite.items if item.split == split and item.expect]
        assert sum(stated) * 3 == len(stated)


def test_a_stratum_is_what_its_item_is(suite: Suite) -> None:
    for item in suite.items:
        assert item.expect is not None and item.reference_expect is not None
        own = {part for pair in item.expect.objects for part in pair}
        shown = {part for pair in item.reference_expect.objects for part in pair}
        assert item.stratum.startswith(item.relation)
        assert item.stratum.partition(", ")[2][0] == str(len(item.expect.objects))
        assert (own == shown) if item.relation == "matched" else not own & shown
        assert item.reference_expect.style not in (None, "flat", item.expect.style)


def test_items_differ_from_each_other_and_from_the_pairs(suite: Suite) -> None:
    assert len({item.prompt for item in suite.items}) == ITEMS
    assert len({item.reference_caption for item in suite.items}) == ITEMS
    assert len({image_identity(item.reference) for item in suite.items}) == ITEMS
    fitted = {image_identity(path) for pair in suite.pairs for path in (pair.image, pair.plain)}
    assert not fitted & {image_identity(item.reference) for item in suite.items}
    shown = {_content(styled) for styled, _ in pairs()}
    for case in itertools.islice(cases(), ITEMS):
        assert not shown & {_content(case.scene), _content(case.reference)}


def test_the_controls_image_has_nothing_of_the_item(suite: Suite) -> None:
    by_file = {item.reference: item.reference_expect for item in suite.items}
    for item in suite.items:
        other = by_file[item.unrelated]
        assert other is not None and item.expect is not None and item.reference_expect is not None
        assert other.style != item.reference_expect.style
        for own in (item.expect, item.reference_expect):
            assert other.background != own.background
            assert not {p for pair in other.objects for p in pair} & {p for pair in own.objects for p in pair}


def test_fresh_items_are_new_and_more_of_them_begin_with_the_same(suite: Suite, tmp_path: Path) -> None:
    few, more = fresh(suite, 5, "", tmp_path / "few"), fresh(suite, 24, "", tmp_path / "more")
    assert [item.id for item in more.items[:5]] == [item.id for item in few.items]
    assert [image_identity(i.reference) for i in more.items[:5]] == [image_identity(i.reference) for i in few.items]
    assert (few.name, few.sha256) == (more.name, more.sha256) == ("miniature-fresh", few.sha256)
    assert few.sha256 != suite.sha256
    assert not {item.prompt for item in more.items} & {item.prompt for item in suite.items}
    assert not {item.id for item in more.items} & {item.id for item in suite.items}
    assert len({item.prompt for item in more.items}) == 24
    assert Counter(item.stratum for item in more.items) == Counter(item.stratum for item in suite.items[:24])
    assert Counter(item.split for item in more.items) == {"dev": 8, "test": 16}
    test = fresh(suite, 16, "test", tmp_path / "test")
    assert [item.id for item in test.items] == [item.id for item in more.items if item.split == "test"]
    with pytest.raises(UsageError, match="2001 fresh items: the world has 2,000 at most"):
        fresh(suite, MOST_FRESH + 1, "", tmp_path)
