"""The items with most and least of the prompt kept, beside the baseline."""

from dataclasses import dataclass
from pathlib import Path

from blendbench.core.metric_info import MetricInfo
from blendbench.core.numbers import MINUS, number
from blendbench.reports.board import Board
from blendbench.reports.contact_sheet import write_tiles
from blendbench.reports.images import REFERENCE, PageImages
from blendbench.reports.standings import Standings, shown_labels
from blendbench.results.store import Results

ROWS = 5


@dataclass(frozen=True)
class Extreme:
    """A pair, by what the prompt's primary metric changes from the baseline."""

    label: str
    item: str
    seed: int
    difference: float
    image: str
    baseline_image: str
    reference: str | None


def extremes(results: Results, board: Board, standings: Standings | None) -> list[tuple[Extreme, Extreme]]:
    """Return the best and the worst pair of every configuration shown."""
    prompt = board.primaries.get("prompt")
    labels = shown_labels(board, standings, ROWS)
    rows = results.rows(
        # Materialised, for of the views in one query DuckDB makes a plan that fills a disk at 20,000 cells.
        f"""
        WITH p AS MATERIALIZED (
            SELECT label, item, seed, difference, baseline_cell_id FROM paired_effects
            WHERE experiment = $1 AND metric = $2 AND list_contains($3, label)
        ), cells AS MATERIALIZED (
            SELECT cell_id, label, item, seed, suite_sha256, image_sha256 FROM current_cells WHERE experiment = $1
        )
        SELECT p.label, p.item, p.seed, p.difference, c.image_sha256, b.image_sha256, {REFERENCE}
        FROM p
        JOIN cells c USING (label, item, seed)
        JOIN cells b ON b.cell_id = p.baseline_cell_id
        LEFT JOIN items i ON i.suite_sha256 = c.suite_sha256 AND i.item = p.item
        ORDER BY p.difference DESC, p.item, p.seed
        """,
        [board.experiment, prompt.name if prompt is not None else "", labels],
    )
    found: dict[str, list[Extreme]] = {label: [] for label in labels}
    for row in rows:
        found[row[0]].append(Extreme(*row))
    return [(pairs[0], pairs[-1]) for pairs in found.values() if pairs]


def write_extremes(shown: list[tuple[Extreme, Extreme]], board: Board, images: PageImages, path: Path) -> None:
    """Write the image; no file when not one image can be read."""
    metric = board.primaries.get("prompt")
    if metric is None:
        path.unlink(missing_ok=True)
        return
    header = ["reference", board.baseline, "best item", "reference", board.baseline, "worst item"]
    captions = [f"{both[0].label}: {', '.join(_words(pair, metric) for pair in both)}" for both in shown]
    hashes = [[h for pair in both for h in (pair.reference, pair.baseline_image, pair.image)] for both in shown]
    write_tiles(header, captions, [[images.load(sha256) for sha256 in row] for row in hashes], path)


def _words(pair: Extreme, metric: MetricInfo) -> str:
    # The font of the sheet has no minus sign of its own.
    difference = number(pair.difference, metric, signed=True).replace(MINUS, "-")
    return f"{difference} on {pair.item}, seed {pair.seed}"
