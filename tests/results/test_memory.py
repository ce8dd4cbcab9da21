"""Reading in little memory: what DuckDB cannot hold goes to the disk, and what needs more gets it."""

import json
import tempfile
from pathlib import Path

import duckdb
import pytest
from synthetic_results import write_results

from blendbench.results import ingest as ingestion
from blendbench.results import store
from blendbench.results.schema import FORMAT
from blendbench.results.shards import read_shard
from blendbench.results.store import DATABASE, ingest, open_results

# Sorting two million texts takes more than 100 MiB.
SORTED = "SELECT md5(i::VARCHAR) AS text, i FROM range({rows}) r(i) ORDER BY text"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_results(tmp_path / "results", items=2)
    return tmp_path / "results"


def test_what_does_not_fit_is_put_into_a_temporary_folder_and_removed(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(store, "_MEMORY", "64MiB")
    results = open_results(folder)
    before, calls = sorted(folder.iterdir()), list[int]()

    def count(rows: duckdb.DuckDBPyConnection) -> int:
        calls.append(1)
        return len(rows.fetchall())

    # Half of it fits into the memory. It was not asked for once more with all that there is.
    assert results.read(SORTED.format(rows=2_000_000), None, count) == 2_000_000 and len(calls) == 1
    ((place,),) = results.rows("SELECT value FROM duckdb_settings() WHERE name = 'temp_directory'")
    assert Path(place).parent == tmp_path / "temporary"
    assert sorted(folder.iterdir()) == before and not [*(tmp_path / "temporary").iterdir()]


def test_a_query_that_needs_more_memory_gets_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_MEMORY", "1MiB")
    monkeypatch.setattr(store, "_spill", lambda: "")
    results = open_results(folder)
    calls = []

    def count(rows: duckdb.DuckDBPyConnection) -> int:
        calls.append(1)
        return len(rows.fetchall())

    assert results.read(SORTED.format(rows=300_000), None, count) == 300_000
    with results.held():
        assert len(results.rows(SORTED.format(rows=300_000))) == 300_000
        (limit,) = results.rows("SELECT value FROM duckdb_settings() WHERE name = 'memory_limit'")
    assert limit == ("1.0 MiB",)  # within a query, and no longer after the one that needed more


def test_shards_that_need_more_memory_get_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = open_results(folder).rows("FROM scores ORDER BY ALL")
    (folder / DATABASE).unlink()
    monkeypatch.setattr(ingestion._bring_in, "__defaults__", ("2MiB",))
    assert ingest(folder) > 0
    assert open_results(folder).rows("FROM scores ORDER BY ALL") == expected
    assert not (folder / ingestion.WORK).exists()


@pytest.mark.parametrize("ended", [True, False])
def test_the_longest_line_of_a_shard_is_known_wherever_it_begins(ended: bool, tmp_path: Path) -> None:
    header = json.dumps({"format": FORMAT, "sequence": 1, "run_id": "a"}).encode()
    lines = [header, *(b"{}".ljust(length) for length in (3 << 20, 5 << 20, 7))]  # blocks of 4 MiB are read
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\n".join(lines) + b"\n" * ended)
    found = read_shard(path)
    assert (found.longest, found.lines, found.torn) == (5 << 20, 3 + ended, not ended)
