"""`blendbench site`: the published pages as one static folder."""

from pathlib import Path
from typing import Annotated

import typer

from blendbench.core.errors import UsageError


def site(
    reports: Annotated[Path, typer.Option(help="folder of pages, with the data of the leaderboards")] = Path("reports"),
    out: Annotated[Path, typer.Option(help="folder to write: a new one, or that of an earlier site")] = Path("site"),
    results: Annotated[
        Path | None, typer.Option(help="results folder whose images the plots show; default: figures alone")
    ] = None,
    console: Annotated[
        bool, typer.Option("--console", help="add a SQL console on the data; downloads DuckDB-Wasm (31 MB) once")
    ] = False,
) -> None:
    """Write all pages, and what they link to, as HTML for a web server or the disk.

    Tables can be sorted, and each point of a front shows what it stands for. Nothing is loaded from elsewhere.
    """
    from blendbench.reports.site.duckdb_wasm import archive
    from blendbench.reports.site.write import write_site

    package, refusal = None, None
    try:
        package = archive() if console else None
    except UsageError as error:
        refusal = error
    print(f"written: {write_site(reports, out, results, package)}")
    if refusal is not None:
        raise UsageError(f"the site has no SQL console: {refusal}")
    if not console:
        print("next: --console adds a page that queries the data with SQL")
