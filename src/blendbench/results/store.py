"""Read access to the results of a folder."""

import shutil
import tempfile
import uuid
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import duckdb

from blendbench.core.config import suggest
from blendbench.core.errors import UsageError
from blendbench.core.files import printable, require_regular_file
from blendbench.results.database import (
    DATABASE,
    DatabaseHeldError,
    ReadOnlyFolderError,
    database_error,
    has_current_schema,
    is_damage,
    open_patiently,
)
from blendbench.results.ingest import ingest
from blendbench.results.schema import sql_text
from blendbench.results.shards import FOLDER

if TYPE_CHECKING:
    import pandas as pd
    from PIL.Image import Image

Taken = TypeVar("Taken")

__all__ = ["DATABASE", "DatabaseHeldError", "Results", "ingest", "open_results"]


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
        """Remove the database if it was made in a temporary folder."""
        if self._drop:
            self._drop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def query(self, sql: str, parameters: list[Any] | None = None) -> "pd.DataFrame":
        """Return rows of one SQL statement as a data frame. Errors: duckdb.Error."""
        with self.connect() as connection:
            return connection.execute(sql, parameters or []).df()

    def rows(self, sql: str, parameters: list[Any] | None = None) -> list[tuple[Any, ...]]:
        """Return the rows of one SQL statement as tuples. Errors: duckdb.Error."""
        return self.read(sql, parameters, duckdb.DuckDBPyConnection.fetchall)

    def read(self, sql: str, parameters: list[Any] | None, take: Callable[[duckdb.DuckDBPyConnection], Taken]) -> Taken:
        """Run one SQL statement, and return what `take` makes of its rows. Errors: duckdb.Error."""
        with self.connect() as connection:
            return take(connection.execute(sql, parameters or []))

    def arrow(self, sql: str, parameters: list[Any] | None = None) -> "ArrowRows":
        """Return the rows of one SQL statement for any library that reads Arrow.

        As in `polars.DataFrame(results.arrow(...))` or `pyarrow.table(results.arrow(...))`.
        """
        return ArrowRows(self, sql, parameters or [])

    def leaderboard(self, experiment: str | None = None, wide: bool = False) -> "pd.DataFrame":
        """Return a row a configuration and metric, or with `wide` a row a configuration and a column a metric.

        `experiment`: default: all. Columns are those of the views `leaderboard` and `leaderboard_wide`.
        """
        return self._of("leaderboard_wide" if wide else "leaderboard", experiment)

    def cells(self, experiment: str | None = None) -> "pd.DataFrame":
        """Return a row a current cell: prompt, dose, path of the image, and a column a metric (view `cell_scores`)."""
        return self._of("cell_scores", experiment)

    def scores(self, experiment: str | None = None, metric: str | None = None) -> "pd.DataFrame":
        """Return a row a cell and metric, with the reason where there is no value (view `unit_scores`).

        Errors: UsageError for an unknown experiment or metric.
        """
        if metric is not None and not self.rows("SELECT 1 FROM metrics WHERE metric = ? LIMIT 1", [metric]):
            known = [str(name) for (name,) in self.rows("SELECT DISTINCT metric FROM metrics")]
            raise UsageError(f"{metric}: no metric of this name{suggest(metric, known)}")
        return self._of("unit_scores", experiment, "(?::VARCHAR IS NULL OR metric = ?)", [metric, metric])

    def pairs(self, candidate: str, baseline: str, experiment: str | None = None) -> "pd.DataFrame":
        """Return a row a pair of cells and metric; `difference` is candidate minus baseline (view `pairs`).

        Both are labels. Errors: UsageError if no cell has one of them, or they are the same.
        """
        if candidate == baseline:
            raise UsageError(f"{candidate}: candidate and baseline are the same configuration; name two")
        for label in (candidate, baseline):
            if not self.rows("SELECT 1 FROM current_cells WHERE label = ? LIMIT 1", [label]):
                known = [str(name) for (name,) in self.rows("SELECT DISTINCT label FROM current_cells")]
                raise UsageError(f"{label}: no configuration of this label{suggest(label, known)}")
        return self._of("pairs", experiment, "label = ? AND baseline_label = ?", [candidate, baseline])

    def image(self, cell: str) -> "Image":
        """Return the image of a cell by its id, or by as many first digits as name one alone.

        Errors: UsageError (no such cell, several of them, no image, or one that is missing or damaged).
        """
        found = self.rows("SELECT DISTINCT cell_id, image_sha256 FROM cells WHERE starts_with(cell_id, ?)", [cell])
        if len(found) != 1:
            raise UsageError(f"{cell}: {len(found) or 'no'} cells begin so; give the cell_id of one")
        if found[0][1] is None:
            raise UsageError(f"{cell}: this cell failed and has no image")
        if self._drop:
            raise UsageError(f"{cell}: published data hold no images; open the results folder that they were made of")
        from PIL import Image

        from blendbench.results.images import ImageStore

        return Image.fromarray(ImageStore(self.folder).load(found[0][1]))

    def _of(
        self, view: str, experiment: str | None, condition: str = "true", parameters: list[Any] | None = None
    ) -> "pd.DataFrame":
        """Return a view's rows of one experiment, or of all. Errors: UsageError for an unknown one."""
        if experiment is not None and not self.rows("SELECT 1 FROM runs WHERE experiment = ? LIMIT 1", [experiment]):
            known = [str(name) for (name,) in self.rows("SELECT DISTINCT experiment FROM runs")]
            raise UsageError(f"{experiment}: no results of this experiment{suggest(experiment, known)}")
        wanted = "(?::VARCHAR IS NULL OR experiment = ?)"
        return self.query(f"FROM {view} WHERE {wanted} AND {condition}", [experiment, experiment, *(parameters or [])])

    def summary(self) -> "pd.DataFrame":
        """Return a row an experiment: what it ran on, and how many cells it has."""
        return self.query(
            """
            SELECT experiment, count(DISTINCT label) AS configurations, count(DISTINCT c.item) AS items,
                count(*) AS cells, count(*) FILTER (status = 'failed') AS failed, any_value(suite) AS suite,
                any_value(model_set) AS model_set, left(any_value(started_at), 10) AS date
            FROM current_cells c JOIN current_sets s USING (experiment) JOIN runs r ON r.run_id = s.run_id
            GROUP BY experiment ORDER BY experiment
            """
        )

    def _repr_html_(self) -> str:
        """Show the summary in a notebook."""
        return str(self.summary().to_html(index=False))

    @contextmanager
    def held(self) -> Iterator[Self]:
        """Open the file once for all queries within, which see one state of it.

        Opening takes longer than most queries. Within another `held` it is that one's.
        """
        if self._held is not None:
            yield self
            return
        with self.connect() as connection:
            self._held = connection
            try:
                yield self
            finally:
                self._held = None

    @contextmanager
    def connect(self, *written: Path, memory: str = "") -> Iterator[duckdb.DuckDBPyConnection]:
        """Restrict reads to the database and `written` files.

        No other file, no address and no extension is loaded. `memory` is a limit, and what does not fit is not written
        beside the database. Errors: UsageError for a damaged database.
        """
        if self._held is not None and not written and not memory:
            with self._held.cursor() as cursor:
                yield cursor
            return
        connection = open_patiently(self.database)
        try:
            if memory:
                connection.execute(f"SET memory_limit = {sql_text(memory)}")
                connection.execute("SET temp_directory = ''")
            else:
                connection.execute(f"SET temp_directory = {sql_text(_spill())}")
            connection.execute(f"SET allowed_paths = [{', '.join(sql_text(str(path)) for path in written)}]")
            connection.execute("SET enable_external_access = false")
            yield connection
        except duckdb.Error as error:
            if is_damage(error):
                raise database_error(self.database, error) from error
            raise
        finally:
            connection.close()


@dataclass(frozen=True)
class ArrowRows:
    """Rows that any library can read through the Arrow PyCapsule interface; the query runs when they are read."""

    results: Results
    sql: str
    parameters: list[Any]

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Return the rows as a stream. Errors: duckdb.Error."""
        with self.results.connect() as connection:
            return connection.sql(self.sql, params=self.parameters).__arrow_c_stream__(requested_schema)


def open_results(path: Path | str = "results") -> Results:
    """Open a results folder, or a database file or folder, read-only.

    A results folder's new shards are ingested first. If the folder cannot be written, the database is made in a
    temporary folder, and is gone with the object. Errors: UsageError when there is nothing to read, or a database of
    another version.
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
        try:
            made = Path(tempfile.mkdtemp(prefix="blendbench-"))
        except OSError as error:
            raise UsageError(f"{refused}; and no temporary folder can be made: {error.strerror}") from error
        results = Results(made / DATABASE, path, temporary=made)
        ingest(path, results.database)
        return results
    return Results(path / DATABASE)


def _spill() -> str:
    """Name a folder that DuckDB makes where memory does not suffice, and removes; "" if there can be none.

    Not beside the database: that may be on a read-only disk.
    """
    try:
        return str(Path(tempfile.gettempdir(), f"blendbench-{uuid.uuid4().hex}"))
    except OSError:
        return ""


def read_setting(results: Results, experiment: str) -> dict[str, Any]:
    """Return what an experiment's current results were made with: columns of its current run."""
    names = (
        *("suite", "suite_sha256", "model_set", "model_set_sha256", "dtype", "sampler_sha256"),
        *("device", "baseline", "started_at", "blendbench_version"),
    )
    columns = ", ".join(f"r.{name}" for name in names)
    (row,) = results.rows(
        f"SELECT {columns} FROM current_sets s JOIN runs r USING (run_id) WHERE s.experiment = ?", [experiment]
    )
    return dict(zip(names, row, strict=True))


def _named_database(path: Path) -> Results:
    results = Results(path)
    with results.connect() as connection:
        current = has_current_schema(connection)
    if not current:
        raise UsageError(
            f"{printable(path)}: not a database of this version of blendbench; name the results folder with --results"
        )
    return results
