"""The contact sheet: items down, reference and configurations across, one seed."""

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
    """Draw the PNG and say what it shows; None (and no file) when the pictures are not there."""
    labels = chosen_labels(board)
    cells = results.query(
        """
        SELECT c.label, c.item, c.seed, c.picture_sha256, i.prompt, i.reference_picture
        FROM current_cells c LEFT JOIN items i USING (suite_sha256, item)
        WHERE c.experiment = ? AND c.seed = (SELECT min(seed) FROM current_cells WHERE experiment = ?)
        ORDER BY c.item, c.label
        """,
        [board.experiment, board.experiment],
    )
    items = _spread(sorted(cells["item"].unique()), ROWS)
    generated = {
        (row["label"], row["item"]): picture_path(results_dir, row["picture_sha256"])
        for row in cells.to_dict("records")
        if isinstance(row["picture_sha256"], str)
    }
    by_item = cells.drop_duplicates("item").set_index("item")
    references = {
        item: results_dir / text for item, text in by_item["reference_picture"].items() if isinstance(text, str)
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


def picture_path(results_dir: Path, sha256: str) -> Path:
    """Where a results folder keeps a generated picture."""
    return results_dir / "pictures" / sha256[:2] / f"{sha256}.png"


def draw_tiles(header: list[str], prompts: list[str], tiles: list[list[Path | None]]) -> Image.Image:
    """Pictures (rows, columns) under column heads, a prompt above each row; at least one picture must exist."""
    font = ImageFont.load_default(FONT_SIZE)
    pictures = [[_open(path) for path in row] for row in tiles]
    largest = max(max(picture.size) for row in pictures for picture in row if picture is not None)
    side = min(largest * max(1, -(-TILE // largest)), LARGEST_TILE)
    heads = [_wrap(label.replace(":", ": ").replace(",", ", "), font, side) for label in header]
    line = FONT_SIZE + 4
    top = max(len(lines) for lines in heads) * line + GAP
    row_height = line + side + GAP
    width = GAP + len(header) * (side + GAP)
    sheet = Image.new("RGB", (width, GAP + top + len(tiles) * row_height), PAPER)
    pen = ImageDraw.Draw(sheet)
    for column, lines in enumerate(heads):
        for index, text in enumerate(lines):
            pen.text((GAP + column * (side + GAP), GAP + index * line), text, INK, font)
    for row, (prompt, across) in enumerate(zip(prompts, pictures, strict=True)):
        y = GAP + top + row * row_height
        pen.text((GAP, y), _shorten(prompt, font, width - 2 * GAP), INK, font)
        for column, picture in enumerate(across):
            corner = (GAP + column * (side + GAP), y + line)
            if picture is None:
                pen.rectangle((*corner, corner[0] + side - 1, corner[1] + side - 1), EMPTY)
                pen.text((corner[0] + GAP, corner[1] + GAP), "no picture", INK, font)
            else:
                sheet.paste(_fit(picture, side), corner)
    return sheet


def _open(path: Path | None) -> Image.Image | None:
    if path is None or not path.is_file():
        return None
    with Image.open(path) as picture:
        return picture.convert("RGB")


def _fit(picture: Image.Image, side: int) -> Image.Image:
    # Whole multiples without smoothing: a grid must neither be hidden nor made by the sheet. Only what is too large
    # is averaged down.
    if max(picture.size) > side:
        scale = side / max(picture.size)
        return picture.resize((int(picture.width * scale), int(picture.height * scale)), Image.Resampling.BOX)
    factor = side // max(picture.size)
    return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)


def _wrap(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return [_shorten(line, font, width) for line in lines]


def _shorten(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}...") > width:
        text = text[:-1]
    return f"{text}..."
