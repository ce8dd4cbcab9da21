"""Forgotten configurations are gone from every table, and a later run brings them back."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from synthetic_results import CONFIGURATIONS, append, item_name, run_rows, shard_rows, write_results

from blendbench.core.errors import UsageError
from blendbench.results.forget import Forgotten, forget
from blendbench.results.images import ImageStore
from blendbench.results.store import DATABASE, open_results

ITEMS = 3
LABEL = "lerp:alpha=0.5,align=area"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_results(tmp_path, items=ITEMS)
    return tmp_path


def everything(folder: Path) -> dict[str, list[tuple[object, ...]]]:
    results = open_results(folder)
    return {
        table: results.rows(f"FROM {table} ORDER BY ALL") for table in ("cells", "planned_configurations", "scores")
    }


def test_a_configuration_leaves_every_view_and_the_rest_stays(folder: Path) -> None:
    results = open_results(folder)
    board = "SELECT * FROM leaderboard WHERE label <> ? ORDER BY experiment, label, metric"
    others = results.rows(board, [LABEL])
    images = {image for (image,) in results.rows("SELECT image_sha256 FROM cells WHERE label = ?", [LABEL])}
    kept = {image for (image,) in results.rows("SELECT image_sha256 FROM cells WHERE label <> ?", [LABEL])}
    done = forget(folder, LABEL)
    assert done == Forgotten("core", LABEL, 2 * ITEMS, len(images - kept))
    results = open_results(folder)
    for view in (
        "cells",
        "current_cells",
        "expected_cells",
        "unit_scores",
        "leaderboard",
        "pairs",
        "planned_configurations",
    ):
        assert results.rows(f"SELECT count(*) FROM {view} WHERE label = ?", [LABEL]) == [(0,)], view
    assert results.rows(board, [LABEL]) == others
    assert results.rows("FROM orphans") == []
    store = ImageStore(folder)
    assert not any(store.path(str(image)).exists() for image in images - kept)
    assert all(store.path(str(image)).exists() for image in kept if image)


def test_the_database_made_anew_is_the_same_and_so_is_one_after_a_later_run(folder: Path) -> None:
    cells = [row for row in shard_rows(folder, "cells") if row.label == LABEL]
    forget(folder, LABEL)
    gone = everything(folder)
    (folder / DATABASE).unlink()
    assert everything(folder) == gone
    append(folder, "run2", *run_rows("run2", labels=["text_only", LABEL], items=ITEMS))
    append(
        folder,
        "run3",
        *run_rows("run3", labels=["text_only", LABEL], items=ITEMS),
        *(cell.changed(run_id="run3") for cell in cells),
    )
    back = everything(folder)
    ids = {cell.cell_id for cell in cells}
    assert ids == {row[1] for row in back["cells"]} & ids
    (folder / DATABASE).unlink()
    assert everything(folder) == back
    assert open_results(folder).rows(
        "SELECT DISTINCT ok, missing, expected FROM leaderboard WHERE label = ? AND metric = 'grid_energy'", [LABEL]
    ) == [(2 * ITEMS, 0, 2 * ITEMS)]


def test_images_that_something_else_uses_stay(folder: Path) -> None:
    cell = next(row for row in shard_rows(folder, "cells") if row.label == LABEL)
    shared = next(row for row in shard_rows(folder, "cells") if row.label == "canary")
    reference = next(row for row in shard_rows(folder, "cells") if row.label == LABEL and row.cell_id != cell.cell_id)
    item = shard_rows(folder, "items")[0].changed(
        reference_image=f"images/{reference.image_sha256[:2]}/{reference.image_sha256}.png"
    )
    append(folder, "run2", *run_rows("run2", items=ITEMS), item, shared.changed(image_sha256=cell.image_sha256))
    forget(folder, LABEL)
    store = ImageStore(folder)
    assert store.present([cell.image_sha256, reference.image_sha256]) == {cell.image_sha256, reference.image_sha256}


def test_what_an_interrupted_call_left_is_removed_by_the_next(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as killed:
        killed.setattr(ImageStore, "remove", lambda self, images: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            forget(folder, LABEL)
    assert open_results(folder).rows("SELECT count(*) FROM cells WHERE label = ?", [LABEL]) == [(0,)]
    left = forget(folder, LABEL)
    assert left.cells == 0
    assert left.images > 0
    assert forget(folder, LABEL).images == 0


def test_what_cannot_be_forgotten_is_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"did you mean 'lerp:alpha=0\.5,align=area'"):
        forget(folder, "lerp:alpha=0.5,align=areas")
    with pytest.raises(UsageError, match=f"text_only: {len(CONFIGURATIONS) - 1} configurations of core are compared"):
        forget(folder, "text_only")
    with pytest.raises(UsageError, match=r"cores: no results of this experiment.*did you mean 'core'"):
        forget(folder, LABEL, "cores")
    append(folder, "run2", *run_rows("run2", experiment="other", items=1, labels=["text_only", LABEL]))
    with pytest.raises(UsageError, match="2 experiments have it; name one by --experiment: core, other"):
        forget(folder, LABEL)
    assert forget(folder, LABEL, "other") == Forgotten("other", LABEL, 0, 0)
    assert open_results(folder).rows("SELECT count(*) FROM cells WHERE label = ?", [LABEL]) == [(2 * ITEMS,)]


def test_the_command_says_what_it_removed(
    cli: Callable[..., subprocess.CompletedProcess[str]], folder: Path, tmp_path: Path
) -> None:
    done = cli("forget", LABEL, "--results", folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{LABEL}: {2 * ITEMS} cells removed from core, and ")
    empty = cli("forget", LABEL, "--results", tmp_path / "none")
    assert (empty.returncode, len(empty.stderr.splitlines())) == (2, 1)
    assert not (tmp_path / "none").exists()
    assert item_name(0) in {item for (item,) in open_results(folder).rows("SELECT DISTINCT item FROM cells")}
