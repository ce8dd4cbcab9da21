"""Ingesting in little memory: what DuckDB cannot hold goes to the disk, and what needs more gets it."""

import json
from pathlib import Path

import pytest
from synthetic_results import write_results

from blendbench.results import ingest as ingestion
from blendbench.results.schema import FORMAT
from blendbench.results.shards import read_shard
from blendbench.results.store import DATABASE, ingest, open_results


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_results(tmp_path / "results", items=2)
    return tmp_path / "results"


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
