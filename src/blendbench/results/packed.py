"""Cells and scores as published: without the hashes that make them large.

docs/results.md describes the files. In place of the hash of a conditioning stands the first label, by name, that has
the same one at that experiment, item and seed (`conditioning_of`). A metric with a value of 2^31 steps or more is
stored as it is.
"""

import math
from pathlib import Path

import duckdb

from blendbench.results.database import literal_path
from blendbench.results.schema import sql_name, sql_text
from blendbench.results.store import Results

CELLS, SCORES, DIGITS, MISSING = "packed_cells", "packed_scores", "score_digits", "missing_scores"
FILES = {CELLS: "cells", SCORES: "scores", DIGITS: "score_digits", MISSING: "missing_scores"}
_PLACE = "experiment, label, item, seed"
# A step of a stored value is at most this part of the metric's margin.
PART_OF_MARGIN = 100
_SHORT = 12  # hexadecimal digits that are kept of an image's hash
_TABLES = f"""
    CREATE TABLE {CELLS} AS
    SELECT * EXCLUDE (cell_id, image_sha256, conditioning_sha256), CAST(NULL AS UBIGINT) AS image,
        CAST(NULL AS VARCHAR) AS conditioning_of
    FROM cells LIMIT 0;
    CREATE TABLE {SCORES} AS
    SELECT {_PLACE}, s.metric, s.value, s.status, s.error FROM cells, scores s LIMIT 0;
"""


def create_packed(connection: duckdb.DuckDBPyConnection) -> None:
    """Make the tables of packed cells and scores, empty."""
    connection.execute(_TABLES)


def load_packed(connection: duckdb.DuckDBPyConnection, folder: Path, experiment: str | None = None) -> None:
    """Fill them with what is published in a folder, or with one experiment of it.

    Errors: duckdb.Error for files that are none of these.
    """
    path = {name: folder / f"{file}.parquet" for name, file in FILES.items()}
    if not path[CELLS].is_file():
        return
    read = {name: f"read_parquet({sql_text(literal_path(file))})" for name, file in path.items()}
    only = "" if experiment is None else f" WHERE experiment = {sql_text(experiment)}"
    connection.execute(f"INSERT INTO {CELLS} BY NAME FROM {read[CELLS]}{only}")
    if path[SCORES].is_file():
        digits = dict(connection.execute(f"FROM {read[DIGITS]}").fetchall())
        columns = connection.execute(f"DESCRIBE FROM {read[SCORES]}").fetchall()
        values = ", ".join(
            f"{_value(name, kind, digits[name])} AS {sql_name(name)}" for name, kind, *_ in columns if name in digits
        )
        connection.execute(
            f"""
            INSERT INTO {SCORES} SELECT {_PLACE}, metric, value, 'ok', NULL
            FROM (UNPIVOT (SELECT {_PLACE}, {values} FROM {read[SCORES]}{only})
                ON * EXCLUDE ({_PLACE}) INTO NAME metric VALUE value)
            """
        )
    if path[MISSING].is_file():
        connection.execute(f"INSERT INTO {SCORES} BY NAME FROM {read[MISSING]}{only}")


def take_packed(connection: duckdb.DuckDBPyConnection, names: list[str], cells: str, scores: str) -> None:
    """Replace experiments by current cells and scores, given as tables."""
    for table in (CELLS, SCORES):
        connection.execute(f"DELETE FROM {table} WHERE experiment IN (SELECT unnest(?))", [names])
    connection.execute(
        f"""
        INSERT INTO {CELLS} BY NAME
        SELECT * EXCLUDE (cell_id, image_sha256, conditioning_sha256),
            CAST('0x' || left(image_sha256, {_SHORT}) AS UBIGINT) AS image,
            CASE WHEN conditioning_sha256 IS NOT NULL
                THEN min(label) OVER (PARTITION BY experiment, item, seed, conditioning_sha256) END AS conditioning_of
        FROM {cells}
        """
    )
    connection.execute(f"INSERT INTO {SCORES} SELECT {_PLACE}, metric, value, status, error FROM {scores}")


def drop_packed(connection: duckdb.DuckDBPyConnection) -> None:
    """Drop the tables of packed rows."""
    connection.execute(f"DROP TABLE {CELLS}; DROP TABLE {SCORES}")


def packed_rows(connection: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """Return the rows of each file, by its name without the ending, as a query."""
    # Neighbours in a file resemble each other, which makes it small: doses and repeats of a label in other experiments.
    order = "label, experiment, item, seed"
    digits = _digits(connection)
    connection.execute("CREATE OR REPLACE TEMP TABLE digits_used (metric VARCHAR, digits INTEGER)")
    if digits:
        connection.executemany("INSERT INTO digits_used VALUES (?, ?)", list(digits.items()))
    values = "".join(
        f", {_stepped(connection, metric, number)} AS {sql_name(metric)}" for metric, number in digits.items()
    )
    return {
        FILES[CELLS]: f"FROM {CELLS} ORDER BY {order}",
        FILES[SCORES]: f"SELECT {_PLACE}{values} FROM {SCORES} WHERE status = 'ok' GROUP BY ALL ORDER BY {order}",
        FILES[DIGITS]: "FROM digits_used ORDER BY metric",
        FILES[MISSING]: f"""
            SELECT {_PLACE}, metric, status, error FROM {SCORES} WHERE status <> 'ok'
            ORDER BY metric, error, status, {order}
        """,
    }


def restore(connection: duckdb.DuckDBPyConnection) -> None:
    """Fill the tables of cells and scores from packed ones."""
    connection.execute(
        f"""
        INSERT INTO cells BY NAME
        SELECT * EXCLUDE (image, conditioning_of), sha256(concat_ws(chr(31), 'cell', {_PLACE})) AS cell_id,
            printf('%0{_SHORT}x', image) || repeat('0', {64 - _SHORT}) AS image_sha256,
            CASE WHEN conditioning_of IS NOT NULL THEN
                sha256(concat_ws(chr(31), 'conditioning', experiment, conditioning_of, item, seed))
                END AS conditioning_sha256
        FROM {CELLS}
        """
    )
    # As the view `current_scores` wants them: of the current metrics, against the baseline's image.
    connection.execute(
        f"""
        INSERT INTO scores BY NAME
        SELECT c.cell_id, s.metric, m.metric_version, m.scorer_sha256, c.image_sha256, s.value, s.status, s.error,
            CASE WHEN m.paired THEN coalesce(b.image_sha256, '') ELSE '' END AS baseline_image_sha256
        FROM {SCORES} s JOIN cells c USING ({_PLACE}) JOIN current_metrics m USING (experiment, metric)
        JOIN current_sets t USING (experiment)
        LEFT JOIN cells b ON b.experiment = s.experiment AND b.label = t.baseline AND b.item = s.item
            AND b.seed = s.seed
        """
    )


def stored_images(results: Results, experiment: str) -> dict[str, str]:
    """Return the hashes of an experiment's images, by those that stand for them in published data."""
    rows = results.rows(
        "SELECT DISTINCT image_sha256 FROM current_cells WHERE experiment = ? AND status = 'ok'", [experiment]
    )
    return {sha256[:_SHORT].ljust(64, "0"): sha256 for (sha256,) in rows}


def same_image(first: str, second: str) -> bool:
    """Return whether two images are the same; published hashes are shortened."""
    return first.rpartition("/")[2][:_SHORT] == second.rpartition("/")[2][:_SHORT]


def _digits(connection: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """Return the digits behind the point that the values of each metric are stored with."""
    rows = connection.execute(
        f"""
        SELECT metric, min(margin), max(decimals) FROM metrics
        WHERE metric IN (SELECT metric FROM {SCORES} WHERE status = 'ok') GROUP BY metric ORDER BY metric
        """
    ).fetchall()
    return {
        metric: math.ceil(-math.log10(margin / PART_OF_MARGIN) - 1e-9) if margin > 0 else decimals + 3
        for metric, margin, decimals in rows
    }


def _stepped(connection: duckdb.DuckDBPyConnection, metric: str, digits: int) -> str:
    value = f"max(value) FILTER (metric = {sql_text(metric)})"
    ((largest,),) = connection.execute(f"SELECT max(abs(value)) FROM {SCORES} WHERE metric = ?", [metric]).fetchall()
    if largest is None or round(largest * 10**digits) >= 2**31:
        return value
    return f"CAST(round({value} * 1e{digits}) AS INTEGER)"


def _value(column: str, kind: str, digits: int) -> str:
    """Return the value of a stored column: division by a whole number is rounded alike on every machine."""
    return f"CAST({sql_name(column)} AS DOUBLE)" + ("" if kind == "DOUBLE" else f" / 1e{digits}")
