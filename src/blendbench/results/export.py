"""Publish all experiments as one compact parquet file per table."""

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from blendbench.core.errors import UsageError, one_line
from blendbench.core.files import printable
from blendbench.results.database import (
    DATABASE,
    create_database,
    create_views,
    database_error,
    full_disk_named,
    is_full,
    literal_path,
)
from blendbench.results.packed import CELLS, create_packed, drop_packed, load_packed, packed_rows, restore, take_packed
from blendbench.results.schema import schema_sql, sql_name, sql_text, tables
from blendbench.results.store import Results, open_results

DATA = "data"  # beside the pages
# What a page of an experiment reads: rows of the results that belong to its current cells.
_OF_EXPERIMENT = {
    "runs": "run_id IN (SELECT run_id FROM kept_runs)",
    "planned_configurations": "run_id IN (SELECT run_id FROM kept_runs)",
    "planned_metrics": "run_id IN (SELECT run_id FROM kept_runs)",
    "metrics": "(metric, metric_version) IN (SELECT (metric, metric_version) FROM kept_metrics)",
    "suites": "suite_sha256 IN (SELECT suite_sha256 FROM kept_cells)",
    "items": "suite_sha256 IN (SELECT suite_sha256 FROM kept_cells)",
    "strategies": "strategy IN (SELECT strategy FROM kept_cells)",
}
_ANALYSIS = ("embedding_analyses", "embedding_values", "embedding_dimensions")
_MEMORY = "4GB"
_COMPACT = "FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 19, ROW_GROUP_SIZE 10000000"


def export_experiments(results: Results, names: Iterable[str], out: Path) -> list[Path]:
    """Put experiments and the latest analysis into `out`/<table>.parquet.

    Only current cells are published. What is published there of other experiments stays. The same results give the same
    bytes. Errors: UsageError.
    """
    temporary = tempfile.TemporaryDirectory(prefix="blendbench-")
    with temporary as spill, full_disk_named(Path(spill)), duckdb.connect() as connection:
        connection.execute("SET threads = 1")
        # Millions of rows of hashes are sorted here: what does not fit goes to the disk.
        connection.execute(f"SET temp_directory = {sql_text(spill)}")
        connection.execute(f"SET memory_limit = {sql_text(_MEMORY)}")
        connection.execute(schema_sql())
        _load(connection, out)
        connection.execute(f"ATTACH {sql_text(str(results.database))} AS source (READ_ONLY)")
        _take(connection, list(names))
        _drop_unused(connection)
        out.mkdir(parents=True, exist_ok=True)
        rows = {name: f"FROM {sql_name(name)} ORDER BY ALL" for name in _plain()} | packed_rows(connection)
        return [path for name, query in rows.items() if (path := _write(connection, query, out / f"{name}.parquet"))]


def import_published(folder: Path, experiment: str | None = None) -> Results:
    """Open published data in a temporary database. Errors: UsageError."""
    if not any((folder / f"{name}.parquet").is_file() for name in _plain()):
        raise UsageError(f"{printable(folder)}: no stored data; `blendbench publish` writes them")
    made = Path(tempfile.mkdtemp(prefix="blendbench-"))
    results = Results(made / DATABASE, temporary=made)
    with full_disk_named(results.database):
        create_database(results.database)
    with full_disk_named(results.database), duckdb.connect(str(results.database)) as connection:
        _load(connection, folder, experiment)
        restore(connection)
        drop_packed(connection)
        create_views(connection)
        connection.execute("CHECKPOINT")  # closing does it too, and is silent about a full disk
    return results


def open_folder(folder: Path | str = "results") -> Results:
    """Open a results folder, a database file, or a folder of published data, read-only.

    Errors: UsageError when there is nothing to read.
    """
    data = published_data(Path(folder))
    return open_results(folder) if data is None else import_published(data)


def published_data(folder: Path) -> Path | None:
    """Return where `folder` holds published data: in `data`, as beside the pages, or itself."""
    return next((place for place in (folder / DATA, folder) if (place / "runs.parquet").is_file()), None)


def published_experiments(folder: Path) -> list[str]:
    """Return the names of the experiments that are published in `folder`."""
    path = folder / "runs.parquet"
    if not path.is_file():
        return []
    with duckdb.connect() as connection:
        rows = connection.execute(
            "SELECT DISTINCT experiment FROM read_parquet(?) ORDER BY 1", [literal_path(path)]
        ).fetchall()
    return [str(name) for (name,) in rows]


def _plain() -> list[str]:
    """Return the tables that are published as they are; `_OF_EXPERIMENT` says which of their rows."""
    return [*_OF_EXPERIMENT, *_ANALYSIS]


def _load(connection: duckdb.DuckDBPyConnection, folder: Path, experiment: str | None = None) -> None:
    """Fill all tables with what is published, and new ones with its packed rows."""
    create_packed(connection)
    for name in _plain():
        path = folder / f"{name}.parquet"
        if path.is_file():
            with _readable(path):
                connection.execute(f"INSERT INTO {sql_name(name)} BY NAME FROM read_parquet(?)", [literal_path(path)])
    with _readable(folder):
        load_packed(connection, folder, experiment)
    if experiment is not None:
        connection.execute("DELETE FROM runs WHERE experiment <> ?", [experiment])


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (duckdb.Error, KeyError) as error:
        if isinstance(error, duckdb.Error) and is_full(error):
            raise
        reason = one_line(error, 200)
        raise UsageError(
            f"{printable(path)}: not published data of this version; remove it all and publish again ({reason})"
        ) from error


def _take(connection: duckdb.DuckDBPyConnection, names: list[str]) -> None:
    """Replace the published rows of experiments and of the latest analysis."""
    connection.execute("USE source")
    connection.execute(
        "CREATE TEMP TABLE kept_cells AS FROM current_cells WHERE experiment IN (SELECT unnest(?))", [names]
    )
    connection.execute(
        """
        CREATE TEMP TABLE kept_runs AS
        SELECT run_id FROM kept_cells UNION SELECT run_id FROM current_sets WHERE experiment IN (SELECT unnest(?))
        UNION SELECT run_id FROM current_runs JOIN planned_metrics USING (run_id) WHERE experiment IN (SELECT unnest(?))
        """,
        [names, names],
    )
    connection.execute(
        "CREATE TEMP TABLE kept_metrics AS SELECT DISTINCT metric, metric_version FROM planned_metrics"
        " WHERE run_id IN (FROM kept_runs)"
    )
    take_scores = "CREATE TEMP TABLE kept_scores AS FROM current_scores WHERE experiment IN (SELECT unnest(?))"
    connection.execute(take_scores, [names])
    connection.execute("USE memory")
    connection.execute("DELETE FROM runs WHERE experiment IN (SELECT unnest(?))", [names])
    take_packed(connection, names, "kept_cells", "kept_scores")
    for name, condition in _OF_EXPERIMENT.items():
        _merge(connection, name, condition)
    last = "(SELECT analysis_id FROM source.embedding_analyses ORDER BY sequence DESC, analysis_id DESC LIMIT 1)"
    if connection.execute("SELECT count(*) FROM source.embedding_analyses").fetchall() != [(0,)]:
        for name in _ANALYSIS:
            connection.execute(f"DELETE FROM {name}")
            _merge(connection, name, f"analysis_id = {last}")


def _merge(connection: duckdb.DuckDBPyConnection, name: str, condition: str) -> None:
    connection.execute(f"CREATE OR REPLACE TEMP TABLE taken AS FROM source.{name} WHERE {condition}")
    keys = " AND ".join(f"t.{sql_name(key)} = {name}.{sql_name(key)}" for key in tables()[name].key)
    connection.execute(f"DELETE FROM {name} WHERE EXISTS (SELECT 1 FROM taken t WHERE {keys})")
    connection.execute(f"INSERT INTO {name} BY NAME FROM taken")


def _drop_unused(connection: duckdb.DuckDBPyConnection) -> None:
    """Drop what belonged only to rows that were replaced."""
    for name, condition in {
        "planned_configurations": "run_id NOT IN (SELECT run_id FROM runs)",
        "planned_metrics": "run_id NOT IN (SELECT run_id FROM runs)",
        "metrics": "(metric, metric_version) NOT IN (SELECT (metric, metric_version) FROM planned_metrics)",
        "items": f"suite_sha256 NOT IN (SELECT suite_sha256 FROM {CELLS})",
        "suites": f"suite_sha256 NOT IN (SELECT suite_sha256 FROM {CELLS})",
        "strategies": f"strategy NOT IN (SELECT strategy FROM {CELLS})",
    }.items():
        connection.execute(f"DELETE FROM {name} WHERE {condition}")


def _write(connection: duckdb.DuckDBPyConnection, query: str, path: Path) -> Path | None:
    if not connection.execute(f"SELECT 1 FROM ({query}) LIMIT 1").fetchall():
        path.unlink(missing_ok=True)
        return None
    partial = path.with_suffix(".partial")
    try:
        connection.execute(f"COPY ({query}) TO {sql_text(str(partial))} ({_COMPACT})")
    except duckdb.IOException as error:
        partial.unlink(missing_ok=True)
        raise database_error(path, error) from error
    partial.replace(path)
    return path
