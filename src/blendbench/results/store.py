"""The DuckDB file of a results folder: filled from the shards in one transaction, read while nothing holds it open."""

import json
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import duckdb
import pandas as pd

from blendbench.core.errors import UsageError
from blendbench.core.hashing import sha256_json
from blendbench.results.shards import read_shards, shard_paths
from blendbench.results.staging import TABLES, stage

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
    "orphans",
)
_CARD_FIELDS = ("title", "kind", "direction", "unit", "margin", "decimals")


class DatabaseHeldError(UsageError):
    """Another process has had the database open for longer than anybody should wait for it."""


@dataclass(frozen=True)
class Ingested:
    """What `ingest` did: records read (0 if no shard had changed) and torn last lines left out."""

    records: int
    torn_lines: int


def ingest(results_dir: Path | str) -> Ingested:
    """Bring `<results_dir>/blendbench.duckdb` up to date with the shards, in one transaction.

    The tables are a function of the shards alone: ingesting again changes nothing, and a deleted database comes back.
    Errors: UsageError for a folder without results, a bad shard line, a database of a newer blendbench;
    DatabaseHeldError if another process holds the database open.
    """
    folder = Path(results_dir)
    if not shard_paths(folder):
        raise UsageError(f"{folder}: no results here; fill it with `blendbench run`, or name another with --results")
    # Sizes are taken before reading: lines that a run appends meanwhile make the next ingest read again.
    sizes = {path.name: path.stat().st_size for path in shard_paths(folder)}
    database = folder / DATABASE
    if database.exists() and _is_current(database, sizes):
        return Ingested(0, 0)
    # In memory first: the database is held only as long as the rows are put in.
    with duckdb.connect() as connection, _told_by_line(folder):
        staged = stage(connection, shard_paths(folder))
        with _attached(connection, database):
            pending = _pending(connection, database)
            if pending and _applied(connection):
                _back_up(connection, database, pending[0][0])
            with _transaction(connection):
                _migrate(connection, pending)
                _fill(connection, sizes)
    return Ingested(staged.records, staged.torn_lines)


def new_database(connection: duckdb.DuckDBPyConnection) -> None:
    """Make all tables and views, empty, where `connection` points."""
    _migrate(connection, _migrations())
    _create_views(connection)


class Results:
    """Read-only access to a database. The file is opened for each query only, so that a run can always write."""

    def __init__(self, database: Path) -> None:
        self.database = database

    def query(self, sql: str, parameters: list[Any] | None = None) -> pd.DataFrame:
        """The rows of one SQL statement. Errors: duckdb.Error."""
        with _connect(self.database) as connection:
            return connection.execute(sql, parameters or []).df()

    def export(self, sql: str, path: Path, options: str) -> None:
        """Write the rows of one statement to `path` with DuckDB's COPY options. Errors: duckdb.Error."""
        with _connect(self.database, path) as connection:
            connection.execute(f"COPY ({sql}\n) TO {_text(str(path))} ({options})")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to close: no connection outlives its query."""


def open_results(path: Path | str = "results") -> Results:
    """Open a results folder (its new shards are ingested first) or a database file, read-only.

    Errors: UsageError when there is nothing to read, or a file of another version.
    """
    path = Path(path)
    if path.is_file():
        _check_file(path)
        return Results(path)
    ingest(path)
    return Results(path / DATABASE)


@contextmanager
def _connect(database: Path, *written: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Read the database alone: DuckDB touches no other file but those `written`, no address, and installs nothing."""
    connection = _patiently(database, lambda: duckdb.connect(str(database), read_only=True))
    try:
        connection.execute(f"SET allowed_paths = [{', '.join(_text(str(path)) for path in written)}]")
        connection.execute("SET enable_external_access = false")
        yield connection
    finally:
        connection.close()


@contextmanager
def _attached(connection: duckdb.DuckDBPyConnection, database: Path) -> Iterator[None]:
    """Within, `connection` writes to `database`; its temporary tables can still be read."""
    home = connection.execute("SELECT current_database()").fetchall()[0][0]
    _patiently(database, lambda: connection.execute(f"ATTACH {_text(str(database))} AS results"))
    connection.execute("USE results")
    try:
        yield
    finally:
        connection.execute(f"USE {_name(home)}")
        connection.execute("DETACH results")


@contextmanager
def _told_by_line(folder: Path) -> Iterator[None]:
    """What breaks a rule of the tables is told as the shard and the line that hold it."""
    try:
        yield
    except (duckdb.ConstraintException, duckdb.ConversionException):
        read_shards(folder)
        raise


@contextmanager
def _transaction(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    connection.begin()
    try:
        yield
    except BaseException:
        connection.rollback()
        raise
    connection.commit()


def _patiently(database: Path, opening: Callable[[], duckdb.DuckDBPyConnection]) -> duckdb.DuckDBPyConnection:
    deadline = time.monotonic() + LOCK_TIMEOUT
    while True:
        try:
            return opening()
        except duckdb.IOException as error:
            if "could not set lock" not in str(error).lower():
                # Only what ingestion made can be made again.
                mend = "; delete it, the shards rebuild it" if shard_paths(database.parent) else ""
                raise UsageError(f"{database}: not a database that can be read{mend}") from error
            if time.monotonic() > deadline:
                found = re.search(r"PID \d+", str(error))
                holder = f"another process ({found[0]})" if found else "another process"
                raise DatabaseHeldError(f"{database}: {holder} holds it open; close that one and repeat") from error
            time.sleep(0.05)


def _check_file(database: Path) -> None:
    """Errors: UsageError if a file that was named by itself is not a database of this version's tables."""
    with _connect(database) as connection:
        pending = _pending(connection, database)
    if len(pending) == len(_migrations()):
        raise UsageError(f"{database}: a database, but none of blendbench; name a results folder with --results")
    if pending:
        raise UsageError(
            f"{database}: made by an older blendbench; name its results folder instead of the file, and it is migrated"
        )


def _is_current(database: Path, sizes: dict[str, int]) -> bool:
    with _connect(database) as connection:
        applied = _applied(connection)
        if applied != [name for name, _ in _migrations()]:
            return False
        if connection.execute("SELECT sha256 FROM view_definitions").fetchall() != [(_definitions(),)]:
            return False
        return dict(connection.execute("SELECT name, bytes FROM shards").fetchall()) == sizes


def _migrations() -> list[tuple[str, str]]:
    paths = sorted((_HERE / "migrations").glob("*.sql"))
    return [(path.stem, path.read_text(encoding="utf-8")) for path in paths]


def _views() -> dict[str, str]:
    return {view: (_HERE / "views" / f"{view}.sql").read_text(encoding="utf-8") for view in VIEWS}


def _fills() -> dict[str, str]:
    """What fills the tables that follow from others, by table."""
    return {path.stem: path.read_text(encoding="utf-8") for path in sorted((_HERE / "fills").glob("*.sql"))}


def _definitions() -> str:
    return sha256_json([_views(), _fills()])


def _applied(connection: duckdb.DuckDBPyConnection) -> list[str]:
    known = connection.execute(
        "SELECT count(*) FROM duckdb_tables() WHERE table_name = 'migrations' AND database_name = current_database()"
    )
    if known.fetchall() == [(0,)]:
        return []
    return [name for (name,) in connection.execute("SELECT name FROM migrations ORDER BY name").fetchall()]


def _pending(connection: duckdb.DuckDBPyConnection, database: Path) -> list[tuple[str, str]]:
    """The migrations that a database has not had. Errors: UsageError if it had some that are not known here."""
    applied, known = _applied(connection), _migrations()
    if newer := sorted(set(applied) - {name for name, _ in known}):
        raise UsageError(f"{database}: made by a newer blendbench (migration {newer[-1]}); update blendbench")
    return [(name, statements) for name, statements in known if name not in applied]


def _back_up(connection: duckdb.DuckDBPyConnection, database: Path, migration: str) -> None:
    """Keep a database as it was before `migration`; what is not in the file itself yet is brought there first."""
    connection.execute("CHECKPOINT")
    shutil.copyfile(database, database.with_name(f"{database.stem}.before_{migration}{database.suffix}"))


def _migrate(connection: duckdb.DuckDBPyConnection, pending: list[tuple[str, str]]) -> None:
    connection.execute("CREATE TABLE IF NOT EXISTS migrations (name VARCHAR PRIMARY KEY)")
    for name, statements in pending:
        connection.execute(statements)
        connection.execute("INSERT INTO migrations VALUES (?)", [name])


def _fill(connection: duckdb.DuckDBPyConnection, sizes: dict[str, int]) -> None:
    for table, _ in TABLES.values():
        _replace(connection, table)
    _replace_rows(connection, "metrics", _metrics(connection))
    _replace_rows(connection, "shards", [{"name": name, "bytes": size} for name, size in sorted(sizes.items())])
    _create_views(connection)
    for table, statement in _fills().items():
        connection.execute(f"DELETE FROM {table}")
        connection.execute(statement)


def _metrics(connection: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """The cards that the runs carry; of one metric and version the latest."""
    cards: dict[tuple[str, int], dict[str, Any]] = {}
    rows = connection.execute("SELECT metric_cards FROM temp.staged_runs ORDER BY _shard, _n").fetchall()
    for card in (card for (text,) in rows for card in json.loads(text)):
        named = {"metric": card["name"], "metric_version": card["version"]}
        cards[card["name"], card["version"]] = named | {name: card[name] for name in _CARD_FIELDS}
    return list(cards.values())


def _replace(connection: duckdb.DuckDBPyConnection, table: str) -> None:
    columns = connection.execute(f"SELECT column_name FROM (DESCRIBE {table})").fetchall()
    names = ", ".join(_name(name) for (name,) in columns)
    connection.execute(f"DELETE FROM {table}")
    connection.execute(f"INSERT INTO {table} ({names}) SELECT {names} FROM temp.staged_{table}")


def _replace_rows(connection: duckdb.DuckDBPyConnection, table: str, rows: list[dict[str, Any]]) -> None:
    connection.execute(f"DELETE FROM {table}")
    for row in rows:
        names, marks = ", ".join(row), ", ".join("?" * len(row))
        connection.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", list(row.values()))


def _create_views(connection: duckdb.DuckDBPyConnection) -> None:
    names = connection.execute("SELECT DISTINCT metric FROM scores ORDER BY metric").fetchall()
    columns = "".join(f",\n    any_value(s.value) FILTER (s.metric = {_text(n)}) AS {_name(n)}" for (n,) in names)
    for statement in _views().values():
        connection.execute(statement.replace("{metric_columns}", columns))
    _replace_rows(connection, "view_definitions", [{"sha256": _definitions()}])


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _name(value: str) -> str:
    return '"' + value.replace('"', '""') + '"'
