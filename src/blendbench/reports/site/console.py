"""The SQL console: a page that runs DuckDB on the published data.

Everything it loads is a script, packed as gzip in base64: from a disk a browser loads scripts and no other files.
"""

import base64
import gzip
import json
import tempfile
from html import escape
from importlib.resources import files
from pathlib import Path

import duckdb

from blendbench.core.files import write_atomically
from blendbench.reports.site import duckdb_wasm
from blendbench.reports.site.html import page_file, whole
from blendbench.results.database import full_disk_named
from blendbench.results.export import import_published
from blendbench.results.schema import sql_name, sql_text

PAGE, FOLDER = "sql.html", "console"
_STORAGE = "v1.2.0"  # a database format that the pinned DuckDB-Wasm reads, whatever version writes it
_POLICY = """<meta http-equiv="Content-Security-Policy" content="connect-src 'none'">\n"""
_TABLES = {
    "leaderboard": "a row per experiment, configuration and metric: mean, difference to the baseline, 95 % interval",
    "leaderboard_wide": "a row per experiment and configuration, with two columns per metric",
    "cell_scores": "a row per image: prompt, parameters, and a column per metric",
    "items": "prompts and references",
    "metrics": "roles, directions, units and margins",
    "strategies": "equations, descriptions and code of the strategies",
}
_VIEWS = {
    "current_scores": "a row per image and metric",
    "pairs": "each value beside that of every other configuration at the same item and seed; name one baseline_label",
}
_PAIRS = """
    SELECT c.experiment, c.label, c.item, c.seed, b.label AS baseline_label, c.metric, c.value,
        b.value AS baseline_value, c.value - b.value AS difference
    FROM current_scores c JOIN current_scores b USING (experiment, item, seed, metric) WHERE c.label <> b.label
"""


def write_console(out: Path, data: Path, archive: Path, navigation: str) -> None:
    """Write the page and its folder into the site `out`.

    `data`: published data; `archive`: the package of DuckDB-Wasm. Errors: UsageError.
    """
    parts = duckdb_wasm.members(archive)
    with tempfile.TemporaryDirectory(prefix="blendbench-") as made, full_disk_named(Path(made)):
        database = Path(made) / "results.duckdb"
        columns = _export(data, database)
        content = database.read_bytes()
        with duckdb.connect(str(database), read_only=True) as connection:
            experiments = [name for (name,) in connection.execute(_EXPERIMENTS).fetchall()]
    folder = out / FOLDER
    folder.mkdir(exist_ok=True)
    for name, part in (("worker", parts[duckdb_wasm.WORKER]), ("wasm", parts[duckdb_wasm.WASM]), ("data", content)):
        write_atomically(folder / f"{name}.js", _packed(name, part))
    write_atomically(folder / "duckdb.js", _library(parts[duckdb_wasm.LIBRARY]))
    write_atomically(folder / "console.js", files(__package__).joinpath("page", "console.js").read_bytes())
    write_atomically(folder / "LICENSE.txt", duckdb_wasm.LICENSE.encode())
    examples = _examples("core" if "core" in experiments else experiments[0])
    body = page_file("console.html").substitute(
        examples=" ".join(
            f'<button data-query="{escape(query)}">{escape(title)}</button>' for title, query in examples.items()
        ),
        first=escape(next(iter(examples.values()))),
        tables="\n".join(_described(name, columns[name]) for name in (_TABLES | _VIEWS)),
    )
    write_atomically(out / PAGE, whole("SQL console", "", navigation, body, _POLICY).encode())


_EXPERIMENTS = "SELECT DISTINCT experiment FROM leaderboard ORDER BY 1"


def _export(data: Path, database: Path) -> dict[str, list[str]]:
    """Write tables and views for the page into a new database; return the columns of each."""
    with import_published(data) as published, duckdb.connect(str(published.database)) as connection:
        # Views that others read many times become tables; the leaderboard of one experiment at a time needs less work.
        for view in ("current_cells", "current_sets", "current_metrics", "leaderboard"):
            connection.execute(f"CREATE TABLE kept AS FROM {view} LIMIT 0")
            for (name,) in connection.execute("SELECT DISTINCT experiment FROM runs ORDER BY 1").fetchall():
                connection.execute(f"INSERT INTO kept FROM {view} WHERE experiment = ?", [name])
            connection.execute(f"DROP VIEW {view}; ALTER TABLE kept RENAME TO {view}")
        connection.execute(f"ATTACH {sql_text(str(database))} AS site (STORAGE_VERSION '{_STORAGE}')")
        for name in _TABLES:
            # Neighbours that resemble each other make the file small.
            order = " ORDER BY label, experiment, item, seed" if name == "cell_scores" else ""
            connection.execute(f"CREATE TABLE site.{name} AS SELECT {_readable(connection, name)} FROM {name}{order}")
        found = connection.execute("SELECT DISTINCT metric FROM scores ORDER BY 1").fetchall()
        connection.execute("USE site")
        metrics = ", ".join(sql_name(metric) for (metric,) in found)
        place = "experiment, label, item, seed"
        connection.execute(
            f"""
            CREATE VIEW current_scores AS SELECT {place}, metric, value
            FROM (UNPIVOT (SELECT {place}, {metrics} FROM cell_scores) ON {metrics} INTO NAME metric VALUE value);
            CREATE VIEW pairs AS {_PAIRS}
            """
        )
        return {
            name: [str(column) for column, *_ in connection.execute(f"DESCRIBE {name}").fetchall()]
            for name in (_TABLES | _VIEWS)
        }


def _readable(connection: duckdb.DuckDBPyConnection, table: str) -> str:
    """Return the columns that mean something on the page: no hashes, no files, and JSON as text."""
    columns = connection.execute(f"DESCRIBE {table}").fetchall()
    return ", ".join(
        f"CAST({sql_name(name)} AS VARCHAR) AS {sql_name(name)}" if kind == "JSON" else sql_name(name)
        for name, kind, *_ in columns
        if not name.endswith("sha256") and name not in ("cell_id", "image")
    )


def _packed(name: str, content: bytes) -> bytes:
    text = base64.b64encode(gzip.compress(content, mtime=0)).decode()
    return f'(self.packed ??= {{}})[{json.dumps(name)}] = "{text}";\n'.encode()


def _library(content: bytes) -> bytes:
    """Make a script of the library's module. Results come as CSV, so the classes of Arrow are never used."""
    start = b"self.duckdb = ((module, require) => {\n"
    end = b"\nreturn module.exports; })({ exports: {} }, () => new Proxy({}, { get: () => class {} }));\n"
    return start + content.partition(b"//# sourceMappingURL")[0] + end


def _examples(experiment: str) -> dict[str, str]:
    name = sql_text(experiment)
    return {
        "Largest gains": f"""\
SELECT label, metric, mean, difference_to_baseline, difference_low, difference_high
FROM leaderboard WHERE experiment = {name} AND role = 'gain'
ORDER BY difference_to_baseline DESC""",
        "Dose and prompt": """\
SELECT experiment, family, dose, label, metric, mean
FROM leaderboard WHERE role = 'prompt' AND dose IS NOT NULL
ORDER BY ALL""",
        "Items that artifacts hit": f"""\
SELECT item, metric, avg(difference) AS rise, count(*) AS configurations
FROM pairs JOIN metrics USING (metric)
WHERE experiment = {name} AND baseline_label = 'text_only' AND role = 'artifact'
GROUP BY ALL ORDER BY rise DESC""",
    }


def _described(name: str, columns: list[str]) -> str:
    about = (_TABLES | _VIEWS)[name]
    listed = ", ".join(f"<code>{escape(column)}</code>" for column in columns)
    return f"<details><summary><code>{name}</code>: {escape(about)}</summary><p>{listed}</p></details>"
