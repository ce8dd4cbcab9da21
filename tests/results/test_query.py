"""Statements that people type: reading ones of every kind run, the others get one line."""

import json
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
from synthetic_results import write_results

from blendbench.core.errors import UsageError
from blendbench.results import query as query_module
from blendbench.results.ingest import ingest
from blendbench.results.query import read_only_bytes, read_only_rows
from blendbench.results.store import Results, open_results


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    folder = tmp_path_factory.mktemp("results")
    write_results(folder, items=2, images=False)
    return open_results(folder)


READING = [
    "SELECT 1",
    "-- my query\nSELECT 1 AS one",
    "/* a\ncomment */ FROM runs -- and another",
    "SELECT 1; -- done",
    "SELECT ';' AS semicolon;",
    "  \n FROM runs",
    "WITH x AS (FROM runs) FROM x",
    "VALUES (1), (2)",
    "TABLE runs",
    "PIVOT leaderboard ON metric USING first(mean) GROUP BY label",
    "FROM (PIVOT leaderboard ON metric USING first(mean) GROUP BY label)",
    "UNPIVOT (SELECT items, ok FROM leaderboard) ON items, ok",
    "SUMMARIZE scores",
    "DESCRIBE cells",
    "SHOW TABLES",
    "EXPLAIN SELECT 1",
    "EXPLAIN ANALYZE FROM leaderboard",
    "FROM leaderboard WHERE metric = 'grid_energy' ORDER BY mean LIMIT 3",
]


@pytest.mark.parametrize("query", READING)
def test_reading_statements_give_rows(results: Results, query: str) -> None:
    assert len(read_only_rows(results, query)) > 0


@pytest.mark.parametrize("query", [query for query in READING if not query.startswith("EXPLAIN")])
def test_reading_statements_can_be_written_to_files(results: Results, query: str) -> None:
    rows = json.loads(read_only_bytes(results, query, "json"))
    assert len(rows) == len(read_only_rows(results, query))
    assert read_only_bytes(results, query, "csv").count(b"\n") > 1
    assert read_only_bytes(results, query, "parquet")[:4] == b"PAR1"


WRITING = [
    "DROP TABLE cells",
    "CREATE TABLE x (a INT)",
    "CREATE TEMP TABLE x AS FROM cells",
    "CREATE TABLE x AS PIVOT leaderboard ON metric USING first(mean) GROUP BY label",
    "INSERT INTO cells FROM cells",
    "UPDATE cells SET seed = 1",
    "DELETE FROM cells",
    "TRUNCATE cells",
    "ALTER TABLE cells RENAME TO x",
    "COPY cells TO 'x.csv'",
    "EXPORT DATABASE 'x'",
    "ATTACH ':memory:' AS m",
    "DETACH memory",
    "SET threads = 1",
    "RESET threads",
    "PRAGMA enable_profiling",
    "CALL pragma_version()",
    "CHECKPOINT",
    "VACUUM",
    "BEGIN",
    "USE main",
    "LOAD httpfs",
    "INSTALL httpfs",
    "PREPARE p AS SELECT 1",
    "EXECUTE p",
    "EXPLAIN ANALYZE DELETE FROM cells",
    "EXPLAIN ANALYZE COPY cells TO 'x.csv'",
    "WITH x AS (DELETE FROM cells RETURNING *) FROM x",
    "SELECT 1; SELECT 2",
    "PIVOT leaderboard ON metric USING first(mean) GROUP BY label; DROP TABLE cells",
    "",
    "   ",
    "-- nothing",
    ";",
    "SELECT '\0'",
    "SELEC 1",
    "FROM nowhere",
    "SELECT nope FROM cells",
]


@pytest.mark.parametrize("query", WRITING)
def test_everything_else_gets_one_line_and_changes_nothing(
    results: Results, query: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = results.database.read_bytes()
    for call in (lambda: read_only_rows(results, query), lambda: read_only_bytes(results, query, "csv")):
        with pytest.raises(UsageError, match=r"^query: ") as caught:
            call()
        assert "\n" not in str(caught.value)
    assert results.database.read_bytes() == before and list(tmp_path.iterdir()) == []


ESCAPES = [
    "FROM read_text('{file}')",
    "FROM read_blob('{file}')",
    "FROM '{file}'",
    "FROM read_csv('{file}')",
    "FROM read_json('{file}')",
    "FROM read_parquet('{file}')",
    "FROM glob('{folder}/*')",
    "FROM glob('/*')",
    "FROM read_csv('https://example.org/x.csv')",
    "PIVOT (FROM read_text('{file}')) ON filename",
    "SUMMARIZE '{file}'",
    "DESCRIBE FROM '{file}'",
    "EXPLAIN ANALYZE FROM read_text('{file}')",
    "WITH x AS (FROM read_text('{file}')) FROM x",
    "SELECT (SELECT content FROM read_text('{file}'))",
    "FROM sniff_csv('{file}')",
    "FROM parquet_metadata('{file}')",
    "FROM duckdb_secrets() UNION ALL FROM read_text('{file}')",
]


@pytest.mark.parametrize("query", ESCAPES)
def test_a_reading_statement_reads_the_results_alone(results: Results, tmp_path: Path, query: str) -> None:
    (tmp_path / "other.csv").write_text("secret\n1\n")
    text = query.format(file=tmp_path / "other.csv", folder=tmp_path)
    with pytest.raises(UsageError, match=r"^query: ") as caught:
        read_only_rows(results, text)
    assert "secret" not in str(caught.value)
    with pytest.raises(duckdb.Error):
        results.rows(text)


def sql(folder: Path, *arguments: str, given: str | bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Call the command."""
    command = [sys.executable, "-m", "blendbench", "sql", *arguments, "--results", str(folder)]
    return subprocess.run(
        command, input=given.encode() if isinstance(given, str) else given, capture_output=True, check=False
    )


def test_queries_come_from_arguments_that_begin_with_a_comment_and_from_stdin(results: Results) -> None:
    folder = results.folder
    ingest(folder)
    done = sql(folder, "-- my query\nSELECT 41 + 1 AS answer", "--format", "csv")
    assert (done.returncode, done.stdout) == (0, b"answer\n42\n")
    done = sql(folder, "-", "--format", "json", given="-- from a pipe\nSELECT 1 AS one;\n")
    assert (done.returncode, json.loads(done.stdout)) == (0, [{"one": 1}])
    for bad in (b"", b"\xff", b"DROP TABLE cells"):
        done = sql(folder, "-", given=bad)
        assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (2, b"", 1)


def test_a_query_has_a_time_limit(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(query_module, "SECONDS", 0.2)
    with pytest.raises(UsageError, match=r"query: takes longer than 0\.2 s; ask for less"):
        read_only_rows(
            results, "SELECT count(*) FROM range(100000000) a, range(100000000) b WHERE a.range % 7 = b.range"
        )
    assert len(read_only_rows(results, "FROM cells")) > 0


@pytest.mark.parametrize("written", [False, True])
def test_a_query_has_a_memory_limit_and_writes_nothing_beside_the_database(
    results: Results, monkeypatch: pytest.MonkeyPatch, written: bool
) -> None:
    monkeypatch.setattr(query_module, "MEMORY", "20MB")
    query = "SELECT range, hash(range) AS h FROM range(20000000) ORDER BY h"
    with pytest.raises(UsageError, match="query: needs more than 20MB of memory; ask for less"):
        read_only_bytes(results, query, "csv") if written else read_only_rows(results, query)
    assert not list(results.database.parent.glob("*.tmp"))
