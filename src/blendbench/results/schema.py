"""The declared tables of schema.sql, and the rows that they accept."""

import functools
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from blendbench.core.hashing import canonical_json, sha256_json

FORMAT = 2  # of the shards
_HERE = Path(__file__).parent
_METRIC_COLUMNS = re.compile(r"\{\w+_columns\}")  # in views.sql
_OWN = ("shards", "schema_hash")  # tables that ingestion fills by itself
_MOST_BRACKETS = 1000  # in one line; DuckDB's and Python's parsers stop at some depth
_INTEGERS = {"INTEGER": (-(2**31), 2**31 - 1), "BIGINT": (-(2**63), 2**63 - 1), "UBIGINT": (0, 2**64 - 1)}
# HUGEINT holds generator seeds beyond 2^63; the tables' own types are narrower.
_READ_AS = {"DOUBLE": "DOUBLE", "BOOLEAN": "BOOLEAN", "JSON": "JSON"} | dict.fromkeys(_INTEGERS, "HUGEINT")


class RowError(ValueError):
    """A row that does not fit its table."""


@dataclass(frozen=True)
class Column:
    """A column: DuckDB type, ENUM `choices`, NULL rule and default."""

    name: str
    kind: str
    choices: tuple[str, ...]
    required: bool
    default: str | None

    def refuse(self, value: object, table: str) -> None:
        """Raise RowError for a value that does not fit, or for a missing one that is required."""
        if value is not None:
            wanted = f"one of {', '.join(map(repr, self.choices))}" if self.choices else self.kind
            raise RowError(f"{table}: {self.name} is {_shown(value)}, not {wanted}")
        if self.required:
            raise RowError(f"{table}: {self.name} is null")

    def fits(self, value: object) -> bool:
        """Return whether a value is of this column's type."""
        if self.choices:
            return value in self.choices
        if self.kind in _INTEGERS:
            low, high = _INTEGERS[self.kind]
            return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
        if self.kind == "DOUBLE":
            return isinstance(value, int | float) and not isinstance(value, bool) and _is_finite(value)
        if self.kind == "BOOLEAN":
            return isinstance(value, bool)
        if self.kind == "JSON":
            return isinstance(value, dict | list)
        return isinstance(value, str) and "\0" not in value


@dataclass(frozen=True)
class Table:
    """One table of shards; of rows with the same `key` the latest counts."""

    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    has_sequence: bool

    def complete(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Return the row with defaults filled in. Errors: RowError."""
        if not row.keys() <= self._known:
            unknown = _shown(min(row.keys() - self._known))
            raise RowError(f"{self.name}: unknown column {unknown}; written by a newer blendbench?")
        full = {}
        for column in self.columns:
            name = column.name
            if name not in row and column.required and column.default is None:
                raise RowError(f"{self.name}: {name} is missing")
            full[name] = value = row.get(name, column.default)
            if value is None or not column.fits(value):
                column.refuse(value, self.name)
        return full

    @functools.cached_property
    def _known(self) -> frozenset[str]:
        return frozenset(column.name for column in self.columns)

    @property
    def names(self) -> str:
        """Return the columns as SQL."""
        return ", ".join([*(sql_name(column.name) for column in self.columns), *["sequence"][: self.has_sequence]])

    def select(self, source: str) -> str:
        """Return SQL that reads rows of `source`, keeping what orders them.

        `source` has the JSON of a row in `_line`, and orders rows by `_sequence`, `_shard` and `_n`.
        """
        values = [
            f"r.{name}" if column.default is None else f"coalesce(r.{name}, {sql_text(column.default)}) AS {name}"
            for column in self.columns
            for name in [sql_name(column.name)]
        ]
        values += ["_sequence AS sequence"][: self.has_sequence]
        structure = sql_text(canonical_json({c.name: _READ_AS.get(c.kind, "VARCHAR") for c in self.columns}))
        return (
            f"SELECT {', '.join(values)}, _sequence, _shard, _n"
            f" FROM (SELECT *, from_json(_line, {structure}) AS r FROM {source})"
        )


@functools.cache
def tables() -> dict[str, Table]:
    """Return every table of shard rows, by name."""
    with duckdb.connect() as connection:
        connection.execute(schema_sql())
        columns = connection.execute(
            """
            SELECT table_name, column_name, data_type, NOT is_nullable, column_default
            FROM duckdb_columns() WHERE NOT internal ORDER BY table_name, column_index
            """
        ).fetchall()
        keys = dict(
            connection.execute(
                "SELECT table_name, constraint_column_names FROM duckdb_constraints()"
                " WHERE constraint_type = 'PRIMARY KEY'"
            ).fetchall()
        )
        comments = connection.execute("SELECT table_name, comment FROM duckdb_tables() WHERE comment IS NOT NULL")
        keys |= {name: comment.split(", ") for name, comment in comments.fetchall()}
    found: dict[str, list[Column]] = {}
    for table, name, kind, required, default in columns:
        choices = tuple(re.findall(r"'([^']*)'", kind)) if kind.startswith("ENUM") else ()
        text = None if default is None else re.findall(r"'([^']*)'", default)[0]
        found.setdefault(table, []).append(Column(name, "ENUM" if choices else kind, choices, required, text))
    return {
        name: Table(
            name,
            tuple(column for column in every if column.name != "sequence"),
            tuple(keys[name]),
            any(column.name == "sequence" for column in every),
        )
        for name, every in found.items()
        if name not in _OWN
    }


class RowChecker:
    """Check rows against the declared tables, in a database in memory."""

    def __init__(self) -> None:
        self._connection = _trial_database().cursor()

    def lines(self, table: str, rows: Iterable[Mapping[str, Any]]) -> list[str]:
        """Return each row as a shard's line, without newline. Errors: RowError."""
        if table not in tables():
            raise RowError(f"{table!r} is not a table; known: {', '.join(tables())}")
        lines = [_dumped({"table": table, **tables()[table].complete(row)}) for row in rows]
        if lines:
            self.check_rules(table, lines)
        return lines

    def check_rules(self, table: str, lines: list[str]) -> None:
        """Raise RowError if a well-typed line breaks a rule of its table."""
        self._connection.begin()
        try:
            self._connection.execute(_trial(table), [lines])
        except duckdb.Error as error:
            reason = " ".join(str(error).split())
            raise RowError(f"{table}: {reason.removeprefix('Constraint Error: ')}") from None
        finally:
            self._connection.rollback()


def parse_line(line: bytes) -> dict[str, Any]:
    """Return the object in one line of a shard. Errors: RowError."""
    if line.count(b"[") + line.count(b"{") > _MOST_BRACKETS:
        raise RowError(f"more than {_MOST_BRACKETS} brackets")
    try:
        content = json.loads(line, parse_constant=_refuse_constant, object_pairs_hook=_without_twins)
    except RowError:
        raise
    except (UnicodeDecodeError, RecursionError) as error:
        raise RowError("not UTF-8" if isinstance(error, UnicodeDecodeError) else "nested too deeply") from None
    except ValueError as error:  # also an integer of thousands of digits
        raise RowError(f"not JSON: {str(error)[:80]}") from None
    if not isinstance(content, dict):
        raise RowError("not a JSON object")
    return content


def row_of(content: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Split a line's object into table and complete row. Errors: RowError."""
    row = dict(content)
    name = row.pop("table", None)
    if not isinstance(name, str) or name not in tables():
        raise RowError(f"table is {_shown(name)}, not one of {', '.join(tables())}")
    return name, tables()[name].complete(row)


def brackets_sql(line: str) -> str:
    """Return SQL that counts a line's opening brackets."""
    return f"len({line}) - len(replace(replace({line}, '[', ''), '{{', ''))"


def schema_sql() -> str:
    """Return the SQL that creates all tables, empty."""
    return (_HERE / "schema.sql").read_text(encoding="utf-8")


def views_sql(metrics: Iterable[str]) -> str:
    """Return the SQL of all views, with `metrics` as columns of the wide ones."""
    return _with_columns((_HERE / "views.sql").read_text(encoding="utf-8"), list(metrics))


def long_views_sql() -> str:
    """Return the SQL of the views that are the same whatever the metrics."""
    return "\n\n".join(view for view in _views() if not _METRIC_COLUMNS.search(view))


def wide_views_sql(metrics: Iterable[str]) -> str:
    """Return the SQL of the views with columns of `metrics`, which no other view reads."""
    return _with_columns("\n\n".join(view for view in _views() if _METRIC_COLUMNS.search(view)), list(metrics))


def _views() -> list[str]:
    """Return the SQL of each view; empty lines part them."""
    return (_HERE / "views.sql").read_text(encoding="utf-8").split("\n\n")


def _with_columns(text: str, names: list[str]) -> str:
    columns = "".join(_wide("s.value", name, name) for name in names)
    board = "".join(
        _wide("l.mean", name, name) + _wide("l.difference_to_baseline", name, f"{name}_difference") for name in names
    )
    return text.replace("{metric_columns}", columns).replace("{board_columns}", board)


def _wide(value: str, metric: str, column: str) -> str:
    return f",\n    any_value({value}) FILTER (metric = {sql_text(metric)}) AS {sql_name(column)}"


@functools.cache
def _trial_database() -> duckdb.DuckDBPyConnection:
    """Return a database whose tables have all rules but their keys."""
    connection = duckdb.connect()
    statements = re.sub(r"PRIMARY KEY \([^)]*\)", "CHECK (true)", schema_sql())
    connection.execute(statements.replace("PRIMARY KEY", ""))
    return connection


@functools.cache
def declarations_sha256() -> str:
    """Hash all declarations; a database of others is made again."""
    return sha256_json([FORMAT, schema_sql(), views_sql([])])


def sql_text(value: str) -> str:
    """Quote a text as a SQL literal."""
    return "'" + value.replace("'", "''") + "'"


def sql_name(value: str) -> str:
    """Quote a name as a SQL identifier."""
    return '"' + value.replace('"', '""') + '"'


@functools.cache
def _trial(name: str) -> str:
    table = tables()[name]
    rows = table.select("(SELECT CAST(unnest(?) AS JSON) AS _line, 0 AS _sequence, 0 AS _shard, 0 AS _n)")
    return f"INSERT INTO {sql_name(name)} ({table.names}) SELECT {table.names} FROM ({rows})"


def _dumped(row: dict[str, Any]) -> str:
    try:
        line = canonical_json(row)
        line.encode()
    except (ValueError, RecursionError, TypeError) as error:  # a lone surrogate, a NaN in JSON, a tensor
        raise RowError(f"{row['table']}: cannot be written as JSON: {str(error)[:80]}") from None
    if line.count("[") + line.count("{") > _MOST_BRACKETS:
        raise RowError(f"{row['table']}: more than {_MOST_BRACKETS} brackets")
    return line


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond the largest float
        return False


def _shown(value: object) -> str:
    if isinstance(value, int) and abs(value) > 2**64:
        return "an integer that is too large"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise RowError("a name comes twice")
    return found


def _refuse_constant(name: str) -> None:
    raise RowError(f"{name} is not a finite number")
