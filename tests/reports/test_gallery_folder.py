"""The gallery's folder: what is in it, that nothing is there twice, and that it follows from the database alone."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from synthetic_results import CONFIGURATIONS, INCOMPLETE, NO_OP, item_name, write_results

from blendbench.core.errors import UsageError
from blendbench.reports.gallery import write_gallery
from blendbench.reports.gallery.files import PERIOD, STEP, THUMBNAIL, patch_grid_pattern, place_images, thumbnail_name
from blendbench.results.store import open_results

ITEMS = 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    write_results(folder, items=ITEMS)
    write_gallery(open_results(folder), folder)
    return folder


def _data(gallery: Path) -> dict[str, object]:
    text = (gallery / "data.js").read_text(encoding="utf-8")
    read: dict[str, object] = json.loads(text.removeprefix("gallery.setData(").removesuffix(");\n"))
    return read


def _bytes(gallery: Path) -> dict[str, str]:
    return {
        path.relative_to(gallery).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in gallery.rglob("*")
        if path.is_file()
    }


def test_every_cell_is_there_with_its_numbers(folder: Path) -> None:
    data = _data(folder / "gallery" / "core")
    labels = [entry["label"] for entry in data["configurations"]]  # type: ignore[attr-defined, index]
    names = [metric["name"] for metric in data["metrics"]]  # type: ignore[attr-defined, index]
    assert set(labels) == set(CONFIGURATIONS)
    assert len(data["cells"]) == len(CONFIGURATIONS) * ITEMS * 2  # type: ignore[arg-type]
    wide = (
        open_results(folder).query("SELECT cell_id, grid_energy FROM cell_scores").set_index("cell_id")["grid_energy"]
    )
    for label, item, _, cell_id, image, no_op, error, scores in data["cells"]:  # type: ignore[attr-defined]
        failed = labels[label] == INCOMPLETE and data["items"][item]["id"] == item_name(1)  # type: ignore[index]
        assert (image == -1) == failed == bool(error)
        assert bool(no_op) == (labels[label] == NO_OP)
        value = scores[names.index("grid_energy")]
        assert value.startswith("failed") if failed else value == pytest.approx(wide[cell_id], rel=1e-5)


def test_images_are_named_once_and_share_the_disk_with_the_results(folder: Path) -> None:
    gallery = folder / "gallery" / "core"
    data = _data(gallery)
    images = data["images"]
    assert len(set(images)) == len(images)  # type: ignore[arg-type]
    for name in images:  # type: ignore[attr-defined]
        assert (gallery / name).samefile(folder / name)
    assert not (gallery / "thumbnails").exists()  # these are small enough to be their own


def test_the_same_database_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    once, again = tmp_path / "a", tmp_path / "b"
    write_gallery(open_results(folder), folder, once)
    write_gallery(open_results(folder), folder, again)
    write_gallery(open_results(folder), folder, again)
    assert _bytes(once) == _bytes(again)


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


def _image(folder: Path, name: str, side: int) -> str:
    (folder / f"{name}.png").parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((side, side, 3), 100, np.uint8)).save(folder / f"{name}.png")
    return f"{name}.png"


def test_large_images_get_a_thumbnail_and_what_is_not_needed_goes(tmp_path: Path) -> None:
    results, out = tmp_path / "results", tmp_path / "out"
    out.mkdir()
    sources = {"aa1": _image(results, "aa1", THUMBNAIL + 1), "bb2": _image(results, "bb2", THUMBNAIL)}
    placed = place_images(sources | {"cc3": "gone.png"}, results, out)
    assert set(placed.names) == {"aa1", "bb2"}
    assert placed.small == {"aa1"}
    with Image.open(out / thumbnail_name("aa1")) as small:
        assert max(small.size) == THUMBNAIL
    made = (out / thumbnail_name("aa1")).stat().st_mtime_ns
    assert place_images(sources, results, out) == placed
    assert (out / thumbnail_name("aa1")).stat().st_mtime_ns == made
    place_images({"bb2": sources["bb2"]}, results, out)
    assert not (out / placed.names["aa1"]).exists() and not (out / thumbnail_name("aa1")).exists()
    assert (results / "aa1.png").is_file()


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
