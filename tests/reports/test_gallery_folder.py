"""The gallery's folder: its content, without anything twice, follows from the database alone."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from synthetic_results import CONFIGURATIONS, INCOMPLETE, NO_OP, item_name, write_results

from blendbench.core.errors import UsageError
from blendbench.reports.gallery.links import find_gallery
from blendbench.reports.gallery.write import (
    PERIOD,
    STEP,
    THUMBNAIL,
    patch_grid_pattern,
    place_images,
    thumbnail_name,
    write_gallery,
)
from blendbench.results.images import ImageStore
from blendbench.results.store import open_results

ITEMS = 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    write_results(folder, items=ITEMS)
    write_gallery(open_results(folder), folder)
    return folder


def _data(gallery: Path) -> dict[str, Any]:
    text = (gallery / "data.js").read_text(encoding="utf-8")
    read: dict[str, Any] = json.loads(text.removeprefix("gallery.setData(").removesuffix(");\n"))
    return read


def _bytes(gallery: Path) -> dict[str, str]:
    return {
        path.relative_to(gallery).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in gallery.rglob("*")
        if path.is_file()
    }


def test_every_cell_is_there_with_its_numbers(folder: Path) -> None:
    data = _data(folder / "gallery" / "core")
    labels = [entry["label"] for entry in data["configurations"]]
    names = [metric["name"] for metric in data["metrics"]]
    assert set(labels) == set(CONFIGURATIONS)
    assert len(data["cells"]) == len(CONFIGURATIONS) * ITEMS * 2
    wide = dict(open_results(folder).rows("SELECT cell_id, grid_energy FROM cell_scores"))
    for label, item, _, cell_id, image, no_op, error, scores in data["cells"]:
        failed = labels[label] == INCOMPLETE and data["items"][item]["id"] == item_name(1)
        assert (image == -1) == failed == bool(error)
        assert bool(no_op) == (labels[label] == NO_OP)
        value = scores[names.index("grid_energy")]
        assert value.startswith("failed") if failed else value == pytest.approx(wide[cell_id], rel=1e-5)


def test_images_are_named_once_and_share_the_disk_with_the_results(folder: Path) -> None:
    gallery = folder / "gallery" / "core"
    data = _data(gallery)
    images = data["images"]
    assert len(set(images)) == len(images)
    for name in images:
        assert (gallery / name).samefile(folder / name)
    assert not (gallery / "thumbnails").exists()  # these are small enough to be their own


@pytest.fixture(scope="module")
def elsewhere(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the gallery outside of the results."""
    out = tmp_path_factory.mktemp("elsewhere") / "gallery"
    write_gallery(open_results(folder), folder, out)
    return out


def test_the_same_database_gives_the_same_bytes(folder: Path, elsewhere: Path, tmp_path: Path) -> None:
    for _ in range(2):
        write_gallery(open_results(folder), folder, tmp_path / "again")
        assert _bytes(tmp_path / "again") == _bytes(elsewhere)


def test_a_folder_with_something_else_is_left_alone(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UsageError, match="is no gallery"):
        write_gallery(open_results(folder), folder, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_without_images_nothing_is_written(tmp_path: Path) -> None:
    write_results(tmp_path, items=1, images=False)
    with pytest.raises(UsageError, match="none of the images"):
        write_gallery(open_results(tmp_path), tmp_path)
    assert not (tmp_path / "gallery").exists()


def test_large_images_get_a_thumbnail_and_what_is_not_needed_goes(tmp_path: Path) -> None:
    store, out = ImageStore(tmp_path / "results"), tmp_path / "out"
    out.mkdir()
    large, little = (store.save(np.full((side, side, 3), 100, np.uint8)) for side in (THUMBNAIL + 1, THUMBNAIL))
    placed = place_images([large, little, "0" * 64], store, out)
    assert set(placed.names) == {large, little}
    assert placed.small == {large}
    with Image.open(out / thumbnail_name(large)) as small:
        assert max(small.size) == THUMBNAIL
    made = (out / thumbnail_name(large)).stat().st_mtime_ns
    assert place_images([large, little], store, out) == placed
    assert (out / thumbnail_name(large)).stat().st_mtime_ns == made
    place_images([little], store, out)
    assert not (out / placed.names[large]).exists() and not (out / thumbnail_name(large)).exists()
    assert store.path(large).is_file()


@pytest.mark.parametrize("name", ["data.js", "patch_grid.js", "index.html"])
def test_a_file_that_a_killed_process_left_half_written_is_written_again(
    folder: Path, elsewhere: Path, tmp_path: Path, name: str
) -> None:
    out = shutil.copytree(elsewhere, tmp_path / "gallery")
    whole = _bytes(out)
    (out / name).write_bytes((out / name).read_bytes()[:-20])
    if name == "data.js":
        assert find_gallery(out) is None
    write_gallery(open_results(folder), folder, out)
    assert _bytes(out) == whole


def test_damaged_images_are_left_out_and_counted(folder: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    shutil.copytree(folder, results)
    ((cut,), (gone,)) = open_results(results).rows(
        "SELECT image_sha256 FROM cells WHERE label = 'canary' AND seed = 0 ORDER BY item"
    )
    store = ImageStore(results)
    store.path(gone).unlink()
    store.path(cut).unlink()
    store.path(cut).write_bytes(b"cut")
    page, images, left_out = write_gallery(open_results(results), results)
    assert left_out == 2 and images == len(_data(page.parent)["images"])
    assert not any(sha256 in name for name in _data(page.parent)["images"] for sha256 in (cut, gone))


@pytest.mark.parametrize("amplitude", [1, 3])
def test_the_patch_grid_pattern_is_what_was_laid_over_an_image_and_not_its_content(amplitude: int) -> None:
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:512, :512]
    content = 110 + 60 * np.sin(columns / 90) + 40 * ((rows - 200) ** 2 + (columns - 300) ** 2 < 90**2)
    content = content + rng.normal(scale=4, size=content.shape)
    grid = amplitude * ((rows % PERIOD < 1) | (columns % PERIOD < 1))
    plain, laid = (
        np.rint(layer).clip(0, 255).astype(np.uint8)[..., None].repeat(3, 2) for layer in (content, content + grid)
    )
    tile = np.where((np.arange(PERIOD) < 1)[:, None] | (np.arange(PERIOD) < 1), amplitude, 0).astype(float)
    found = patch_grid_pattern(laid) * STEP
    assert np.abs(found - (tile - tile.mean())).max() < 0.5
    assert np.abs(patch_grid_pattern(plain) * STEP).max() < 0.5


def test_images_smaller_than_a_period_have_no_pattern() -> None:
    assert not patch_grid_pattern(np.zeros((8, 8, 3), np.uint8)).any()
