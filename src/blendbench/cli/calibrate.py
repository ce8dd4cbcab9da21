"""`blendbench calibrate`: measure the metrics themselves."""

from pathlib import Path
from typing import Annotated

import typer

from blendbench.core.errors import UsageError


def calibrate(
    out: Annotated[Path, typer.Option(help="where metrics.md, metrics.json and the plots are written")] = Path(
        "reports"
    ),
    cards: Annotated[
        Path | None,
        typer.Option(help="folder of metric cards: rewrite their measured part; default: none", show_default=False),
    ] = None,
    results: Annotated[
        Path | None, typer.Option(help="also measure how far two seeds of text_only drift, in this results folder")
    ] = None,
    experiment: Annotated[str, typer.Option(help="the experiment of --results")] = "core",
    images: Annotated[
        Path | None, typer.Option(help="also measure real images of this folder", show_default=False)
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="tab-separated table of --images: file, label, kind, ...", show_default=False)
    ] = None,
) -> None:
    """Measure detection limits and false-positive rates on known patterns."""
    from dataclasses import replace

    from blendbench.metrics.real_images import calibrate_real, read_labels
    from blendbench.reports.folders import make_folder
    from blendbench.reports.metrics import calibrate as measure
    from blendbench.reports.metrics import seed_floor, write_calibration
    from blendbench.reports.metrics_cards import write_cards
    from blendbench.reports.metrics_real import store_real

    if cards is not None and not cards.is_dir():
        raise UsageError(f"--cards {cards}: no such folder")
    if (images is None) != (labels is None):
        raise UsageError("--images and --labels belong together")
    rows = read_labels(images, labels) if images and labels else []
    floor = seed_floor(results, experiment) if results else None
    if rows:
        make_folder(out)
        store_real(calibrate_real(rows), out)
    found = replace(measure(), floor=floor)
    written = [write_calibration(found, out), *(write_cards(found, cards) if cards else [])]
    for path in written:
        print(f"written: {path}")
