"""`blendbench gallery`: write the image pages, or import blind votes."""

from pathlib import Path
from typing import Annotated

import typer


def gallery(
    experiment: Annotated[str | None, typer.Argument(help="experiment; default: that of the latest run")] = None,
    results: Annotated[Path, typer.Option(help="results folder")] = Path("results"),
    out: Annotated[Path | None, typer.Option(help="folder to write; default: RESULTS/gallery/EXPERIMENT")] = None,
    votes: Annotated[Path | None, typer.Option(help="import this file of blind votes, and write no gallery")] = None,
) -> None:
    """Write a folder to look at the images with.

    It needs no server and opens in any browser.
    """
    if votes is not None:
        _take_in(votes, results)
        return
    from blendbench.reports.gallery.write import write_gallery
    from blendbench.results.store import open_results

    with open_results(results).held() as opened:
        page, images, left_out = write_gallery(opened, results, out, experiment)
    if left_out:
        typer.echo(f"{left_out} images are damaged or missing and left out; `blendbench run` generates them again")
    typer.echo(f"{images} images\nopen: {page.resolve().as_uri()}")


def _take_in(file: Path, results: Path) -> None:
    from blendbench.cli.sql import print_table
    from blendbench.results.store import open_results
    from blendbench.results.votes import take_in_votes

    fresh, total = take_in_votes(file, results)
    typer.echo(f"{fresh} new of {total} votes; how the metrics agree with all votes so far:")
    print_table(
        open_results(results).query(
            "SELECT question, metric, votes, agreement, rank_correlation FROM vote_agreement"
            " WHERE question = CAST(role AS VARCHAR) ORDER BY question, abs(rank_correlation) DESC NULLS LAST, metric"
        )
    )
