"""The drift of text_only from seed to seed: the floor below which drift says nothing."""

from itertools import pairwise
from pathlib import Path

import numpy as np

from blendbench.core.errors import UsageError
from blendbench.metrics.calibration import DRIFTS, SeedFloor, values_of
from blendbench.reports.board import BASELINE
from blendbench.reports.contact_sheet import image_path
from blendbench.reports.formats import markdown_table
from blendbench.reports.residuals import pixels
from blendbench.results.store import open_results

_IMAGES = """
    SELECT item, seed, image_sha256 FROM current_cells
    WHERE experiment = ? AND label = ? AND status = 'ok' AND image_sha256 IS NOT NULL ORDER BY item, seed
"""
_MODELS = "SELECT model_set FROM runs WHERE experiment = ? ORDER BY sequence DESC, run_id DESC LIMIT 1"


def seed_floor(results: Path, experiment: str) -> SeedFloor:
    """Measure the baseline's images against each other.

    Errors: UsageError if the results folder has no two images of an item there.
    """
    with open_results(results) as opened:
        cells = opened.query(_IMAGES, [experiment, BASELINE])
        models = opened.query(_MODELS, [experiment])
    cells["path"] = [image_path(results, sha) for sha in cells["image_sha256"]]
    cells = cells[[path.is_file() for path in cells["path"]]]
    pairs = [pair for _, group in cells.groupby("item") for pair in pairwise(group["path"])]
    if not pairs:
        raise UsageError(f"{results}: experiment {experiment!r} has no images of two seeds there; run it first")
    first, second = (np.stack([pixels(pair[k]) for pair in pairs]) for k in (0, 1))
    values = {name: np.abs(row) for name, row in values_of(second, DRIFTS, first).items()}
    floor = {name: (float(np.median(row)), float(np.quantile(row, 0.95))) for name, row in values.items()}
    return SeedFloor(experiment, str(models["model_set"][0]), len(pairs), floor)


def floor_section(floor: SeedFloor) -> list[str]:
    """Return the lines of the page."""
    rows = [(name, f"{median:.4f}", f"{high:.4f}") for name, (median, high) in floor.values.items()]
    return [
        "## Drift between seeds",
        "",
        f"{floor.pairs} pairs of {BASELINE} images of one item and two seeds ({floor.experiment}, models:",
        f"{floor.models}): a drift below this floor is no more than another seed makes.",
        "",
        *markdown_table(("metric", "median magnitude", "95 %"), rows, (1, 2)),
        "",
    ]
