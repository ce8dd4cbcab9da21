"""Contact sheet of one seed: items down, reference and configurations across."""

import re
from collections.abc import Callable
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

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
