"""Run a typed query: one read-only statement, errors in one line."""

import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import duckdb

from blendbench.core.errors import UsageError
from blendbench.results.database import is_damage
from blendbench.results.schema import sql_text
from blendbench.results.store import Results

if TYPE_CHECKING:
    import pandas as pd

# Written by DuckDB itself: through pandas, NULLs would turn integers into floats and empty columns lose their type.
FORMATS = {"csv": "FORMAT csv, HEADER", "json": "FORMAT json, ARRAY", "parquet": "FORMAT parquet"}
# To DuckDB's parser FROM, VALUES, SHOW, DESCRIBE, SUMMARIZE and UNPIVOT are SELECT too, and PIVOT is MULTI. What
# writes within these is refused when it runs: the database is open for reading alone.
SECONDS, MEMORY = 300.0, "4GB"  # for one query
Made = TypeVar("Made")
_READING = ("SELECT", "EXPLAIN", "MULTI")


def read_only_rows(results: Results, query: str) -> "pd.DataFrame":
    """Return the rows of one reading statement. Errors: UsageError."""
    with _limited(results) as connection:
        reading = _reading(query)
        return _stoppable(connection, lambda: connection.execute(reading).df())


def read_only_bytes(results: Results, query: str, file_format: str) -> bytes:
    """Return the rows of one reading statement as a csv, json or parquet file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows"
        with _limited(results, path) as connection:
            copy = f"COPY ({_reading(query)}\n) TO {sql_text(str(path))} ({FORMATS[file_format]})"
            _stoppable(connection, lambda: connection.execute(copy))
        return path.read_bytes()


@contextmanager
def _limited(results: Results, *written: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Connect for one query, with limits of time and memory. Errors: UsageError."""
    with results.connect(*written, memory=MEMORY) as connection:
        timer = threading.Timer(SECONDS, connection.interrupt)
        timer.start()
        try:
            yield connection
        except duckdb.InterruptException as error:
            raise UsageError(f"query: takes longer than {SECONDS:g} s; ask for less") from error
        except duckdb.OutOfMemoryException as error:
            raise UsageError(f"query: needs more than {MEMORY} of memory; ask for less") from error
        except duckdb.Error as error:
            if is_damage(error):
                raise
            raise UsageError(f"query: {_one_line(error)}") from error
        finally:
            timer.cancel()


def _stoppable(connection: duckdb.DuckDBPyConnection, work: Callable[[], Made]) -> Made:
    """Run a query that a signal ends at once.

    Where DuckDB executes it on the thread that called, Python sees no signal before the next pause, which can take
    minutes. So another thread calls, and this one waits for it and for signals.
    """
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(work)
        try:
            return running.result()
        except KeyboardInterrupt:
            while not running.done():
                connection.interrupt()  # again, in case it came before the query began
                wait([running], timeout=0.05)
            raise


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
