"""Read access to the results of a folder."""

import shutil
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import duckdb

from blendbench.core.errors import UsageError
from blendbench.core.files import printable, require_regular_file
from blendbench.results.ingest import (
    DATABASE,
    DatabaseHeldError,
    Ingested,
    ReadOnlyFolderError,
    database_error,
    has_current_schema,
    ingest,
    is_damage,
    patiently,
)
from blendbench.results.schema import sql_text
from blendbench.results.shards import FOLDER

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["DATABASE", "DatabaseHeldError", "Ingested", "Results", "ingest", "open_results"]


class Results:
    """Read-only access to a database.

    The file is opened for each query only, so that a run can always write, or once for several with `held`. `folder`
    is the results folder.
    """

    def __init__(self, database: Path, folder: Path | None = None, temporary: Path | None = None) -> None:
        self.database = database
        self.folder = folder or database.parent
        self._held: duckdb.DuckDBPyConnection | None = None
        self._drop = temporary and weakref.finalize(self, shutil.rmtree, temporary, ignore_errors=True)

    def close(self) -> None:
        """Remove the database if it was made in a temporary folder.

        No connection outlives its query.
        """
        if self._drop:
            self._drop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def query(self, sql: str, parameters: list[Any] | None = None) -> "pd.DataFrame":
        """Return the rows of one SQL statement as a data frame.

        Errors: duckdb.Error.
        """
        with self.connect() as connection:
            return connection.execute(sql, parameters or []).df()

    def rows(self, sql: str, parameters: list[Any] | None = None) -> list[tuple[Any, ...]]:
        """Return the rows of one SQL statement, without pandas.

        Errors: duckdb.Error.
        """
        with self.connect() as connection:
            return connection.execute(sql, parameters or []).fetchall()

    def export(self, sql: str, path: Path, options: str) -> None:
        """Write the rows of one statement to `path` with DuckDB's COPY options.

        Errors: duckdb.Error.
        """
        with self.connect(path) as connection:
            connection.execute(f"COPY ({sql}\n) TO {sql_text(str(path))} ({options})")

    @contextmanager
    def held(self) -> Iterator[Self]:
        """Open the file once for all queries within, which see one state of it.

        Opening takes longer than most queries.
        """
        with self.connect() as connection:
            self._held = connection
            try:
                yield self
            finally:
                self._held = None

    @contextmanager
    def connect(self, *written: Path) -> Iterator[duckdb.DuckDBPyConnection]:
        """Restrict reads to the database and `written` files.

        No other file, no address and no extension is loaded. Errors: UsageError for a damaged database.
        """
        if self._held is not None and not written:
            with self._held.cursor() as cursor:
                yield cursor
            return
        connection = patiently(self.database, lambda: duckdb.connect(str(self.database), read_only=True))
        try:
            connection.execute(f"SET allowed_paths = [{', '.join(sql_text(str(path)) for path in written)}]")
            connection.execute("SET enable_external_access = false")
            yield connection
        except duckdb.Error as error:
            if is_damage(error):
                raise database_error(self.database, error) from error
            raise
        finally:
            connection.close()


def open_results(path: Path | str = "results") -> Results:
    """Open a results folder, or a database file or folder, read-only.

    A results folder's new shards are ingested first.

    If the folder cannot be written, the database is made in a temporary folder, and is gone with the object.
    Errors: UsageError when there is nothing to read, or a database of another version.
    """
    path = Path(path)
    if path.exists() and not path.is_dir():
        require_regular_file(path)
        return _named_database(path)
    if not (path / FOLDER).exists() and (path / DATABASE).is_file():
        return _named_database(path / DATABASE)
    try:
        ingest(path)
    except ReadOnlyFolderError as refused:
        return _elsewhere(path, refused)
    return Results(path / DATABASE)


def _named_database(path: Path) -> Results:
    results = Results(path)
    with results.connect() as connection:
        current = has_current_schema(connection)
    if not current:
        raise UsageError(
            f"{printable(path)}: not a database of this version of blendbench; name the results folder with --results"
        )
    return results


def _elsewhere(folder: Path, refused: ReadOnlyFolderError) -> Results:
    try:
        made = Path(tempfile.mkdtemp(prefix="blendbench-"))
    except OSError as error:
        raise UsageError(f"{refused}; and no temporary folder can be made: {error.strerror}") from error
    results = Results(made / DATABASE, folder, temporary=made)
    ingest(folder, results.database)
    return results
