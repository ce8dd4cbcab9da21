"""Open databases, and say in one line what is wrong with one."""

import errno
import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from blendbench.core.errors import UsageError
from blendbench.core.files import printable, require_regular_file
from blendbench.results.schema import declarations_sha256, long_views_sql, schema_sql, sql_text, wide_views_sql
from blendbench.results.shards import shard_paths

DATABASE = "blendbench.duckdb"
LOCK_TIMEOUT = 20.0  # seconds to wait for another process that writes to the database file
_WIDE = "cell_scores"  # the view whose comment names the metrics that have columns
_empty: list[bytes] = []  # a database file without rows, once this process has made one
_FULL = dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "; free some disk space")
_FULL[errno.EFBIG] = "; raise the limit on the size of files (ulimit -f)"


class DatabaseHeldError(UsageError):
    """Another process has held the database open for too long."""


class DamagedDatabaseError(UsageError):
    """A database file that is none, or that is not what was written."""


class ReadOnlyFolderError(UsageError):
    """The database cannot be made in the folder of its shards."""


def open_patiently(database: Path) -> duckdb.DuckDBPyConnection:
    """Open a database read-only, waiting for a writer. Errors: UsageError."""
    deadline = time.monotonic() + LOCK_TIMEOUT
    require_regular_file(database)  # opening a named pipe would wait for its other end
    while True:
        try:
            return duckdb.connect(str(database), read_only=True)
        except duckdb.Error as error:
            if "could not set lock" not in str(error).lower():
                raise database_error(database, error) from error
            if time.monotonic() > deadline:
                found = re.search(r"PID \d+", str(error))
                holder = f"another process ({found[0]})" if found else "another process"
                raise DatabaseHeldError(
                    f"{printable(database)}: {holder} holds it open; close that one and repeat"
                ) from error
            time.sleep(0.05)


def has_current_schema(connection: duckdb.DuckDBPyConnection) -> bool:
    """Return whether a database has this version's declarations."""
    try:
        return connection.execute("SELECT sha256 FROM schema_hash").fetchall() == [(declarations_sha256(),)]
    except (duckdb.CatalogException, duckdb.BinderException):
        return False


def create_database(path: Path) -> None:
    """Write a database with all tables and all views but the wide ones, without rows.

    A process checks the SQL of the views once, which takes longer than reading a small folder; then it copies.
    Errors: OSError, duckdb.Error.
    """
    if _empty:
        path.write_bytes(_empty[0])
        return
    with duckdb.connect(str(path)) as connection:
        connection.execute(schema_sql())
        connection.execute("INSERT INTO schema_hash VALUES (?)", [declarations_sha256()])
        connection.execute(long_views_sql())
        connection.execute("CHECKPOINT")  # closing does it too, and is silent about a full disk
    _empty.append(path.read_bytes())


def create_views(connection: duckdb.DuckDBPyConnection) -> None:
    """Create all views with columns of the metrics that have scores, unless they are there."""
    found = connection.execute("SELECT DISTINCT metric FROM scores ORDER BY metric").fetchall()
    metrics = [name for (name,) in found]
    views = connection.execute("SELECT view_name, comment FROM duckdb_views() WHERE NOT internal AND NOT temporary")
    made = dict(views.fetchall())
    if not made:
        connection.execute(long_views_sql())
    if made.get(_WIDE) == json.dumps(metrics):
        return
    connection.execute(wide_views_sql(metrics).replace("CREATE VIEW", "CREATE OR REPLACE VIEW"))
    connection.execute(f"COMMENT ON VIEW {_WIDE} IS {sql_text(json.dumps(metrics))}")


def literal_path(path: Path) -> str:
    """Escape a path, since DuckDB reads every path as a pattern."""
    return re.sub(r"([*?[])", r"[\1]", str(path.absolute()))


def is_damage(error: duckdb.Error) -> bool:
    """Say whether an error is of the database file, not of the query."""
    kinds = (duckdb.IOException, duckdb.SerializationException, duckdb.InternalException, duckdb.FatalException)
    return isinstance(error, kinds) or type(error) is duckdb.Error  # a wrong checksum


def is_full(error: duckdb.Error) -> bool:
    """Say whether an error is of the disk that DuckDB writes to, and not of what it reads."""
    return any(os.strerror(code) in str(error) for code in _FULL)


@contextmanager
def full_disk_named(place: Path) -> Iterator[None]:
    """Raise in one line what DuckDB raises when the disk of `place` is full. Errors: UsageError."""
    try:
        yield
    except duckdb.Error as error:
        if is_full(error):
            raise database_error(place, error) from error
        raise


def database_error(database: Path, error: duckdb.Error) -> UsageError:
    """Return what is wrong with a database file, in one line."""
    text = " ".join(str(error).split())
    for code in (*_FULL, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO):
        if os.strerror(code) in text:
            return os_error(database, code, os.strerror(code))
    # Only what ingestion made can be made again.
    again = "; delete it, the shards rebuild it" if database.exists() and shard_paths(database.parent) else ""
    return DamagedDatabaseError(f"{printable(database)}: not a database that can be read{again}")


def os_error(database: Path, code: int | None, reason: str | None) -> UsageError:
    """Return what an error of the operating system means for a database, in one line."""
    if code in (errno.EACCES, errno.EPERM, errno.EROFS):
        return ReadOnlyFolderError(f"{printable(database.parent)}: cannot be written: {reason}")
    return UsageError(f"{printable(database)}: cannot be written: {reason}{_FULL.get(code or 0, '')}")
