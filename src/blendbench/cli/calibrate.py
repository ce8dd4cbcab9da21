"""`blendbench calibrate`: measure the metrics themselves."""

from pathlib import Path
from typing import Annotated

import typer


def calibrate(
    out: Annotated[Path, typer.Option(help="where metrics.md, metrics.json and the plots are written")] = Path(
        "reports"
    ),
    results: Annotated[
        Path | None, typer.Option(help="also show the lattice of every configuration in this results folder")
    ] = None,
    experiment: Annotated[str, typer.Option(help="the experiment of --results")] = "core",
) -> None:
    """Measure detection limits, dose-response and false alarms of the metrics on photos with known patterns."""
    from blendbench.reports.metrics import calibrate as measure
    from blendbench.reports.metrics import write_calibration
    from blendbench.reports.metrics_lattice import lattice_section

    extra = lattice_section(results, experiment, out) if results else []
    print(f"written: {write_calibration(measure(), out, extra)}")
