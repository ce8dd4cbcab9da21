"""Merged folders: the same in any order and again; nothing of a stranger's changes what one's own results say."""

import json
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from synthetic_results import Row, append, cell_row, item_name, run_rows, score_row, sha, shard_rows

from blendbench.core.errors import UsageError
from blendbench.results.forget import forget
from blendbench.results.images import ImageStore
from blendbench.results.merge import Merged, merge
from blendbench.results.schema import tables
from blendbench.results.store import open_results

LABELS = ["text_only", "canary", "vision_only"]
SUITE = Row(table="suites", suite="miniature", suite_sha256=sha("suite"), version=1, title="Miniature world")
METRICS = {"grid_energy": 1, "effect_size": 1}


def image(folder: Path, shade: int) -> str:
    import numpy as np

    return ImageStore(folder).save(np.full((4, 4, 3), shade, np.uint8))


def item_row(folder: Path, index: int, **changes: Any) -> Row:
    reference = image(folder, 200 + index)
    row = Row(
        table="items",
        suite_sha256=sha("suite"),
        item=item_name(index),
        prompt="a circle",
        reference_sha256=reference,
        reference_caption="",
        relation="matched",
        reference_image=f"images/{reference[:2]}/{reference}.png",
    )
    return row.changed(**changes)


def write_run(folder: Path, run_id: str, labels: Sequence[str], shade: int = 0, **changes: Any) -> None:
    """Append a run of two items whose pixels depend on `shade`; odd shades fail at the second item."""
    rows = run_rows(run_id, labels=list(labels), items=2, metrics=METRICS, **changes)
    for index in range(2):
        rows.append(item_row(folder, index))
        for place, label in enumerate(labels):
            failed = bool(shade % 2 and index and place)
            pixels = None if failed else image(folder, 10 * place + index + shade)
            cell = cell_row(label, item_name(index), 0, pixels, run_id=run_id)
            rows += [cell, *([score_row(cell, "grid_energy", 0.1 + shade)] if pixels else [])]
    append(folder, run_id, *rows, SUITE)


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Write results of three machines that overlap, and differ in pixels and in what failed."""
    made = [tmp_path_factory.mktemp("homes") / name for name in "abc"]
    for number, folder in enumerate(made):
        for run in range(2):
            write_run(folder, f"run-{folder.name}-{run}", LABELS[: 2 + (run + number) % 2], shade=number * run)
    return made


def part(homes: Sequence[Path], chosen: Sequence[int], target: Path) -> Path:
    """Copy some shards of some machines, with all images of these."""
    paths = sorted(path for home in homes for path in home.glob("shards/*.jsonl"))
    (target / "shards").mkdir(parents=True)
    for index in chosen:
        shutil.copy(paths[index], target / "shards")
        shutil.copytree(paths[index].parents[1] / "images", target / "images", dirs_exist_ok=True)
    return target


def state(folder: Path) -> dict[str, Any]:
    """Return shards, images and database of a folder."""
    with open_results(folder).held() as results:
        return {
            "shards": {path.name: path.read_bytes() for path in folder.glob("shards/*.jsonl")},
            "images": {path.name: path.read_bytes() for path in folder.glob("images/*/*.png")},
            "tables": {name: results.rows(f"FROM {name} ORDER BY ALL") for name in tables()},
        }


PARTS = st.lists(st.integers(0, 5), min_size=1, max_size=4, unique=True)


@pytest.mark.slow
@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(PARTS, PARTS, PARTS)
def test_merging_is_idempotent_commutative_and_associative(
    homes: list[Path], tmp_path_factory: pytest.TempPathFactory, one: list[int], two: list[int], three: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("merge")
    a, b, c = (part(homes, chosen, folder / name) for name, chosen in zip("abc", (one, two, three), strict=True))

    def merged(name: str, *folders: Path) -> Path:
        merge(folders, folder / name)
        return folder / name

    ab = merged("ab", a, b)
    assert state(merged("ba", b, a)) == state(ab)
    assert state(merged("abc", ab, c)) == state(merged("a(bc)", a, merged("bc", b, c)))
    assert {path.name for path in (folder / "abc" / "shards").iterdir()} == {
        path.name for each in (a, b, c) for path in (each / "shards").iterdir()
    }
    before = state(ab)
    assert merge([a, b, ab], ab).shards == 0
    assert state(ab) == before


def test_other_pixels_are_kept_and_named_and_the_latest_run_counts(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    write_run(a, "mine", LABELS)
    write_run(b, "first", LABELS[:1])
    write_run(b, "theirs", LABELS[:2], shade=2)
    done = merge([b], a)
    assert (done.shards, done.missing, done.failed) == (2, 0, 0)
    assert {(cell.label, cell.item, tuple(cell.runs)) for cell in done.differing} == {
        *(("text_only", item_name(index), ("first", "mine", "theirs")) for index in range(2)),
        *(("canary", item_name(index), ("mine", "theirs")) for index in range(2)),
    }
    store = ImageStore(a)
    assert all(store.present(cell.images) == set(cell.images) for cell in done.differing)
    images = dict(open_results(a).rows("SELECT cell_id, image_sha256 FROM cells WHERE label = 'canary'"))
    assert images == {row.cell_id: row.image_sha256 for row in shard_rows(b, "cells") if row.label == "canary"}


def test_failures_and_scores_that_differ_are_counted(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    write_run(a, "mine", LABELS)
    write_run(b, "first", LABELS[:1])
    cells = shard_rows(a, "cells")
    again = [cell_row(cell.label, cell.item, 0, None, run_id="theirs") for cell in cells[1:2]]
    scores = [score_row(cell, "grid_energy", value) for cell, value in zip(cells[2:], (0.1001, 0.2), strict=False)]
    append(b, "theirs", *run_rows("theirs", labels=LABELS, items=2, metrics=METRICS), *again, *scores)
    done = merge([b], a)
    assert (done.failed, done.scores) == (1, 1)


def test_suites_models_and_metric_versions_stay_apart(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    write_run(a, "mine", LABELS)
    other = {"model_set_sha256": sha("other models")}
    append(b, "theirs", *run_rows("theirs", labels=LABELS, items=2, metrics={"grid_energy": 2}, **other))
    merge([b], a)
    results = open_results(a)
    versions = results.rows("SELECT metric, metric_version FROM metrics ORDER BY ALL")
    assert versions == [("effect_size", 1), ("grid_energy", 1), ("grid_energy", 2)]
    # Theirs is the later of the two runs by name, so its models are the current set: what was made with mine is not in.
    assert results.rows("SELECT DISTINCT model_set_sha256 FROM current_sets") == [(sha("other models"),)]
    assert results.rows("FROM current_cells") == []
    assert results.rows("SELECT count(*) FROM cells") == [(6,)]


def renamed(folder: Path) -> None:
    (folder / "shards" / "theirs.jsonl").rename(folder / "shards" / "mine.jsonl")


def linked(folder: Path) -> None:
    path = folder / "shards" / "theirs.jsonl"
    path.rename(folder / "elsewhere.jsonl")
    path.symlink_to(folder / "elsewhere.jsonl")


def edited(old: str, new: str) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        path = folder / "shards" / "theirs.jsonl"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    return edit


def forgotten(folder: Path) -> None:
    forget(folder, "canary")


CHANGES: list[tuple[Callable[[Path], None], str]] = [
    (renamed, "the shard of another run, theirs"),
    (linked, "a link; copy what it leads to"),
    (edited('"sequence":1', '"sequence":2000000000'), "greater than 1000000000"),
    (edited('"reference_image":"images/', '"reference_image":"../images/'), "is not the path of a stored image"),
    (edited('"run_id":"theirs","sampler_sha256"', '"run_id":"mine","sampler_sha256"'), "rows of another run"),
    (edited('"margin":0.005', '"margin":0.5'), "metrics says other things of grid_energy 1"),
    (edited("a circle", "a square"), "items says other things of"),
    (edited("Miniature world", "Mine"), "suites says other things of"),
    (edited('"status":"ok"', '"status":"fine"'), "status is 'fine'"),
    (edited('"cell_id":"', '"cell_id":"../'), "cell_id"),
    (forgotten, "forgot canary of core"),
]


@pytest.mark.parametrize(("change", "reason"), CHANGES)
def test_a_strangers_folder_is_refused_whole(change: Callable[[Path], None], reason: str, tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    write_run(a, "mine", LABELS)
    write_run(b, "theirs", LABELS)
    before = state(a)
    change(b)
    with pytest.raises(UsageError, match=reason):
        merge([b], a)
    assert state(a) == before


def test_an_edited_shard_is_refused_and_one_that_has_grown_is_taken(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    write_run(a, "mine", LABELS)
    shutil.copytree(a, b)
    path = b / "shards" / "mine.jsonl"
    whole = path.read_text()
    (a / "shards" / "mine.jsonl").write_text(whole[: len(whole) // 2])  # as of a run under way
    assert merge([b], a).shards == 1
    assert (a / "shards" / "mine.jsonl").read_text() == whole
    assert merge([a], b).shards == 0
    path.write_text(whole.replace("a circle", "a square"))
    with pytest.raises(UsageError, match="one of them was edited"):
        merge([b], a)


def test_images_that_are_none_are_not_taken(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    write_run(b, "theirs", LABELS)
    damaged, link, *_ = sorted(b.glob("images/*/*.png"))
    damaged.write_bytes(b"nothing")
    kept = tmp_path / "kept.png"
    link.rename(kept)
    link.symlink_to(kept)
    done = merge([b], a)
    assert done == Merged(shards=1, images=6, missing=2, scores=0, failed=0)
    assert not (a / damaged.relative_to(b)).exists()


def test_the_command_says_what_was_found(cli: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    write_run(a, "mine", LABELS)
    write_run(b, "theirs", LABELS, shade=2)
    called = cli("merge", a, b, "--out", tmp_path / "all")
    assert (called.returncode, called.stdout.split(": ")[1]) == (0, "2 shards and 14 images added\n")
    assert "other pixels in other runs: core, text_only, item-00, seed 0: mine, theirs" in called.stderr
    called = cli("merge", a, b, "--out", tmp_path / "all", "--json")
    assert len(json.loads(called.stdout)["differing"]) == 6
    assert cli("merge", tmp_path / "none").returncode == 2


def test_images_of_what_was_forgotten_are_not_missing(tmp_path: Path) -> None:
    write_run(tmp_path / "mine", "run1", LABELS)
    forget(tmp_path / "mine", LABELS[-1])
    assert merge([tmp_path / "mine"], tmp_path / "into").missing == 0
