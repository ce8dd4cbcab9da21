"""The contact sheet: items down, reference and configurations across, one seed."""

import re
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from blendbench.reports.board import BASELINE, Board
from blendbench.results.store import Results

ROWS = 4
COLUMNS = 8
TILE = 128  # least side of a tile in the sheet, in pixels
LARGEST_TILE = 256
GAP = 8
FONT_SIZE = 12
INK, PAPER, EMPTY = (20, 20, 20), (255, 255, 255), (225, 225, 225)


def draw_contact_sheet(results: Results, board: Board, results_dir: Path, path: Path) -> str | None:
    """Draw the PNG and say what it shows; None (and no file) when the images are not there."""
    labels = chosen_labels(board)
    cells = results.query(
        """
        SELECT c.label, c.item, c.seed, c.image_sha256, i.prompt, i.reference_image
        FROM current_cells c LEFT JOIN items i USING (suite_sha256, item)
        WHERE c.experiment = ? AND c.seed = (SELECT min(seed) FROM current_cells WHERE experiment = ?)
        ORDER BY c.item, c.label
        """,
        [board.experiment, board.experiment],
    )
    items = _spread(sorted(cells["item"].unique()), ROWS)
    generated = {
        (row["label"], row["item"]): image_path(results_dir, row["image_sha256"])
        for row in cells.to_dict("records")
        if isinstance(row["image_sha256"], str)
    }
    by_item = cells.drop_duplicates("item").set_index("item")
    references = {
        item: results_dir / text for item, text in by_item["reference_image"].items() if isinstance(text, str)
    }
    tiles = [[references.get(item), *(generated.get((label, item)) for label in labels)] for item in items]
    if not any(tile is not None and tile.is_file() for row in tiles for tile in row[1:]):
        path.unlink(missing_ok=True)
        return None
    prompts = [str(by_item.loc[item, "prompt"]) for item in items]
    draw_tiles(["reference", *labels], prompts, tiles).save(path, "PNG")
    return caption(results, board)


def caption(results: Results, board: Board) -> str:
    """What the sheet of an experiment shows."""
    rows = results.query("SELECT min(seed) AS seed FROM current_cells WHERE experiment = ?", [board.experiment])
    return (
        f"Seed {rows['seed'][0]}; items spread evenly over the suite, strategies over the overview from its first to"
        " its last, each with the configuration that comes first there. Not chosen by eye."
    )


def chosen_labels(board: Board) -> list[str]:
    """The baseline, strategies spread over the board by their best-placed configuration, and the canary last."""
    chosen: dict[str, str] = {}
    for configuration in board.configurations:
        if configuration.complete and not configuration.no_op and not configuration.control:
            chosen.setdefault(configuration.strategy, configuration.label)
    canary = [entry.label for entry in board.configurations if entry.strategy == "canary"]
    others = _spread([label for label in chosen.values() if label != BASELINE], COLUMNS - 2 - len(canary))
    return [BASELINE, *others, *canary]


def _spread(names: list[str], count: int) -> list[str]:
    """`count` of the names at equal distances, the first and the last among them."""
    return names if len(names) <= count else [names[round(i * (len(names) - 1) / (count - 1))] for i in range(count)]


def image_path(results_dir: Path, sha256: str) -> Path:
    """Where a results folder keeps a generated image."""
    return results_dir / "images" / sha256[:2] / f"{sha256}.png"


def draw_tiles(header: list[str], prompts: list[str], tiles: list[list[Path | None]]) -> Image.Image:
    """Images (rows, columns) under column heads, a prompt above each row; at least one image must exist."""
    font = ImageFont.load_default(FONT_SIZE)
    images = [[_open(path) for path in row] for row in tiles]
    largest = max(max(image.size) for row in images for image in row if image is not None)
    side = min(largest * max(1, -(-TILE // largest)), LARGEST_TILE)
    width = GAP + len(header) * (side + GAP)
    heads = [wrapped(label, font, side) for label in header]
    captions = [wrapped(prompt, font, width - 2 * GAP) for prompt in prompts]
    line = FONT_SIZE + 4
    y = GAP + max(map(len, heads)) * line + GAP
    height = y + sum(len(lines) * line + side + GAP for lines in captions)
    sheet = Image.new("RGB", (width, height), PAPER)
    pen = ImageDraw.Draw(sheet)

    def write(lines: list[str], x: int, y: int) -> int:
        for text in lines:
            pen.text((x, y), text, INK, font)
            y += line
        return y

    for column, lines in enumerate(heads):
        write(lines, GAP + column * (side + GAP), GAP)
    for lines, across in zip(captions, images, strict=True):
        y = write(lines, GAP, y)
        for column, image in enumerate(across):
            corner = (GAP + column * (side + GAP), y)
            if image is None:
                pen.rectangle((*corner, corner[0] + side - 1, corner[1] + side - 1), EMPTY)
                pen.text((corner[0] + GAP, corner[1] + GAP), "no image", INK, font)
            else:
                sheet.paste(_fit(image, side), corner)
        y += side + GAP
    return sheet


def _open(path: Path | None) -> Image.Image | None:
    if path is None or not path.is_file():
        return None
    with Image.open(path) as image:
        return image.convert("RGB")


def _fit(image: Image.Image, side: int) -> Image.Image:
    # Whole multiples without smoothing: a grid must neither be hidden nor made by the sheet. Only what is too large
    # is averaged down.
    if max(image.size) > side:
        scale = side / max(image.size)
        return image.resize((int(image.width * scale), int(image.height * scale)), Image.Resampling.BOX)
    factor = side // max(image.size)
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)


def wrapped(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> list[str]:
    """Lines of at most `width` pixels: broken behind spaces and the joints of a label, or anywhere in a longer part."""
    lines = [""]
    for part in re.split(r"(?<=[ :,_])", text):
        for piece in [part] if font.getlength(part.rstrip()) <= width else part:
            if font.getlength((lines[-1] + piece).rstrip()) <= width:
                lines[-1] += piece
            else:
                lines.append(piece)
    return [line.rstrip() for line in lines]
