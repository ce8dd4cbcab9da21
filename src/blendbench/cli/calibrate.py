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
) -> None:
    """Measure detection limits and false-positive rates on known patterns."""
    from dataclasses import replace

    from blendbench.reports.metrics import calibrate as measure
    from blendbench.reports.metrics import write_calibration
    from blendbench.reports.metrics_cards import write_cards
    from blendbench.reports.metrics_floor import seed_floor

    if cards is not None and not cards.is_dir():
        raise UsageError(f"--cards {cards}: no such folder")
    floor = seed_floor(results, experiment) if results else None
    found = replace(measure(), floor=floor)
    written = [write_calibration(found, out), *(write_cards(found, cards) if cards else [])]
    for path in written:
        print(f"written: {path}")
