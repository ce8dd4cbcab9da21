"""Ingest shards into a new database file that replaces the old one.

Readers see the old or the new database as a whole, and nobody waits for anybody.
"""

import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import duckdb
from filelock import FileLock

from blendbench.core.errors import UsageError
from blendbench.core.files import file_times, printable
from blendbench.results.database import (
    DATABASE,
    DamagedDatabaseError,
    ReadOnlyFolderError,
    create_database,
    create_views,
    database_error,
    has_current_schema,
    literal_path,
    open_patiently,
    os_error,
)
from blendbench.results.schema import RowError, brackets_sql, parse_line, row_of, sql_name, sql_text, tables
from blendbench.results.shards import Shard, check_shards, read_shard, shard_paths

WORK = ".ingest"  # folder in which a new database is made
_LOCK = "ingest.lock"
_MEMORY = "256MiB"  # of DuckDB: more is put on the disk
_LEAST_BUFFER, _LONGEST_LINE = 1 << 20, 64 << 20  # bytes
_FEW = 1000  # lines that one thread reads as fast as two, and Python checks as fast as DuckDB
# What moves a cursor or turns the direction of writing; tabs and newlines stay.
_CONTROL = r"[\x01-\x08\x0b-\x1f\x7f-\x9f\x{202a}-\x{202e}\x{2066}-\x{2069}]"
_DELETE = 0x7F
# A file that was changed less than this ago could be changed once more without a new time.
_FRESH_NS = 2_000_000_000


@dataclass(frozen=True)
class _Known:
    sequence: int
    bytes: int
    times: tuple[int, ...]
    sha256: str


@dataclass(frozen=True)
class _Changes:
    """Shards to read now: all (`rebuild`), or new and grown ones.

    Those must have come or grown after everything else.
    """

    read: list[Shard]
    rebuild: bool


# The shards of the database that was read last, by its path and the times of its file.
_last: dict[tuple[Path, tuple[int, ...]], dict[str, _Known]] = {}


def ingest(results_dir: Path | str, into: Path | None = None) -> int:
    """Update `<results_dir>/blendbench.duckdb` (or `into`) from the shards; return the rows that were read.

    The tables are a function of the shards alone: ingesting again changes nothing, and a deleted database comes back.
    Errors: UsageError for a folder without results, a bad shard line, a full disk; DatabaseHeldError if another
    process writes to the database; ReadOnlyFolderError.
    """
    folder = Path(results_dir)
    if not shard_paths(folder):
        raise UsageError(
            f"{printable(folder)}: no results here; fill it with `blendbench run`, or name another with --results"
        )
    database = into or folder / DATABASE
    # DuckDB takes what follows a question mark for options, and turns a backslash round.
    if "?" in str(database.absolute()) or (os.sep == "/" and "\\" in str(database.absolute())):
        raise ReadOnlyFolderError(f"{printable(folder)}: DuckDB cannot have a database in a folder of this name")
    if _changes(folder, database) is None:
        return 0
    try:
        with FileLock(database.parent / _LOCK):
            changes = _changes(folder, database)  # another process may just have done it
            if changes is None:
                return 0
            try:
                return _bring_in(database, changes)
            except DamagedDatabaseError:
                if changes.rebuild:
                    raise
                # The old database is damaged where nothing was read before.
                every = [read_shard(path) for path in shard_paths(folder)]
                return _bring_in(database, _Changes(every, True))
    except OSError as error:
        raise os_error(database, error.errno, error.strerror) from error


def _changes(folder: Path, database: Path) -> _Changes | None:
    """Compare the shards with those of the database; None if nothing changed."""
    known = _known(database)
    paths = shard_paths(folder)
    if known is None:
        return _Changes([read_shard(path) for path in paths], True)
    changed, touched, last = [], {}, (0, "")
    for path in paths:
        before = known.get(path.name)
        if before is None or before.times != file_times(path):
            times = file_times(path)
            shard = read_shard(path, before.bytes if before else 0)
            if before is None or before.sha256 != shard.sha256:
                changed.append(shard)
                continue
            touched[path.name] = times  # the same content with other times
        last = max(last, (before.sequence, path.name))
    if touched:
        _remember_times(database, touched)
    if not changed and len(known) == len(paths):
        return None
    grown = all(
        shard.order > last and (before is None or before.sha256 == shard.prefix_sha256)
        for shard in changed
        for before in [known.get(shard.path.name)]
    )
    if grown and known.keys() <= {path.name for path in paths}:
        return _Changes(changed, False)
    read = {shard.path.name: shard for shard in changed}
    return _Changes([read.get(path.name) or read_shard(path) for path in paths], True)


def _known(database: Path) -> dict[str, _Known] | None:
    """Return the shards of a database by name; None for a damaged database."""
    if not database.exists() or database.with_name(f"{database.name}.wal").exists():
        return None
    state = database.absolute(), file_times(database)
    if (known := _last.get(state)) is not None:
        return known
    try:
        with open_patiently(database) as connection:
            if not has_current_schema(connection):
                return None
            known = _shards_of(connection)
    except (DamagedDatabaseError, duckdb.Error):
        return None
    _last.clear()
    _last[state] = known
    return known


def _shards_of(connection: duckdb.DuckDBPyConnection) -> dict[str, _Known]:
    rows = connection.execute("SELECT name, sequence, bytes, times, sha256 FROM shards").fetchall()
    return {name: _Known(sequence, size, tuple(times), sha256) for name, sequence, size, times, sha256 in rows}


def _settled(times: tuple[int, ...]) -> tuple[int, ...]:
    """Return times to remember.

    None of a file so fresh that it could be changed once more without a new time.
    """
    return times if time.time_ns() - max(times[1:3]) > _FRESH_NS else ()


def _remember_times(database: Path, times: dict[str, tuple[int, ...]]) -> None:
    """Note that files with new times have old content, where writable."""
    settled = {name: known for name, each in times.items() if (known := _settled(each))}
    if not settled or not os.access(database, os.W_OK):
        return
    try:
        with duckdb.connect(str(database)) as connection:
            for name, each in settled.items():
                connection.execute("UPDATE shards SET times = ? WHERE name = ?", [list(each), name])
    except duckdb.Error:
        return  # somebody reads it; the files are hashed again next time


def _bring_in(database: Path, changes: _Changes, limit: str = _MEMORY) -> int:
    """Make the new database beside the old one and put it in its place.

    `limit`: of DuckDB's memory, or "" for its own. Where it does not suffice, all is read again without it.
    """
    work = database.with_name(WORK)
    shutil.rmtree(work, ignore_errors=True)  # of a killed process: who holds the lock is alone here
    work.mkdir()
    try:
        fresh = work / DATABASE
        if not changes.rebuild:
            shutil.copyfile(database, fresh)
        # Before reading: what is appended meanwhile changes them, and is read next time.
        times = {shard.path.name: file_times(shard.path) for shard in changes.read}
        try:
            if changes.rebuild:
                create_database(fresh)
            with duckdb.connect(str(fresh)) as connection:
                if limit:
                    connection.execute(f"SET memory_limit = {sql_text(limit)}")
                    connection.execute(f"SET temp_directory = {sql_text(str(work / 'spill'))}")
                few = sum(shard.lines for shard in changes.read) <= _FEW
                if few:
                    connection.execute("SET threads = 1")
                rows = _fill(connection, changes, times, few)
                connection.execute("CHECKPOINT")  # closing does it too, and is silent about a full disk
                known = _shards_of(connection)
        except (duckdb.Error, _UnusualError) as error:
            if limit and isinstance(error, duckdb.OutOfMemoryException):
                return _bring_in(database, changes, "")
            # Whatever was wrong with the data is named here, with its line.
            check_shards(shard.path for shard in changes.read)
            if isinstance(error, duckdb.Error):
                raise database_error(database, error) from error
            raise
        fresh.replace(database)
        _last.clear()
        _last[database.absolute(), file_times(database)] = known
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return rows


class _UnusualError(UsageError):
    """A line that is not as it is written."""


def _fill(
    connection: duckdb.DuckDBPyConnection, changes: _Changes, times: dict[str, tuple[int, ...]], few: bool
) -> int:
    """Put shards' rows into their tables, later over earlier; count them."""
    rows = 0
    connection.execute(
        "CREATE TEMP TABLE lines (_table VARCHAR, _line JSON, _sequence BIGINT, _shard VARCHAR, _n BIGINT)"
    )
    for shard in changes.read:
        rows += _read_lines(connection, shard) if shard.lines > 1 else 0
        connection.execute("DELETE FROM shards WHERE name = ?", [shard.path.name])
        connection.execute(
            "INSERT INTO shards VALUES (?, ?, ?, ?, ?, ?, ?)",
            [
                shard.path.name,
                shard.sequence,
                shard.run_id,
                shard.bytes,
                list(_settled(times[shard.path.name])),
                shard.sha256,
                shard.torn,
            ],
        )
    distinct = _check_structure(connection, few)
    # JSON writes control characters as escapes; other languages are rare enough to be looked at.
    marked = f"bool_or(contains(_line, '\\u') OR strlen(_line) <> length(_line) OR contains(_line, chr({_DELETE})))"
    for name, is_marked in connection.execute(f"SELECT _table, {marked} FROM lines GROUP BY 1").fetchall():
        if name not in tables():
            raise _UnusualError(f"table is {str(name)[:60]!r}, not one of {', '.join(tables())}")
        _replace_rows(connection, name, changes.rebuild, is_marked, distinct)
    connection.execute("DROP TABLE lines")
    # Scores of what was forgotten stay: they hold for the same image, should a later run generate it again.
    forgotten = "forgotten f JOIN runs r ON r.experiment = f.experiment AND r.sequence < f.sequence"
    for table in ("cells", "planned_configurations"):
        connection.execute(
            f"DELETE FROM {table} WHERE (run_id, label) IN (SELECT (r.run_id, f.label) FROM {forgotten})"
        )
    create_views(connection)
    return rows


def _read_lines(connection: duckdb.DuckDBPyConnection, shard: Shard) -> int:
    """Put the whole lines of a shard into the table `lines`."""
    # Every thread has a buffer of twice the longest line.
    longest = min(max(2 * shard.longest, _LEAST_BUFFER), _LONGEST_LINE)
    connection.execute(
        f"""
        INSERT INTO lines SELECT json ->> '$.table', json, ?, ?, n FROM (
            SELECT row_number() OVER () AS n, json
            FROM read_ndjson_objects(?, ignore_errors = true, maximum_object_size = {longest})
        ) WHERE json IS NOT NULL AND n BETWEEN 2 AND ?
        """,
        [shard.sequence, shard.path.name, [literal_path(shard.path)], shard.lines],
    )
    found = connection.execute("SELECT count(*) FROM lines WHERE _shard = ?", [shard.path.name]).fetchall()[0][0]
    # DuckDB passes over empty lines, and with `ignore_errors` gives NULL for lines that are not JSON.
    if found != shard.lines - 1:
        raise _UnusualError(f"{printable(shard.path)}: a line is not JSON; move the shard away or restore it")
    return int(found)


def _check_structure(connection: duckdb.DuckDBPyConnection, few: bool) -> bool:
    """Check a `few` lines, or of more one of each combination of types.

    Returns whether all lines are known to have different keys. Errors: _UnusualError.
    """
    if connection.execute("SELECT count(*) FROM lines WHERE contains(_line, '\\u0000')").fetchall() != [(0,)]:
        raise _UnusualError("a text has a null byte")
    # A line of many brackets may be nested deeper than DuckDB goes, and is checked by itself.
    samples = connection.execute(
        "SELECT _shard, _n, _line FROM lines"
        if few
        else f"""
        SELECT arg_min(_shard, (_sequence, _shard, _n)), arg_min(_n, (_sequence, _shard, _n)),
            arg_min(_line, (_sequence, _shard, _n))
        FROM lines
        GROUP BY CASE WHEN {brackets_sql("_line")} > 100 THEN _line ELSE json_structure(_line) END,
            len(json_keys(_line))
        """
    )
    checked, keys = 0, set()
    while batch := samples.fetchmany(1000):
        for shard, number, line in batch:
            try:
                name, row = row_of(parse_line(line.encode()))
            except RowError as error:
                raise _UnusualError(f"{printable(shard)}:{number}: {error}") from None
            checked += 1
            keys.add((name, *(row[column] for column in tables()[name].key)))
    return few and len(keys) == checked


def _replace_rows(
    connection: duckdb.DuckDBPyConnection, name: str, rebuild: bool, is_marked: bool, distinct: bool
) -> None:
    """Put the rows of one table in place.

    Of rows with one key the latest counts. In texts of `is_marked` tables control characters are replaced: whoever
    prints them must not move a terminal's cursor.
    """
    table = tables()[name]
    target, key = sql_name(name), [sql_name(column) for column in table.key]
    staged, latest = f"({table.select(f'(SELECT * FROM lines WHERE _table = {sql_text(name)})')})", ""
    if is_marked or not distinct:
        connection.execute(f"CREATE OR REPLACE TEMP TABLE staged AS FROM {staged}")
        staged = "staged"
        for column in [sql_name(column.name) for column in table.columns if is_marked and column.kind == "VARCHAR"]:
            connection.execute(
                f"UPDATE staged SET {column} = regexp_replace({column}, '{_CONTROL}', '\ufffd', 'g')"
                f" WHERE regexp_matches({column}, '{_CONTROL}')"
            )
        # Hashes are quicker to count than keys; two keys with one hash only cost the sort.
        twins = connection.execute(f"SELECT count(*) - count(DISTINCT hash({', '.join(key)})) FROM staged").fetchall()
        order = f"PARTITION BY {', '.join(key)} ORDER BY _sequence DESC, _shard DESC, _n DESC"
        latest = f"QUALIFY row_number() OVER ({order}) = 1" if twins != [(0,)] else ""
    if not rebuild:
        same = " AND ".join(f"{target}.{column} = staged.{column}" for column in key)
        connection.execute(f"DELETE FROM {target} USING {staged} AS staged WHERE {same}")
    connection.execute(f"INSERT INTO {target} ({table.names}) SELECT {table.names} FROM {staged} AS staged {latest}")
    connection.execute("DROP TABLE IF EXISTS staged")
