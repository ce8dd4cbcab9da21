"""From shards to rows, by DuckDB: reading a million JSON lines one by one in Python would take a minute.

What is unusual is left to Python: if a line is not as this version writes it, all lines are read by `read_shards`,
which fills in what older versions did not write, and names shard and line of what is wrong.
"""

import json
import tempfile
import types
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

import duckdb

from blendbench.results.records import (
    RECORD_TYPES,
    CellEmbeddingRecord,
    CellRecord,
    ConditioningRecord,
    EmbeddingAnalysisRecord,
    EmbeddingDimensionRecord,
    EmbeddingValueRecord,
    ItemRecord,
    Record,
    RunRecord,
    ScoreRecord,
    StageTimeRecord,
    StrategyRecord,
    SuiteRecord,
    VoteRecord,
    to_line,
)
from blendbench.results.shards import read_shards

# Table of each record type and what makes two of its rows the same row; stage times have no identity but themselves.
TABLES: dict[type[Record], tuple[str, tuple[str, ...]]] = {
    RunRecord: ("runs", ("run_id",)),
    SuiteRecord: ("suites", ("suite_sha256",)),
    ItemRecord: ("items", ("suite_sha256", "item")),
    StrategyRecord: ("strategies", ("strategy", "version", "source_sha256")),
    CellRecord: ("cells", ("experiment", "cell_id")),
    ScoreRecord: ("scores", ("cell_id", "metric", "metric_version")),
    StageTimeRecord: ("stage_times", ("run_id", "stage", "seconds", "count")),
    ConditioningRecord: ("conditionings", ("conditioning_sha256",)),
    EmbeddingAnalysisRecord: ("embedding_analyses", ("analysis_id",)),
    EmbeddingValueRecord: (
        "embedding_values", ("analysis_id", "layer", "tokens", "position_0", "reference", "statistic"),
    ),
    EmbeddingDimensionRecord: (
        "embedding_dimensions", ("analysis_id", "layer", "tokens", "position_0", "reference", "dimension"),
    ),
    CellEmbeddingRecord: ("cell_embeddings", ("cell_id", "stage", "sha256")),
    VoteRecord: ("votes", ("vote_id",)),
}  # fmt: skip
# HUGEINT holds the generator seeds beyond 2^63; the tables' own types are narrower.
_TYPES = {str: "VARCHAR", int: "HUGEINT", float: "DOUBLE", bool: "BOOLEAN", dict: "JSON", list: "JSON"}
_LONGEST_LINE = 256 * 1024 * 1024


@dataclass(frozen=True)
class Staged:
    """What lies ready in the temporary tables `staged_<table>`: how many records, and torn last lines left out."""

    records: int
    torn_lines: int


class _UnusualError(Exception):
    """A line is not as this version writes it."""


def stage(connection: duckdb.DuckDBPyConnection, paths: list[Path]) -> Staged:
    """Fill a temporary table for every record type, with one row a key.

    An ok record is not replaced by one that is not, else the later one stays; runs count in the order they started.

    Errors: UsageError naming shard and line of a bad record.
    """
    try:
        return _stage(connection, paths)
    except (_UnusualError, duckdb.Error):
        read = read_shards(paths[0].parents[1])
    with tempfile.TemporaryDirectory() as folder:
        rewritten = Path(folder) / "all.jsonl"
        with rewritten.open("w", encoding="utf-8") as file:
            file.writelines(f"{to_line(record)}\n" for record in read.records)
        staged = _stage(connection, [rewritten])
    return Staged(staged.records, read.torn_lines)


def _stage(connection: duckdb.DuckDBPyConnection, paths: list[Path]) -> Staged:
    torn = _read_lines(connection, paths)
    counted = connection.execute("SELECT kind, count(*) FROM lines GROUP BY kind").fetchall()
    if any(kind not in RECORD_TYPES for kind, _ in counted):
        raise _UnusualError
    for kind in TABLES:
        _stage_table(connection, kind)
    connection.execute("DROP TABLE lines")
    return Staged(sum(count for _, count in counted), torn)


def _read_lines(connection: duckdb.DuckDBPyConnection, paths: list[Path]) -> int:
    """All whole lines in the order they count, as the temporary table `lines`; the number of torn ones."""
    connection.execute("CREATE OR REPLACE TEMP TABLE read (shard INTEGER, n BIGINT, line JSON)")
    torn = 0
    for shard, path in enumerate(paths):
        whole, is_torn = _whole_lines(path)
        torn += is_torn
        connection.execute(
            f"""
            INSERT INTO read SELECT ?, n, json FROM (
                SELECT row_number() OVER () AS n, json
                FROM read_ndjson_objects(?, ignore_errors = true, maximum_object_size = {_LONGEST_LINE})
            ) WHERE n <= ?
            """,
            [shard, str(path), whole],
        )
    connection.execute(
        """
        CREATE OR REPLACE TEMP TABLE lines AS
        WITH started AS (
            SELECT shard, arg_min(line ->> '$.started_at', n) AS started_at FROM read
            WHERE line ->> '$.record' = 'run' GROUP BY shard
        )
        SELECT line ->> '$.record' AS kind, coalesce(started_at, '') AS started_at, shard, n, line
        FROM read LEFT JOIN started USING (shard)
        """
    )
    connection.execute("DROP TABLE read")
    return torn


def _whole_lines(path: Path) -> tuple[int, bool]:
    """How many lines end with a newline, and whether something stands after the last of them."""
    count, last = 0, b"\n"
    with path.open("rb") as file:
        while block := file.read(1 << 24):
            count += block.count(b"\n")
            last = block[-1:]
    return count, last != b"\n"


def _stage_table(connection: duckdb.DuckDBPyConnection, kind: type[Record]) -> None:
    table, key = TABLES[kind]
    columns = _columns(kind)
    unusual = connection.execute(
        f"SELECT count(*) FROM lines WHERE kind = '{kind.record}' AND len(json_keys(line)) <> {len(columns) + 1}"
    )
    if unusual.fetchall() != [(0,)]:
        raise _UnusualError
    staged, structure = f"staged_{table}", json.dumps(columns)
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE {staged} AS
        SELECT started_at AS _started_at, shard AS _shard, n AS _n, unnest(from_json_strict(line, '{structure}'))
        FROM lines WHERE kind = '{kind.record}'
        """
    )
    keys = ", ".join(f"{staged}.{name}" for name in key)
    twice = connection.execute(f"SELECT count(*) - count(DISTINCT ({keys})) FROM {staged}").fetchall()
    if twice != [(0,)]:
        ok_first = f"{staged}.status = 'ok' DESC, " if "status" in columns else ""
        connection.execute(
            f"""
            CREATE OR REPLACE TEMP TABLE {staged} AS SELECT * FROM {staged} QUALIFY row_number() OVER (
                PARTITION BY {keys} ORDER BY {ok_first}_started_at DESC, _shard DESC, _n DESC
            ) = 1
            """
        )


def _columns(kind: type[Record]) -> dict[str, str]:
    hints = get_type_hints(kind)
    return {field.name: _TYPES[_plain(hints[field.name])] for field in fields(kind)}


def _plain(hint: Any) -> type:
    """The type of a field without `| None` and without what a list or dict holds."""
    if get_origin(hint) in (Union, types.UnionType):
        hint = next(part for part in get_args(hint) if part is not types.NoneType)
    return get_origin(hint) or hint
