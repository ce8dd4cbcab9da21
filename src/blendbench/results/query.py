"""Queries that people type: one statement, reading only, errors in one line."""

import tempfile
from pathlib import Path

import duckdb
import pandas as pd

from blendbench.core.errors import UsageError
from blendbench.results.store import Results

# Written by DuckDB itself: through pandas, NULLs would turn integers into floats and empty columns lose their type.
FORMATS = {"csv": "FORMAT csv, HEADER", "json": "FORMAT json, ARRAY", "parquet": "FORMAT parquet"}


def read_only_rows(results: Results, query: str) -> pd.DataFrame:
    """The rows of one reading statement. Errors: UsageError in one line for anything else, and for bad SQL."""
    try:
        return results.query(_reading(query))
    except duckdb.Error as error:
        raise UsageError(f"query: {_one_line(error)}") from error


def read_only_bytes(results: Results, query: str, file_format: str) -> bytes:
    """The rows of one reading statement as a csv, json or parquet file. Errors: as `read_only_rows`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows"
        try:
            results.export(_reading(query), path, FORMATS[file_format])
        except duckdb.Error as error:
            raise UsageError(f"query: {_one_line(error)}") from error
        return path.read_bytes()


def _reading(query: str) -> str:
    statements = duckdb.extract_statements(query)
    if len(statements) != 1:
        raise UsageError(f"query: {len(statements)} statements; give one SELECT")
    # To DuckDB's parser FROM, SHOW and DESCRIBE are SELECT too; COPY, ATTACH, PRAGMA, SET and the like are not.
    if statements[0].type != duckdb.StatementType.SELECT:
        raise UsageError(f"query: {statements[0].type.name} statement; only reading ones (SELECT, FROM, SHOW) run")
    return str(statements[0].query).strip().removesuffix(";")


def _one_line(error: duckdb.Error) -> str:
    lines = [line.strip() for line in str(error).splitlines()]
    # After the message DuckDB repeats the query with a caret; its "Did you mean" lines are worth keeping.
    kept = [line for line in lines if line and not line.startswith("LINE ") and line.strip("^ ")]
    return " ".join(kept[:3])
