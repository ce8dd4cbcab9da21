"""Publication: pages follow from the data beside them, and a page that does not is found."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from synthetic_results import white_plots, write_results

from blendbench.core.errors import UsageError
from blendbench.reports.leaderboard import write_leaderboard
from blendbench.reports.published import differing, publish
from blendbench.results.export import import_published
from blendbench.results.images import ImageStore
from blendbench.results.store import open_results

REPORTS = Path(__file__).parents[2] / "reports"


@pytest.fixture(scope="module", autouse=True)
def _white_plots() -> Iterator[None]:
    with white_plots():
        yield


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published") / "results"
    write_results(folder)
    return folder


@pytest.fixture(scope="module")
def once(results: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("once")
    publish(results, folder)
    return folder


@pytest.fixture
def published(once: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(once, tmp_path / "reports"))


def test_what_was_published_follows_from_its_data(published: Path) -> None:
    assert {page.name for page in published.glob("*.md")} == {"core.md", "embeddings.md", "findings.md"}
    assert (published / "core" / "images.webp").is_file()
    assert differing(published) == []


def test_the_page_is_the_one_of_the_results_themselves(results: Path, published: Path, tmp_path: Path) -> None:
    *_, page = write_leaderboard(results, tmp_path / "direct", "core")
    # Published values are rounded: now and then a last digit differs, and nothing else.
    texts = [re.sub(r"\d", "0", path.read_text()) for path in (published / "core.md", page)]
    assert texts[0] == texts[1]
    numbers = [re.findall(r"\d+", path.read_text()) for path in (published / "core.md", page)]
    assert sum(a != b for a, b in zip(*numbers, strict=True)) <= len(numbers[0]) / 50


def test_publishing_twice_gives_the_same_bytes_and_without_images_keeps_the_sheets(
    results: Path, published: Path, tmp_path: Path
) -> None:
    whole = {path: path.read_bytes() for path in published.glob("**/*.*") if path.is_file()}
    without = tmp_path / "without"
    shutil.copytree(results / "shards", without / "shards")
    publish(without, published)
    assert {path: path.read_bytes() for path in published.glob("**/*.*") if path.is_file()} == whole


def test_a_damaged_image_is_refused_before_anything_is_written(results: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "results"
    shutil.copytree(results, damaged)
    ((name,), *_) = open_results(damaged).rows("SELECT image_sha256 FROM cells WHERE label = 'canary'")
    ImageStore(damaged).path(name).write_bytes(b"cut")
    with pytest.raises(UsageError, match=r"core: 1 of .* images are damaged or missing; `blendbench run core`"):
        publish(damaged, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_typed_numbers_are_found(published: Path) -> None:
    for page in ("core", "findings"):
        path = published / f"{page}.md"
        path.write_text(path.read_text().replace("0.9", "0.8", 1) + ("" if page == "core" else "x"))
    assert differing(published) == ["core", "findings"]
    assert differing(published, ["core"]) == ["core"]


def test_changed_data_are_found(published: Path) -> None:
    path = published / "data" / "scores.parquet"
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE scores AS FROM read_parquet(?)", [str(path)])
        connection.execute("UPDATE scores SET attribute_adherence = 0")
        connection.execute(f"COPY scores TO '{path}' (FORMAT parquet)")
    assert differing(published, ["core"]) == ["core"]


def test_the_data_hold_the_experiment_and_nothing_else(results: Path, published: Path) -> None:
    packed, whole = import_published(published / "data"), open_results(results)
    for table in ("current_cells", "unit_scores", "paired_effects"):
        query = f"SELECT count(*) FROM {table} WHERE experiment = 'core'"
        assert packed.rows(query) == whole.rows(query) != [(0,)]
    with pytest.raises(UsageError, match="no stored data"):
        differing(published / "nothing")
    with pytest.raises(UsageError, match="no results of this experiment"):
        publish(results, published, ["cores"])


@pytest.mark.skipif(not (REPORTS / "data").is_dir(), reason="no published data in this checkout")
def test_a_page_of_this_repository_is_what_its_data_give() -> None:
    """`make reports` checks all of them."""
    assert differing(REPORTS, ["core"]) == []
