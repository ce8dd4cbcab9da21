"""`blendbench sql`: query the results, also while a run goes on."""

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from blendbench.core.errors import UsageError
from blendbench.core.files import read_file

if TYPE_CHECKING:
    import pandas as pd

_LONGEST = 2**20  # bytes of a statement
_SHORT = 12  # digits of a hash, in a table for people


def sql(
    query: Annotated[
        str | None,
        typer.Argument(help="one reading statement, or - to read it from stdin; SHOW TABLES lists what is there"),
    ] = None,
    file: Annotated[Path | None, typer.Option(help="file that holds the statement", show_default=False)] = None,
    results: Annotated[
        Path, typer.Option(help="results folder, whose new shards are ingested first; or one of published pages")
    ] = Path("results"),
    format_: Annotated[
        Literal["table", "csv", "json", "parquet"],
        typer.Option("--format", help="how rows are written; parquet wants a file behind >"),
    ] = "table",
) -> None:
    """Print the rows of one reading SQL statement (DuckDB dialect)."""
    from blendbench.results.export import open_folder
    from blendbench.results.query import read_only_bytes, read_only_rows

    if format_ == "parquet" and sys.stdout.isatty():
        raise UsageError("--format parquet is binary; redirect it: blendbench sql ... --format parquet > rows.parquet")
    query = _statement(query, file)
    opened = open_folder(results)
    if format_ == "table":
        print_table(read_only_rows(opened, query))
    else:
        sys.stdout.buffer.write(read_only_bytes(opened, query, format_))


def _statement(query: str | None, file: Path | None) -> str:
    """Return the statement of the command line, a file or stdin. Errors: UsageError."""
    if (query is None) == (file is None):
        raise UsageError("sql: give one query, or --file with one; `blendbench sql 'SHOW TABLES'` lists what is there")
    name = "stdin" if file is None else str(file)
    try:
        if file is not None:
            return read_file(file, _LONGEST).decode("utf-8-sig")
        return sys.stdin.buffer.read().decode() if query == "-" else str(query)
    except UnicodeDecodeError:
        raise UsageError(f"query: {name} is not UTF-8; give one SELECT") from None


def print_table(rows: "pd.DataFrame") -> None:
    """Print rows as a table, NULL where a value is missing; count on stderr."""
    table = Table(box=None, header_style="bold")
    for name in rows.columns:
        numeric = rows[name].dtype.kind in "iuf"
        table.add_column(Text(str(name)), justify="right" if numeric else "left", overflow="fold")
    for row in rows.itertuples(index=False, name=None):
        table.add_row(*(Text(_shown(value)) for value in row))
    print_whole(table)
    Console(stderr=True).print(f"{len(rows)} row{'' if len(rows) == 1 else 's'}", highlight=False)


def print_whole(table: Table) -> None:
    """Print a table: fitted to a terminal, with long rows into a file or a log."""
    console = Console(highlight=False)
    if not console.is_terminal:
        whole = console.options.update(max_width=sys.maxsize)
        console.width = max(1, Measurement.get(console, whole, table).maximum)
    console.print(table)


def _shown(value: object) -> str:
    import pandas as pd

    if value is None or (not isinstance(value, list | dict) and pd.api.types.is_scalar(value) and pd.isna(value)):
        return "NULL"
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value)
    return text[:_SHORT] if re.fullmatch("[0-9a-f]{64}", text) else text
