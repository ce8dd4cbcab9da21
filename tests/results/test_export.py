"""Published data: small, the same bytes each time, and everything that a page reads."""

from pathlib import Path

import duckdb
import pytest
from synthetic_results import append, cell_row, item_name, run_rows, score_row, sha, write_results

from blendbench.core.errors import UsageError
from blendbench.results.export import export_experiments, import_published, published_experiments
from blendbench.results.store import Results, open_results

VIEWS = ("current_cells", "current_scores", "unit_scores", "paired_effects", "current_metrics", "embedding_statistics")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    folder = tmp_path_factory.mktemp("results")
    write_results(folder, items=2, images=False)
    cell = cell_row("canary", item_name(0), 0, sha("p"), cell_id=sha("x"), run_id="run2", experiment="other")
    append(folder, "run2", *run_rows("run2", "other"), cell, score_row(cell, "grid_energy", 0.5))
    return open_results(folder)


def test_pages_read_the_same_from_published_data(results: Results, tmp_path: Path) -> None:
    export_experiments(results, ["core", "other"], tmp_path)
    with import_published(tmp_path) as published:
        for view in VIEWS:
            rows = published.rows(f"FROM {view} ORDER BY ALL")
            assert rows == results.rows(f"FROM {view} ORDER BY ALL") and rows, view
        assert published.rows("FROM orphans") == []
        database = published.database
    assert not database.exists()
    assert published_experiments(tmp_path) == ["core", "other"]


def test_the_same_results_give_the_same_bytes(results: Results, tmp_path: Path) -> None:
    for name in ("a", "b"):
        export_experiments(results, ["core", "other"], tmp_path / name)
    export_experiments(results, ["core"], tmp_path / "b")  # once more in the place of what is there
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert files == sorted(path.name for path in (tmp_path / "b").iterdir()) and "scores.parquet" in files
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_publishing_one_experiment_leaves_the_others_as_they_were(results: Results, tmp_path: Path) -> None:
    export_experiments(results, ["other"], tmp_path)
    assert published_experiments(tmp_path) == ["other"]
    export_experiments(results, ["core"], tmp_path)
    with import_published(tmp_path) as published:
        found = published.rows("SELECT experiment, count(*) FROM current_scores GROUP BY ALL ORDER BY 1")
    assert found == results.rows("SELECT experiment, count(*) FROM current_scores GROUP BY ALL ORDER BY 1")


def test_what_is_replaced_is_gone(results: Results, tmp_path: Path) -> None:
    export_experiments(results, ["core"], tmp_path / "out")
    write_results(tmp_path / "fewer", items=1, images=False)
    export_experiments(open_results(tmp_path / "fewer"), ["core"], tmp_path / "out")
    with import_published(tmp_path / "out") as published:
        assert published.rows("SELECT DISTINCT item FROM cells") == [(item_name(0),)]
        assert published.rows("FROM orphans") == []


def test_the_files_are_plain_parquet(results: Results, tmp_path: Path) -> None:
    export_experiments(results, ["core"], tmp_path)
    with duckdb.connect() as connection:
        path = str(tmp_path / "scores.parquet")
        assert connection.execute("SELECT count(*) FROM read_parquet(?)", [path]).fetchall()[0][0] > 500
        codecs = connection.execute("SELECT DISTINCT compression FROM parquet_metadata(?)", [path]).fetchall()
    assert codecs == [("ZSTD",)]


def test_what_is_no_published_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no stored data"):
        import_published(tmp_path)
    assert published_experiments(tmp_path) == []
    with duckdb.connect() as connection:
        connection.execute(f"COPY (SELECT 1 AS x) TO '{tmp_path / 'runs.parquet'}'")
    with pytest.raises(UsageError, match=r"runs\.parquet: not published data"):
        import_published(tmp_path)
