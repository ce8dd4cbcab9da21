"""The DuckDB file of a results folder: filled from the shards in one transaction, read while nothing holds it open."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import duckdb
import pandas as pd

from blendbench.errors import UsageError
from blendbench.hashing import canonical_json, sha256_json
from blendbench.results.records import (
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
)
from blendbench.results.shards import read_shards, shard_paths

DATABASE = "blendbench.duckdb"
LOCK_TIMEOUT = 20.0  # seconds to wait for another process that reads or writes the file
_HERE = Path(__file__).parent
# In the order of their dependencies.
VIEWS = (
    "current_sets",
    "current_cells",
    "expected_cells",
    "current_metrics",
    "unit_scores",
    "paired_effects",
    "no_effect_cells",
    "failures",
    "cell_scores",
    "leaderboard",
    "current_embedding_analyses",
    "embedding_statistics",
    "embedding_outliers",
    "embedding_files",
    "vote_differences",
    "vote_agreement",
)
# Table of each record type and what makes two of its rows the same row; stage times have no identity but themselves.
_TABLES: dict[type[Record], tuple[str, tuple[str, ...]]] = {
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
_CARD_FIELDS = ("title", "kind", "direction", "unit", "margin", "decimals")


@dataclass(frozen=True)
class Ingested:
    """What `ingest` did: records read (0 if no shard had changed) and torn last lines left out."""

    records: int
    torn_lines: int


def ingest(results_dir: Path | str) -> Ingested:
    """Bring `<results_dir>/blendbench.duckdb` up to date with the shards, in one transaction.

    The tables are a function of the shards alone: ingesting again changes nothing, and a deleted database comes back.
    Errors: UsageError for a folder without results, a bad shard line, a database of a newer blendbench.
    """
    folder = Path(results_dir)
    if not shard_paths(folder):
        raise UsageError(f"{folder}: no results here; fill it with `blendbench run`, or name another with --results")
    # Sizes are taken before reading: lines that a run appends meanwhile make the next ingest read again.
    sizes = {path.name: path.stat().st_size for path in shard_paths(folder)}
    database = folder / DATABASE
    if database.exists() and _is_current(database, sizes):
        return Ingested(0, 0)
    shards = read_shards(folder)
    with _connect(database, read_only=False) as connection:
        connection.begin()
        _migrate(connection, database)
        for table, rows in _tables(shards.records).items():
            _replace(connection, table, rows)
        _replace(connection, "shards", [{"name": name, "bytes": size} for name, size in sorted(sizes.items())])
        _create_views(connection)
        connection.commit()
    return Ingested(len(shards.records), shards.torn_lines)


class Results:
    """Read-only access to a database. The file is opened for each query only, so that a run can always write."""

    def __init__(self, database: Path) -> None:
        self.database = database

    def query(self, sql: str, parameters: list[Any] | None = None) -> pd.DataFrame:
        """The rows of one SQL statement. Errors: duckdb.Error."""
        with _connect(self.database, read_only=True) as connection:
            return connection.execute(sql, parameters or []).df()

    def export(self, sql: str, path: Path, options: str) -> None:
        """Write the rows of one statement to `path` with DuckDB's COPY options. Errors: duckdb.Error."""
        with _connect(self.database, read_only=True) as connection:
            connection.execute(f"COPY ({sql}\n) TO {_text(str(path))} ({options})")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to close: no connection outlives its query."""


def open_results(path: Path | str = "results") -> Results:
    """Open a results folder (its new shards are ingested first) or a database file, read-only.

    Errors: UsageError when there is nothing to read.
    """
    path = Path(path)
    if path.is_file():
        return Results(path)
    ingest(path)
    return Results(path / DATABASE)


def resolve(records: Iterable[Record]) -> dict[tuple[Any, ...], Record]:
    """One record a row, by (table, key): an ok record is not replaced by one that is not, else the later one stays."""
    rows: dict[tuple[Any, ...], Record] = {}
    for record in records:
        table, key = _TABLES[type(record)]
        identity = (table, *(getattr(record, name) for name in key))
        held = rows.get(identity)
        if held is None or getattr(held, "status", None) != "ok" or getattr(record, "status", None) == "ok":
            rows[identity] = record
    return rows


@contextmanager
def _connect(database: Path, read_only: bool) -> Iterator[duckdb.DuckDBPyConnection]:
    deadline = time.monotonic() + LOCK_TIMEOUT
    while True:
        try:
            connection = duckdb.connect(str(database), read_only=read_only)
            break
        except duckdb.IOException as error:
            if "could not set lock" not in str(error).lower():
                raise UsageError(
                    f"{database}: not a database that can be read; delete it, the shards rebuild it"
                ) from error
            if time.monotonic() > deadline:
                raise UsageError(f"{database}: another process holds it open; close that one and repeat") from error
            time.sleep(0.05)
    try:
        yield connection
    finally:
        connection.close()


def _is_current(database: Path, sizes: dict[str, int]) -> bool:
    with _connect(database, read_only=True) as connection:
        applied = _applied(connection)
        if applied != [name for name, _ in _migrations()]:
            return False
        if connection.execute("SELECT sha256 FROM view_definitions").fetchall() != [(sha256_json(_views()),)]:
            return False
        return dict(connection.execute("SELECT name, bytes FROM shards").fetchall()) == sizes


def _migrations() -> list[tuple[str, str]]:
    paths = sorted((_HERE / "migrations").glob("*.sql"))
    return [(path.stem, path.read_text(encoding="utf-8")) for path in paths]


def _views() -> dict[str, str]:
    return {view: (_HERE / "views" / f"{view}.sql").read_text(encoding="utf-8") for view in VIEWS}


def _applied(connection: duckdb.DuckDBPyConnection) -> list[str]:
    known = connection.execute("SELECT count(*) FROM information_schema.tables WHERE table_name = 'migrations'")
    if known.fetchall() == [(0,)]:
        return []
    return [name for (name,) in connection.execute("SELECT name FROM migrations ORDER BY name").fetchall()]


def _migrate(connection: duckdb.DuckDBPyConnection, database: Path) -> None:
    connection.execute("CREATE TABLE IF NOT EXISTS migrations (name VARCHAR PRIMARY KEY)")
    applied = _applied(connection)
    known = dict(_migrations())
    if newer := [name for name in applied if name not in known]:
        raise UsageError(f"{database}: made by a newer blendbench (migration {newer[-1]}); update blendbench")
    for name, statements in known.items():
        if name not in applied:
            connection.execute(statements)
            connection.execute("INSERT INTO migrations VALUES (?)", [name])


def _tables(records: tuple[Record, ...]) -> dict[str, list[dict[str, Any]]]:
    tables: dict[str, list[dict[str, Any]]] = {table: [] for table, _ in _TABLES.values()}
    cards: dict[tuple[str, int], dict[str, Any]] = {}
    for (table, *_), record in resolve(records).items():
        row = asdict(record)
        if isinstance(record, RunRecord):
            for card in row.pop("metric_cards"):
                named = {"metric": card["name"], "metric_version": card["version"]}
                cards[card["name"], card["version"]] = named | {name: card[name] for name in _CARD_FIELDS}
        tables[table].append(row)
    return tables | {"metrics": list(cards.values())}


def _replace(connection: duckdb.DuckDBPyConnection, table: str, rows: list[dict[str, Any]]) -> None:
    connection.execute(f"DELETE FROM {table}")
    if rows:
        # JSON text keeps NULL, integers and floats apart, which a pandas frame of mixed columns does not.
        types = connection.execute(f"SELECT column_name, column_type FROM (DESCRIBE {table})").fetchall()
        structure = canonical_json([{name: kind if "ENUM" not in kind else "VARCHAR" for name, kind in types}])
        connection.execute(
            f"INSERT INTO {table} BY NAME SELECT unnest(from_json(?::JSON, ?), max_depth := 2)",
            [canonical_json(rows), structure],
        )


def _create_views(connection: duckdb.DuckDBPyConnection) -> None:
    names = connection.execute("SELECT DISTINCT metric FROM scores ORDER BY metric").fetchall()
    columns = "".join(f",\n    any_value(s.value) FILTER (s.metric = {_text(n)}) AS {_name(n)}" for (n,) in names)
    for statement in _views().values():
        connection.execute(statement.replace("{metric_columns}", columns))
    _replace(connection, "view_definitions", [{"sha256": sha256_json(_views())}])


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _name(value: str) -> str:
    return '"' + value.replace('"', '""') + '"'
