"""Queries that people type: one statement, reading only, errors in one line."""

import duckdb
import pandas as pd

from blendbench.errors import UsageError
from blendbench.results.store import Results

# DESCRIBE and SHOW are EXPLAIN or SELECT to DuckDB's parser; COPY, ATTACH, PRAGMA, SET and the like are not here.
READING = {duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN}


def read_only_rows(results: Results, query: str) -> pd.DataFrame:
    """The rows of one reading statement. Errors: UsageError in one line for anything else, and for bad SQL."""
    try:
        statements = duckdb.extract_statements(query)
        if len(statements) != 1:
            raise UsageError(f"query: {len(statements)} statements; give one SELECT")
        if statements[0].type not in READING:
            raise UsageError(f"query: {statements[0].type.name} statement; only reading ones (SELECT, FROM, SHOW) run")
        return results.query(query)
    except duckdb.Error as error:
        raise UsageError(f"query: {_one_line(error)}") from error


def _one_line(error: duckdb.Error) -> str:
    lines = [line.strip() for line in str(error).splitlines()]
    # After the message DuckDB repeats the query with a caret; its "Did you mean" lines are worth keeping.
    kept = [line for line in lines if line and not line.startswith("LINE ") and line.strip("^ ")]
    return " ".join(kept[:3])
