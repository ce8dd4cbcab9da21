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
    CellBatchRecord,
    CellEmbeddingRecord,
    CellRecord,
    ConditioningRecord,
    EmbeddingAnalysisRecord,
    EmbeddingDimensionRecord,
    EmbeddingValueRecord,
    ItemRecord,
    MemoryPlanRecord,
    Record,
    RunRecord,
    ScoreRecord,
    StageMemoryRecord,
    StageTimeRecord,
    StrategyRecord,
    SuiteRecord,
    VoteRecord,
    WeightFileRecord,
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
    StageMemoryRecord: ("stage_memory", ("run_id", "stage")),
    MemoryPlanRecord: ("memory_plans", ("run_id",)),
    WeightFileRecord: ("weight_files", ("model_set_sha256", "component", "file")),
    CellBatchRecord: ("cell_batches", ("cell_id",)),
    ConditioningRecord: ("conditionings", ("conditioning_sha256",)),
    EmbeddingAnalysisRecord: ("embedding_analyses", ("analysis_id",)),
    EmbeddingValueRecord: (
        "embedding_values",
        ("analysis_id", "layer", "tokens", "position_0", "reference", "statistic"),
    ),
    EmbeddingDimensionRecord: (
        "embedding_dimensions",
        ("analysis_id", "layer", "tokens", "position_0", "reference", "dimension"),
    ),
    CellEmbeddingRecord: ("cell_embeddings", ("cell_id", "stage", "sha256")),
    VoteRecord: ("votes", ("vote_id",)),
}
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
    whole, torn = _read_lines(connection, paths)
    counted = dict(connection.execute("SELECT kind, count(*) FROM lines GROUP BY kind").fetchall())
    # DuckDB passes over empty lines.
    if sum(counted.values()) != whole or not counted.keys() <= RECORD_TYPES.keys():
        raise _UnusualError
    for kind in TABLES:
        _stage_table(connection, kind, counted.get(kind.record, 0))
    connection.execute("DROP TABLE lines")
    return Staged(whole, torn)


def _read_lines(connection: duckdb.DuckDBPyConnection, paths: list[Path]) -> tuple[int, int]:
    """All whole lines in the order they count, as the temporary table `lines`; how many are whole and how many torn."""
    connection.execute("CREATE OR REPLACE TEMP TABLE lines (kind VARCHAR, shard INTEGER, n BIGINT, line JSON)")
    whole = torn = 0
    for shard, path in enumerate(sorted(paths, key=lambda path: (_started_at(path), path.name))):
        count, is_torn = _whole_lines(path)
        whole, torn = whole + count, torn + is_torn
        connection.execute(
            f"""
            INSERT INTO lines SELECT json ->> '$.record', ?, n, json FROM (
                SELECT row_number() OVER () AS n, json
                FROM read_ndjson_objects(?, ignore_errors = true, maximum_object_size = {_LONGEST_LINE})
            ) WHERE n <= ?
            """,
            [shard, str(path), count],
        )
    return whole, torn


def _started_at(path: Path) -> str:
    """When the run of a shard started; a run says so in its first line, and what is no run counts as earliest."""
    with path.open("rb") as file:
        for line in file:
            if b'"record":"run"' in line:
                try:
                    return str(json.loads(line)["started_at"])
                except (ValueError, KeyError) as error:
                    raise _UnusualError from error
    return ""


def _whole_lines(path: Path) -> tuple[int, bool]:
    """How many lines end with a newline, and whether something stands after the last of them."""
    count, last = 0, b"\n"
    with path.open("rb") as file:
        while block := file.read(1 << 24):
            count += block.count(b"\n")
            last = block[-1:]
    return count, last != b"\n"


def _stage_table(connection: duckdb.DuckDBPyConnection, kind: type[Record], count: int) -> None:
    table, key = TABLES[kind]
    columns = _columns(kind)
    staged, structure = f"staged_{table}", json.dumps(columns)
    chosen = f"kind = '{kind.record}'" if count else "false"
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE {staged} AS
        SELECT shard AS _shard, n AS _n, len(json_keys(line)) AS _fields, unnest(from_json_strict(line, '{structure}'))
        FROM lines WHERE {chosen}
        """
    )
    keys = ", ".join(f"{staged}.{name}" for name in key)
    # Hashes are quicker to count than keys; two keys with one hash only cost the sort.
    unusual, twice = connection.execute(
        f"SELECT count(*) FILTER (_fields <> {len(columns) + 1}), count(*) - count(DISTINCT hash({keys})) FROM {staged}"
    ).fetchall()[0]
    if unusual:
        raise _UnusualError
    if twice:
        ok_first = f"{staged}.status = 'ok' DESC, " if "status" in columns else ""
        connection.execute(
            f"""
            CREATE OR REPLACE TEMP TABLE {staged} AS SELECT * FROM {staged}
            QUALIFY row_number() OVER (PARTITION BY {keys} ORDER BY {ok_first}_shard DESC, _n DESC) = 1
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
