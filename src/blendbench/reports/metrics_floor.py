"""text_only's drift between seeds: the floor of meaningful drift."""

from itertools import pairwise
from pathlib import Path

import numpy as np

from blendbench.core.errors import UsageError
from blendbench.metrics.calibration import DRIFTS, SeedFloor, values_of
from blendbench.reports.formats import blocks, markdown_table
from blendbench.results.images import ImageStore
from blendbench.results.store import open_results
from blendbench.verdict.canary import REFERENCE

_IMAGES = """
    SELECT item, list(image_sha256 ORDER BY seed) FROM current_cells
    WHERE experiment = ? AND label = ? AND status = 'ok' GROUP BY item ORDER BY item
"""
_MODELS = "SELECT model_set FROM current_sets JOIN runs r USING (run_id) WHERE r.experiment = ?"


def seed_floor(results: Path, experiment: str) -> SeedFloor:
    """Measure the baseline's images against each other.

    Errors: UsageError if the results folder has no two images of an item there.
    """
    opened, store = open_results(results), ImageStore(results)
    cells = opened.rows(_IMAGES, [experiment, REFERENCE])
    present = store.present(sha256 for _, hashes in cells for sha256 in hashes)
    pairs = [pair for _, hashes in cells for pair in pairwise(sha256 for sha256 in hashes if sha256 in present)]
    if not pairs:
        raise UsageError(f"{results}: experiment {experiment!r} has no images of two seeds there; run it first")
    first, second = (np.stack([store.load(pair[k]) for pair in pairs]) for k in (0, 1))
    values = {name: np.abs(row) for name, row in values_of(second, DRIFTS, first).items()}
    floor = {name: (float(np.median(row)), float(np.quantile(row, 0.95))) for name, row in values.items()}
    ((models,),) = opened.rows(_MODELS, [experiment])
    return SeedFloor(experiment, str(models), len(pairs), floor)


def floor_section(floor: SeedFloor) -> list[str]:
    """Return the lines of the page."""
    rows = [(name, f"{median:.4f}", f"{high:.4f}") for name, (median, high) in floor.values.items()]
    return blocks(
        "## Drift between seeds",
        f"{floor.pairs} pairs of {REFERENCE} images of one item and two seeds ({floor.experiment}, models:\n"
        f"{floor.models}): a drift below this floor is no more than another seed makes.",
        markdown_table(("metric", "median magnitude", "95 %"), rows, (1, 2)),
    )
