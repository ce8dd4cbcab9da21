"""The items on which a configuration keeps most and least of the prompt, side by side with the baseline."""

from pathlib import Path

from blendbench.reports.board import BASELINE, Board
from blendbench.reports.contact_sheet import draw_tiles, picture_path
from blendbench.reports.pareto import trades
from blendbench.results.store import Results

ROWS = 5
HEADER = ["reference", BASELINE, "best item", "reference", BASELINE, "worst item"]


def extreme_labels(board: Board) -> list[str]:
    """The configurations shown: those on the front of the trade, else the first of the overview."""
    on_front = [trade.label for trade in trades(board) if trade.on_front]
    ranked = [c.label for c in board.configurations if c.complete and not c.no_op and not c.control]
    return [label for label in (on_front or ranked) if label != BASELINE][:ROWS]


def draw_extremes(results: Results, board: Board, results_dir: Path, path: Path) -> bool:
    """Draw the PNG; False (and no file) when the pictures are not there."""
    metric = board.headlines.get("adherence")
    labels = extreme_labels(board)
    rows = results.query(
        """
        SELECT p.label, p.item, p.seed, p.difference, i.prompt, i.reference_picture, c.picture_sha256 AS own,
            b.picture_sha256 AS baseline
        FROM paired_effects p
        JOIN current_cells c USING (experiment, label, item, seed)
        JOIN current_cells b ON b.experiment = p.experiment AND b.item = p.item AND b.seed = p.seed
            AND b.label = ?
        LEFT JOIN items i ON i.suite_sha256 = c.suite_sha256 AND i.item = p.item
        WHERE p.experiment = ? AND p.metric = ? AND list_contains(?, p.label)
        ORDER BY p.difference DESC, p.item, p.seed
        """,
        [BASELINE, board.experiment, metric or "", labels],
    )
    tiles: list[list[Path | None]] = []
    captions: list[str] = []
    for label in labels:
        own = rows[rows["label"] == label]
        if own.empty or metric is None:
            continue
        best, worst = own.iloc[0], own.iloc[-1]
        tiles.append([part for row in (best, worst) for part in _across(row, results_dir)])
        decimals = board.metrics[metric].decimals
        captions.append(
            f"{label}: {best['difference']:+.{decimals}f} on {best['item']}, {worst['difference']:+.{decimals}f} on"
            f" {worst['item']}"
        )
    if not any(tile is not None and tile.is_file() for row in tiles for tile in row):
        path.unlink(missing_ok=True)
        return False
    draw_tiles(HEADER, captions, tiles).save(path, "PNG")
    return True


def _across(row: object, results_dir: Path) -> list[Path | None]:
    reference = row["reference_picture"]  # type: ignore[index]
    pictures = [row["baseline"], row["own"]]  # type: ignore[index]
    return [
        results_dir / reference if isinstance(reference, str) else None,
        *(picture_path(results_dir, sha256) if isinstance(sha256, str) else None for sha256 in pictures),
    ]
