"""What the configurations of an experiment have in common on the lattice, and how far text_only drifts by seed."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd

from blendbench.errors import UsageError
from blendbench.reports.board import BASELINE
from blendbench.reports.contact_sheet import picture_path
from blendbench.reports.formats import markdown_table
from blendbench.reports.metrics_plots import draw_lattices
from blendbench.reports.residuals import common_lattice, pixels
from blendbench.results.store import open_results
from blendbench.scoring.calibration import DRIFTS, values_of

_PICTURES = """
    SELECT label, item, seed, picture_sha256 FROM current_cells
    WHERE experiment = ? AND status = 'ok' AND picture_sha256 IS NOT NULL ORDER BY label <> ?, label, item, seed
"""


def lattice_section(results: Path, experiment: str, out: Path, lattice: int = 16) -> list[str]:
    """Draw metrics/lattice-<experiment>.png below `out`; lines for the page, the drift between seeds among them.

    Errors: UsageError if the experiment has no pictures in the results folder.
    """
    with open_results(results) as opened:
        cells = opened.query(_PICTURES, [experiment, BASELINE])
    cells["path"] = [picture_path(results, sha) for sha in cells["picture_sha256"]]
    cells = cells[[path.is_file() for path in cells["path"]]]
    if cells.empty:
        raise UsageError(f"{results}: experiment {experiment!r} has no pictures there; run it first")
    found = {
        str(label): common_lattice(list(group["path"]), lattice) for label, group in cells.groupby("label", sort=False)
    }
    (out / "metrics").mkdir(parents=True, exist_ok=True)
    draw_lattices(found, out / "metrics" / f"lattice-{experiment}.png")
    return [
        f"## What the pictures of a strategy have in common: {experiment}",
        "",
        f"Left: the residual of all pictures of a configuration, folded into one tile of {lattice} x {lattice} pixels",
        "(red and blue on one scale). Right: spectrum of their mean residual, zero frequency in the middle. With",
        "enough pictures, content averages out and the generator's own pattern stays.",
        "",
        f"![Lattice by strategy](metrics/lattice-{experiment}.png)",
        "",
        *_seed_floor(cells[cells["label"] == BASELINE], experiment),
    ]


def _seed_floor(cells: pd.DataFrame, experiment: str) -> list[str]:
    pairs = [pair for _, group in cells.groupby("item") for pair in pairwise(group["path"])]
    if not pairs:
        return []
    first, second = (np.stack([pixels(pair[k]) for pair in pairs]) for k in (0, 1))
    values = values_of(second, DRIFTS, first)
    rows = [(name, f"{np.median(np.abs(v)):.4f}", f"{np.quantile(np.abs(v), 0.95):.4f}") for name, v in values.items()]
    return [
        f"## Drift between seeds: {experiment}",
        "",
        f"{len(pairs)} pairs of {BASELINE} pictures of one item and two seeds: below this floor, drift says nothing",
        "about a strategy.",
        "",
        *markdown_table(("metric", "median magnitude", "95 %"), rows, (1, 2)),
        "",
    ]
