"""`blendbench sql`: query the results, also while a run goes on."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from blendbench.core.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd


def sql(
    query: Annotated[
        str, typer.Argument(help="one reading statement, or - to read it from stdin; SHOW TABLES lists what is there")
    ],
    results: Annotated[
        Path, typer.Option(help="results folder, whose new shards are ingested first; or one of published pages")
    ] = Path("results"),
    format_: Annotated[
        Literal["table", "csv", "json", "parquet"],
        typer.Option("--format", help="how rows are written; parquet wants a file behind >"),
    ] = "table",
) -> None:
    """Print the rows of one reading SQL statement (DuckDB dialect)."""
    from blendbench.results.export import import_published, published_data
    from blendbench.results.query import read_only_bytes, read_only_rows
    from blendbench.results.store import open_results

    if format_ == "parquet" and sys.stdout.isatty():
        raise UsageError("--format parquet is binary; redirect it: blendbench sql ... --format parquet > rows.parquet")
    if query == "-":
        try:
            query = sys.stdin.buffer.read().decode()
        except UnicodeDecodeError:
            raise UsageError("query: stdin is not UTF-8; give one SELECT") from None
    data = published_data(results)
    opened = open_results(results) if data is None else import_published(data)
    if format_ == "table":
        print_table(read_only_rows(opened, query))
    else:
        sys.stdout.buffer.write(read_only_bytes(opened, query, format_))


def print_table(rows: "pd.DataFrame") -> None:
    """Print rows as a table, NULL where a value is missing; count on stderr."""
    from rich.console import Console
    from rich.measure import Measurement
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold")
    for name in rows.columns:
        numeric = rows[name].dtype.kind in "iuf"
        table.add_column(Text(str(name)), justify="right" if numeric else "left", overflow="fold")
    for row in rows.itertuples(index=False, name=None):
        table.add_row(*(Text(_shown(value)) for value in row))
    console = Console()
    if not console.is_terminal:
        # Into a file or a log, rows are better long than folded.
        whole = console.options.update(max_width=sys.maxsize)
        console.width = max(1, Measurement.get(console, whole, table).maximum)
    console.print(table)
    Console(stderr=True).print(f"{len(rows)} row{'' if len(rows) == 1 else 's'}", highlight=False)


def _shown(value: object) -> str:
    import pandas as pd

    if value is None or (not isinstance(value, list | dict) and pd.api.types.is_scalar(value) and pd.isna(value)):
        return "NULL"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
