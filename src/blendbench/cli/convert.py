"""`blendbench convert`: convert a results folder of an older format once."""

import math
from pathlib import Path
from typing import Annotated

import typer


def convert(folder: Annotated[Path, typer.Argument(help="results folder that an older blendbench wrote")]) -> None:
    """Convert a results folder of format 1 once.

    The old shards stay beside the new ones.
    """
    from blendbench.results.convert import OLD_FOLDER, convert

    rows = convert(folder, known_limits())
    print(
        f"{folder}: {rows} rows converted; the old shards are in {folder / OLD_FOLDER}.\n"
        "Cells keep their old ids, so a new run plans its own cells beside them."
    )


def known_limits() -> dict[tuple[str, int], dict[str, float | None]]:
    """Return what format 1 lacked of metrics; None where a range is open."""
    from blendbench.metrics import all_metrics

    def finite(limit: float) -> float | None:
        return limit if math.isfinite(limit) else None

    return {
        (info.name, info.version): {
            "low": finite(info.range[0]),
            "high": finite(info.range[1]),
            "threshold": info.threshold,
        }
        for info in (metric.info for metric in all_metrics().values())
    }
