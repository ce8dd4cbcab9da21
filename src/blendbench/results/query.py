"""Run a typed query: one read-only statement, errors in one line."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from blendbench.core.errors import UsageError
from blendbench.results.store import Results

if TYPE_CHECKING:
    import pandas as pd

# Written by DuckDB itself: through pandas, NULLs would turn integers into floats and empty columns lose their type.
FORMATS = {"csv": "FORMAT csv, HEADER", "json": "FORMAT json, ARRAY", "parquet": "FORMAT parquet"}
# To DuckDB's parser FROM, VALUES, SHOW, DESCRIBE, SUMMARIZE and UNPIVOT are SELECT too, and PIVOT is MULTI. What
# writes within these is refused when it runs: the database is open for reading alone.
_READING = ("SELECT", "EXPLAIN", "MULTI")


def read_only_rows(results: Results, query: str) -> "pd.DataFrame":
    """Return the rows of one reading statement.

    Errors: UsageError in one line for anything else, and for bad SQL.
    """
    try:
        return results.query(_reading(query))
    except duckdb.Error as error:
        raise UsageError(f"query: {_one_line(error)}") from error


def read_only_bytes(results: Results, query: str, file_format: str) -> bytes:
    """Return the rows of one reading statement as a csv, json or parquet file.

    Errors: as `read_only_rows`.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows"
        try:
            results.export(_reading(query), path, FORMATS[file_format])
        except duckdb.Error as error:
            raise UsageError(f"query: {_one_line(error)}") from error
        return path.read_bytes()


def _reading(query: str) -> str:
    """Return the statement without what ends it."""
    if "\0" in query:
        raise UsageError("query: a null byte; give one SELECT")
    statements = duckdb.extract_statements(query)
    if len(statements) != 1:
        raise UsageError(f"query: {len(statements)} statements; give one SELECT")
    if statements[0].type.name not in _READING:
        raise UsageError(
            f"query: {statements[0].type.name} statement; only reading ones run (SELECT, FROM, WITH, VALUES, PIVOT,"
            " SHOW, DESCRIBE, SUMMARIZE, EXPLAIN)"
        )
    text = str(statements[0].query)
    # A comment may stand behind the semicolon.
    ends = [offset for offset, _ in duckdb.tokenize(text) if text[offset] == ";"]
    return text[: ends[0]] if ends else text


def _one_line(error: duckdb.Error) -> str:
    lines = [line.strip() for line in str(error).splitlines()]
    # After the message DuckDB repeats the query with a caret; its "Did you mean" lines are worth keeping.
    kept = [line for line in lines if line and not line.startswith("LINE ") and line.strip("^ ")]
    return " ".join(kept[:3])
