"""The items on which a configuration keeps most and least of the prompt, side by side with the baseline."""

from dataclasses import dataclass
from pathlib import Path

from blendbench.reports.board import BASELINE, Board, MetricInfo
from blendbench.reports.contact_sheet import draw_tiles
from blendbench.reports.formats import MINUS, number
from blendbench.reports.pareto import trades
from blendbench.results.store import Results
from blendbench.verdict.verdict import image_name

ROWS = 5
HEADER = ["reference", BASELINE, "best item", "reference", BASELINE, "worst item"]


def extreme_labels(board: Board) -> list[str]:
    """The configurations shown: those on the front of the trade, else the first of the overview."""
    on_front = [trade.label for trade in trades(board) if trade.on_front]
    ranked = [c.label for c in board.configurations if c.complete and not c.no_op and not c.control]
    return [label for label in (on_front or ranked) if label != BASELINE][:ROWS]


@dataclass(frozen=True)
class Extreme:
    """The pair on which a configuration is best or worst: `difference` to the baseline in the adherence headline."""

    label: str
    item: str
    seed: int
    difference: float
    image: str
    baseline_image: str
    reference_image: str | None


def extremes(results: Results, board: Board) -> list[tuple[Extreme, Extreme]]:
    """Best and worst pair of every configuration shown; images are paths in the results folder."""
    rows = results.query(
        """
        SELECT p.label, p.item, p.seed, p.difference, c.image_sha256 AS image,
            b.image_sha256 AS baseline_image, i.reference_image
        FROM paired_effects p
        JOIN current_cells c USING (experiment, label, item, seed)
        JOIN current_cells b ON b.experiment = p.experiment AND b.item = p.item AND b.seed = p.seed
            AND b.label = ?
        LEFT JOIN items i ON i.suite_sha256 = c.suite_sha256 AND i.item = p.item
        WHERE p.experiment = ? AND p.metric = ? AND list_contains(?, p.label)
        ORDER BY p.difference DESC, p.item, p.seed
        """,
        [BASELINE, board.experiment, board.headlines.get("adherence", ""), extreme_labels(board)],
    )
    found: dict[str, list[Extreme]] = {label: [] for label in extreme_labels(board)}
    for row in rows.to_dict("records"):
        reference = row["reference_image"]
        found[row["label"]].append(
            Extreme(
                row["label"],
                row["item"],
                int(row["seed"]),
                float(row["difference"]),
                image_name(row["image"]),
                image_name(row["baseline_image"]),
                reference if isinstance(reference, str) else None,
            )
        )
    return [(pairs[0], pairs[-1]) for pairs in found.values() if pairs]


def draw_extremes(shown: list[tuple[Extreme, Extreme]], board: Board, results_dir: Path, path: Path) -> bool:
    """Draw the PNG; False (and no file) when the images are not there."""
    tiles = [[tile for pair in both for tile in _across(pair, results_dir)] for both in shown]
    if not any(tile is not None and tile.is_file() for row in tiles for tile in row):
        path.unlink(missing_ok=True)
        return False
    metric = board.metrics[board.headlines["adherence"]]
    captions = [f"{both[0].label}: {', '.join(_told(pair, metric) for pair in both)}" for both in shown]
    draw_tiles(HEADER, captions, tiles).save(path, "PNG")
    return True


def _told(pair: Extreme, metric: MetricInfo) -> str:
    # The font of the sheet has no minus sign of its own.
    difference = number(pair.difference, metric, signed=True).replace(MINUS, "-")
    return f"{difference} on {pair.item}, seed {pair.seed}"


def _across(pair: Extreme, results_dir: Path) -> list[Path | None]:
    return [
        results_dir / name if name is not None else None
        for name in (pair.reference_image, pair.baseline_image, pair.image)
    ]
