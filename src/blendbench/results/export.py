"""Publish results as one compact parquet file per table.

The files hold all published experiments.
"""

import tempfile
from collections.abc import Iterable
from pathlib import Path

import duckdb

from blendbench.core.errors import UsageError
from blendbench.core.files import printable
from blendbench.results.ingest import DATABASE, create_views, literal_path
from blendbench.results.schema import declarations_sha256, schema_sql, sql_name, sql_text, tables
from blendbench.results.store import Results

# What a page of an experiment reads: rows of the results that belong to its current cells.
_OF_EXPERIMENT = {
    "runs": "run_id IN (SELECT run_id FROM kept_runs)",
    "planned_configurations": "run_id IN (SELECT run_id FROM kept_runs)",
    "planned_metrics": "run_id IN (SELECT run_id FROM kept_runs)",
    "metrics": "(metric, metric_version) IN (SELECT (metric, metric_version) FROM kept_metrics)",
    "suites": "suite_sha256 IN (SELECT suite_sha256 FROM kept_cells)",
    "items": "suite_sha256 IN (SELECT suite_sha256 FROM kept_cells)",
    "strategies": "strategy IN (SELECT strategy FROM kept_cells)",
    "cells": "(experiment, cell_id) IN (SELECT (experiment, cell_id) FROM kept_cells)",
    "conditionings": "conditioning_sha256 IN (SELECT conditioning_sha256 FROM kept_cells)",
    "scores": """
        (cell_id, metric, metric_version, scorer_sha256, baseline_image_sha256)
        IN (SELECT (cell_id, metric, metric_version, scorer_sha256, baseline_image_sha256) FROM kept_scores)
    """,
}
_ANALYSIS = ("embedding_analyses", "embedding_values", "embedding_dimensions")
# Neighbours in the file resemble each other, which makes it small.
_ORDER = {
    "scores": "metric, cell_id, metric_version, scorer_sha256, baseline_image_sha256",
    "cells": "experiment, label, item, seed, cell_id",
}
_COMPACT = "FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 19, ROW_GROUP_SIZE 10000000"


def export_experiments(results: Results, names: Iterable[str], out: Path) -> list[Path]:
    """Put experiments and the latest analysis into `out`/<table>.parquet.

    Only current cells are published.

    What is published there of other experiments stays. The same results give the same bytes. Errors: UsageError.
    """
    with duckdb.connect() as connection:
        connection.execute("SET threads = 1")
        _load(connection, out)
        connection.execute(f"ATTACH {sql_text(str(results.database))} AS source (READ_ONLY)")
        _take(connection, list(names))
        _drop_unused(connection)
        out.mkdir(parents=True, exist_ok=True)
        return [path for name in tables() if (path := _write(connection, name, out))]


def import_published(folder: Path) -> Results:
    """Open what was published in `folder`.

    The database is gone with the object. Errors: UsageError.
    """
    if not any((folder / f"{name}.parquet").is_file() for name in tables()):
        raise UsageError(f"{printable(folder)}: no stored data; `blendbench publish` writes them")
    made = Path(tempfile.mkdtemp(prefix="blendbench-"))
    results = Results(made / DATABASE, temporary=made)
    with duckdb.connect(str(results.database)) as connection:
        _load(connection, folder)
        create_views(connection)
    return results


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


def _load(connection: duckdb.DuckDBPyConnection, folder: Path) -> None:
    """Make all tables and fill them with what is published."""
    connection.execute(schema_sql())
    connection.execute("INSERT INTO schema_hash VALUES (?)", [declarations_sha256()])
    for name in tables():
        path = folder / f"{name}.parquet"
        if path.is_file():
            try:
                connection.execute(f"INSERT INTO {sql_name(name)} BY NAME FROM read_parquet(?)", [literal_path(path)])
            except duckdb.Error as error:
                reason = " ".join(str(error).split())[:200]
                raise UsageError(f"{printable(path)}: not published data of this version: {reason}") from error


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
    connection.execute(
        "CREATE TEMP TABLE kept_scores AS FROM current_scores WHERE experiment IN (SELECT unnest(?))", [names]
    )
    connection.execute("USE memory")
    for table in ("cells", "runs"):
        connection.execute(f"DELETE FROM {table} WHERE experiment IN (SELECT unnest(?))", [names])
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
        "scores": "cell_id NOT IN (SELECT cell_id FROM cells)",
        "metrics": "(metric, metric_version) NOT IN (SELECT (metric, metric_version) FROM planned_metrics)",
        "items": "suite_sha256 NOT IN (SELECT suite_sha256 FROM cells)",
        "suites": "suite_sha256 NOT IN (SELECT suite_sha256 FROM cells)",
        "strategies": "strategy NOT IN (SELECT strategy FROM cells)",
        "conditionings": "conditioning_sha256 NOT IN (SELECT conditioning_sha256 FROM cells"
        " WHERE conditioning_sha256 IS NOT NULL)",
    }.items():
        connection.execute(f"DELETE FROM {name} WHERE {condition}")


def _write(connection: duckdb.DuckDBPyConnection, name: str, out: Path) -> Path | None:
    path = out / f"{name}.parquet"
    if connection.execute(f"SELECT count(*) FROM {sql_name(name)}").fetchall() == [(0,)]:
        path.unlink(missing_ok=True)
        return None
    partial = path.with_name(f"{name}.partial")
    order = _ORDER.get(name, "ALL")
    connection.execute(f"COPY (FROM {sql_name(name)} ORDER BY {order}) TO {sql_text(str(partial))} ({_COMPACT})")
    partial.replace(path)
    return path
