"""Sheets of images: items at one seed, and the best and worst items."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from blendbench.core.metric_info import MetricInfo
from blendbench.core.numbers import MINUS, number
from blendbench.reports.board import Board
from blendbench.reports.images import PHOTOS, REFERENCE, PageImages, save_image
from blendbench.reports.standings import Standings, shown_labels, spread
from blendbench.results.store import Results

ROWS = 4
COLUMNS = 8
TILE = 128  # least side of a tile in the sheet, in pixels
LARGEST_TILE = 256
GAP = 8
FONT_SIZE = 12
INK, PAPER, EMPTY = (20, 20, 20), (255, 255, 255), (225, 225, 225)
Tile = Image.Image | None
_EXTREMES = 5  # configurations of the sheet of best and worst items


def write_contact_sheet(
    results: Results, board: Board, standings: Standings | None, images: PageImages, path: Path
) -> None:
    """Write the image; no file when not one image can be read."""
    labels = chosen_labels(board, standings)
    write_sheet(results, images, board.experiment, labels, path, lambda items: spread(items, ROWS))


def write_sheet(
    results: Results,
    images: PageImages,
    experiment: str,
    labels: list[str],
    path: Path,
    choose: Callable[[list[str]], list[str]],
) -> None:
    """Write the images of some items, which `choose` takes of all, at an experiment's first seed."""
    cells = results.rows(
        f"""
        SELECT c.item, c.label, c.image_sha256, i.prompt, {REFERENCE}
        FROM current_cells c LEFT JOIN items i USING (suite_sha256, item)
        WHERE c.experiment = ? AND list_contains(?, c.label)
        QUALIFY c.seed = min(c.seed) OVER () ORDER BY c.item, c.label
        """,
        [experiment, labels],
    )
    items = choose(list(dict.fromkeys(item for item, *_ in cells)))
    shown = {(label, item): sha256 for item, label, sha256, *_ in cells}
    described = {item: (prompt, reference) for item, _, _, prompt, reference in cells}
    tiles = [
        [images.load(described[item][1]), *(images.load(shown.get((label, item))) for label in labels)]
        for item in items
    ]
    write_tiles(["reference", *labels], [str(described[item][0]) for item in items], tiles, path)


def caption(results: Results, board: Board, standings: Standings | None) -> str:
    """Return what the sheet of an experiment shows."""
    ((seed,),) = results.rows("SELECT min(seed) FROM current_cells WHERE experiment = ?", [board.experiment])
    chosen = (
        "the families that gain most on the board, at their chosen dose"
        if standings is not None and standings.of_group("front", "dominated")
        else "strategies spread over the configurations"
    )
    return f"Seed {seed}; items spread evenly over the suite; {chosen}; last the canary. Not chosen by eye."


def chosen_labels(board: Board, standings: Standings | None) -> list[str]:
    """Choose the baseline, the blends that the board puts first, and the canary."""
    canary = [entry.label for entry in board.configurations if entry.strategy == "canary"]
    return [board.baseline, *shown_labels(board, standings, COLUMNS - 2 - len(canary)), *canary]


def write_tiles(header: list[str], captions: list[str], tiles: list[list[Tile]], path: Path) -> None:
    """Write images (rows, columns) with column heads and row captions.

    No file, and none of before, if there is not one image.
    """
    path.unlink(missing_ok=True)
    if any(tile is not None for row in tiles for tile in row):
        save_image(_sheet(header, captions, tiles), path, PHOTOS)


def _sheet(header: list[str], captions: list[str], tiles: list[list[Tile]]) -> Image.Image:
    font = ImageFont.load_default(FONT_SIZE)
    largest = max(max(tile.size) for row in tiles for tile in row if tile is not None)
    side = min(largest * max(1, -(-TILE // largest)), LARGEST_TILE)
    width = GAP + len(header) * (side + GAP)
    heads = [wrapped(label, font, side) for label in header]
    texts = [wrapped(text, font, width - 2 * GAP) for text in captions]
    line = FONT_SIZE + 4
    y = GAP + max(map(len, heads)) * line + GAP
    height = y + sum(len(lines) * line + side + GAP for lines in texts)
    sheet = Image.new("RGB", (width, height), PAPER)
    pen = ImageDraw.Draw(sheet)

    def write(lines: list[str], x: int, y: int) -> int:
        for text in lines:
            pen.text((x, y), text, INK, font)
            y += line
        return y

    for column, lines in enumerate(heads):
        write(lines, GAP + column * (side + GAP), GAP)
    for lines, across in zip(texts, tiles, strict=True):
        y = write(lines, GAP, y)
        for column, tile in enumerate(across):
            corner = (GAP + column * (side + GAP), y)
            if tile is None:
                pen.rectangle((*corner, corner[0] + side - 1, corner[1] + side - 1), EMPTY)
                pen.text((corner[0] + GAP, corner[1] + GAP), "no image", INK, font)
            else:
                sheet.paste(_fit(tile, side), corner)
        y += side + GAP
    return sheet


def _fit(image: Image.Image, side: int) -> Image.Image:
    # Whole multiples without smoothing: a grid must neither be hidden nor made by the sheet. Only what is too large
    # is averaged down.
    if max(image.size) > side:
        scale = side / max(image.size)
        return image.resize((int(image.width * scale), int(image.height * scale)), Image.Resampling.BOX)
    factor = side // max(image.size)
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)


def wrapped(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> list[str]:
    """Break text into lines of at most `width` pixels.

    Broken behind spaces and the joints of a label, or anywhere in a longer part.
    """
    lines = [""]
    for part in re.split(r"(?<=[ :,_])", text):
        for piece in [part] if font.getlength(part.rstrip()) <= width else part:
            if font.getlength((lines[-1] + piece).rstrip()) <= width:
                lines[-1] += piece
            else:
                lines.append(piece)
    return [line.rstrip() for line in lines]


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
    labels = shown_labels(board, standings, _EXTREMES)
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
