"""`blendbench gallery`: write the pages with the pictures, or take blind votes in."""

from pathlib import Path
from typing import Annotated

import typer


def gallery(
    experiment: Annotated[str | None, typer.Argument(help="experiment; default: that of the latest run")] = None,
    results: Annotated[Path, typer.Option(help="results folder")] = Path("results"),
    out: Annotated[Path | None, typer.Option(help="folder to write; default: RESULTS/gallery/EXPERIMENT")] = None,
) -> None:
    """Write a folder to look at the pictures with: it needs no server and opens in any browser."""
    from blendbench.reports.gallery import write_gallery
    from blendbench.results.store import open_results

    page, pictures = write_gallery(open_results(results), results, out, experiment)
    print(f"{pictures} pictures\nopen: {page.resolve().as_uri()}")
