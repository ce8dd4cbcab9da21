"""Make a suite of prompts and images that somebody has."""

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

from PIL import Image, ImageDraw

from blendbench.core.errors import Problems, UsageError
from blendbench.core.files import printable, read_file
from blendbench.core.images import image_files, image_identity, image_size, load_image
from blendbench.core.tables import csv_rows, read_text

_TEXT_LIMIT = 8 * 1024 * 1024
_SPLIT_FROM = 12  # items; with fewer all are for tuning and reporting
_COLUMNS = ("prompt", "image", "caption", "relation")
_EXAMPLES = (
    ("a lighthouse on a cliff at night", "orange stripes on blue", ("#1d3f72", "#f28f3b"), (0, 64)),
    ("a bowl of ripe peaches", "white bars on green", ("#2d6a4f", "#ffffff"), (32, 16)),
    ("a paper boat on a pond", "purple bars on yellow", ("#ffd166", "#6a4c93"), (16, 8)),
    ("a fox asleep in the snow", "thin black lines on pink", ("#ffc8dd", "#111111"), (12, 4)),
)


@dataclass(frozen=True)
class Row:
    """One item: its prompt, reference, another image, and what the reference shows."""

    prompt: str
    image: Path
    unrelated: Path
    caption: str
    relation: str = "unrelated"


def rows_of(images: Path, prompts: Path) -> list[Row]:
    """Pair prompts and images: by the file if it names images, else in their order.

    The shorter list starts again. Errors: UsageError with every image and line that cannot be used.
    """
    found = image_files(images).images
    if len(found) < 2:
        raise UsageError(
            f"--images {printable(images)}: needs two images at least: each is the unrelated one of another"
        )
    problems = Problems()
    for path in found:
        with problems.collected():
            load_image(path)
    problems.check()
    asked = _asked(prompts, {path.name: path for path in found})
    named = any(line.image for line in asked)
    rows = []
    for number in range(len(asked) if named else max(len(asked), len(found))):
        line = asked[number % len(asked)]
        image = line.image or found[number % len(found)]
        rows.append(Row(line.prompt, image, _another(image, found), line.caption or _caption(image), line.relation))
    return rows


def _another(image: Path, found: Sequence[Path]) -> Path:
    """Return the next image that shows something else: copies of one image are no control. Errors: UsageError."""
    start = found.index(image) + 1
    for other in (*found[start:], *found[:start]):
        if image_identity(other) != image_identity(image):
            return other
    raise UsageError(f"--images {printable(image.parent)}: all are copies of one image; add another one")


def example_rows(folder: Path) -> list[Row]:
    """Make references of plain patterns in a folder, to start from."""
    rows = []
    for number, (prompt, caption, (ground, ink), (gap, width)) in enumerate(_EXAMPLES, start=1):
        image = Image.new("RGB", (512, 512), ground)
        brush = ImageDraw.Draw(image)
        for left in range(0, 512, gap + width or 1):
            brush.rectangle((left, 0, left + width // 2, 512), fill=ink)
        path = folder / f"reference-{number}.png"
        image.save(path)
        rows.append(Row(prompt, path, path, caption))
    others = [*rows[1:], rows[0]]
    return [replace(row, unrelated=other.image) for row, other in zip(rows, others, strict=True)]


def write_suite(folder: Path, head: str, rows: list[Row]) -> None:
    """Write suite.toml and copies of the images into an empty folder."""
    (folder / "images").mkdir(exist_ok=True)
    names: dict[Path, str] = {}
    for path in dict.fromkeys([*(row.image for row in rows), *(row.unrelated for row in rows)]):
        names[path] = f"images/{len(names) + 1:03}-{_slug(path.stem, 30) or 'image'}{path.suffix.lower()}"
        shutil.copyfile(path, folder / names[path])
    height, width = image_size(rows[0].image)
    for name, colour in (("blank", "#808080"), ("white", "#ffffff")):
        Image.new("RGB", (width, height), colour).save(folder / "images" / f"{name}.png")
    text = head
    for number, row in enumerate(rows):
        fields = {
            "id": "-".join(filter(None, (f"{number + 1:03}", _slug(row.prompt, 40)))),
            "prompt": row.prompt,
            "reference": names[row.image],
            "reference_caption": row.caption,
            "unrelated": names[row.unrelated],
            "relation": row.relation,
        }
        if len(rows) >= _SPLIT_FROM:
            fields["split"] = "test" if number % 3 else "dev"
        # A JSON string is a TOML string, but for one control character.
        lines = (f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in fields.items())
        text += "\n[[items]]\n" + "\n".join(lines) + "\n"
    (folder / "suite.toml").write_text(text, encoding="utf-8")


@dataclass(frozen=True)
class _Line:
    prompt: str
    image: Path | None = None
    caption: str = ""
    relation: str = "unrelated"


def _asked(path: Path, images: Mapping[str, Path]) -> list[_Line]:
    """Return the prompts of a file, with what a .csv says beside them. Errors: UsageError."""
    said = f"--prompts {printable(path)}"
    if path.suffix.lower() == ".csv":
        lines = _table(path, said, images)
    else:
        lines = [_Line(_line(line)) for line in read_text(path, said).splitlines() if _line(line)]
    if not lines:
        raise UsageError(f"{said}: holds no prompt; write one a line")
    return lines


def _table(path: Path, said: str, images: Mapping[str, Path]) -> list[_Line]:
    columns, rows = csv_rows(path, said)
    if "prompt" not in columns:
        raise UsageError(f"{said}: has no column 'prompt'; name it in the first line, between commas")
    problems = Problems()
    for column in sorted(columns - {*_COLUMNS}):
        if meant := get_close_matches(column.lower(), _COLUMNS, n=1, cutoff=0.7):
            problems.add(f"{said}: unknown column {column!r}; did you mean {meant[0]!r}?")
    lines = []
    for number, row in rows:
        prompt, image = _line(row.get("prompt", "")), row.get("image", "")
        relation = row.get("relation", "").lower() or "unrelated"
        if not prompt:
            problems.add(f"{said}: line {number} has no prompt")
        if image and image not in images:
            problems.add(f"{said}: line {number}: image {image!r} is not in --images")
        elif not image and any(other.get("image") for _, other in rows):
            problems.add(f"{said}: line {number} has no image, and others have")
        if relation not in ("matched", "unrelated"):
            problems.add(f"{said}: line {number}: relation = {relation!r}; write matched or unrelated")
        lines.append(_Line(prompt, images.get(image), _line(row.get("caption", "")), relation))
    problems.check()
    return lines


def _caption(image: Path) -> str:
    beside = image.with_suffix(".txt")
    if beside.is_file():
        return _line(read_file(beside, _TEXT_LIMIT).decode("utf-8-sig", errors="replace"))
    return _line(re.sub(r"[_-]+", " ", image.stem))


def _line(text: str) -> str:
    return " ".join(text.replace("\x7f", " ").split())


def _slug(text: str, longest: int) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:longest].strip("-")
