"""Publication: pages follow from the data beside them, and a page that does not is found."""

import gzip
import json
import shutil
from pathlib import Path

import pytest
from synthetic_results import write_results

from blendbench.core.errors import UsageError
from blendbench.reports.leaderboard import write_leaderboard
from blendbench.reports.published import differing, publish, unpacked
from blendbench.results.store import ingest, open_results

REPORTS = Path(__file__).parents[2] / "reports"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published") / "results"
    write_results(folder)
    ingest(folder)
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
    assert (published / "core" / "images.png").is_file()
    assert differing(published) == []


def test_the_page_is_the_one_of_the_results_themselves(results: Path, published: Path, tmp_path: Path) -> None:
    _, page = write_leaderboard(results, tmp_path / "direct", "core")
    assert (published / "core.md").read_text() == page.read_text()


def test_publishing_twice_gives_the_same_bytes(results: Path, published: Path, tmp_path: Path) -> None:
    publish(results, tmp_path / "again")
    for path in published.glob("**/*.*"):
        if path.is_file():
            assert (tmp_path / "again" / path.relative_to(published)).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("page", ["core", "findings"])
def test_a_typed_number_is_found(published: Path, page: str) -> None:
    path = published / f"{page}.md"
    path.write_text(path.read_text().replace("0.9", "0.8", 1) + ("" if page == "core" else "x"))
    assert differing(published) == [page]


def test_changed_data_are_found(published: Path) -> None:
    packed = published / "data" / "core.jsonl.gz"
    lines = gzip.decompress(packed.read_bytes()).decode().splitlines()
    changed = [json.loads(line) for line in lines]
    score = next(r for r in changed if r["record"] == "score" and r["metric"] == "attribute_adherence")
    score["value"] = 0.0
    packed.write_bytes(gzip.compress("".join(json.dumps(r) + "\n" for r in changed).encode()))
    assert "core" in differing(published)


def test_the_data_hold_the_experiment_and_nothing_else(results: Path, published: Path) -> None:
    with unpacked(published / "data") as folder, open_results(folder) as packed, open_results(results) as whole:
        for table in ("current_cells", "unit_scores", "paired_effects"):
            query = f"SELECT count(*) AS n FROM {table} WHERE experiment = 'core'"
            assert packed.query(query)["n"][0] == whole.query(query)["n"][0] > 0
    with pytest.raises(UsageError, match="no stored data"):
        differing(published / "nothing")
    with pytest.raises(UsageError, match="no results of this experiment"):
        publish(results, published, ["cores"])


@pytest.mark.skipif(not (REPORTS / "data").is_dir(), reason="no published data in this checkout")
def test_the_pages_of_this_repository_are_what_their_data_give() -> None:
    assert differing(REPORTS) == []
