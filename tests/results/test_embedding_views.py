"""The tables and views of hidden states: what is there, sorted either way, the latest analysis only."""

from pathlib import Path

import duckdb
import pytest
from synthetic_results import Row, append, embedding_rows, item_name, sha, write_results

from blendbench.results.store import ingest, open_results


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_results(tmp_path, items=1, images=False)
    return tmp_path


def test_values_keep_their_interval_or_their_absence(folder: Path) -> None:
    rows = open_results(folder).query("SELECT statistic, value, low, high FROM embedding_statistics ORDER BY 1")
    assert rows["statistic"].tolist() == ["pearson", "std"]
    assert rows.iloc[0, 1:].isna().all()
    assert rows.iloc[1, 1:].tolist() == [7.0, 6.5, 7.5]


def test_outliers_are_two_sided(folder: Path) -> None:
    rows = open_results(folder).query("SELECT dimension, side, factor FROM embedding_outliers ORDER BY factor DESC")
    assert rows.values.tolist() == [[4, "lacks", 43.0], [8, "exceeds", 2.0]]


def test_the_views_show_the_latest_analysis_of_a_model_set_and_suite(folder: Path) -> None:
    append(folder, "embeddings-later", *embedding_rows("analysis2", started_at="1999-11-21T10:00:00Z"))
    results = open_results(folder)
    assert results.query("SELECT DISTINCT analysis_id FROM embedding_statistics").values.tolist() == [["analysis2"]]
    assert len(results.query("FROM embedding_values")) == 4


def test_an_analysis_that_is_written_twice_counts_once(folder: Path) -> None:
    before = len(open_results(folder).query("FROM embedding_dimensions"))
    append(folder, "embeddings-again", *embedding_rows())
    assert len(open_results(folder).query("FROM embedding_dimensions")) == before


def test_a_cell_leads_to_its_files(folder: Path) -> None:
    cell = sha("cell", "canary", item_name(0), 0)
    append(folder, "run2", Row(table="cell_embeddings", cell_id=cell, stage="conditioning", sha256=sha("c")))
    rows = open_results(folder).query(
        "SELECT stage, layer, path FROM embedding_files WHERE label = 'canary' ORDER BY 1"
    )
    assert rows["stage"].tolist() == ["conditioning", "vision"]
    assert rows["path"].tolist() == [f"embeddings/{sha(name)}.safetensors" for name in ("c", "v")]
    assert rows["layer"].tolist()[1] == -2


def test_numbers_that_are_not_finite_are_refused_by_the_tables(folder: Path) -> None:
    ingest(folder)
    with duckdb.connect(str(folder / "blendbench.duckdb")) as connection, pytest.raises(duckdb.ConstraintException):
        connection.execute("UPDATE embedding_values SET value = 'inf'::DOUBLE")
