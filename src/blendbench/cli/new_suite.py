"""Make a suite of prompts and images that somebody has."""

import csv
import io
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw

from blendbench.core.errors import Problems, UsageError
from blendbench.core.files import printable, read_file
from blendbench.core.images import image_files, image_size, load_image

_TEXT_LIMIT = 8 * 1024 * 1024
_SPLIT_FROM = 12  # items; with fewer all are for tuning and reporting
_EXAMPLES = (
    ("a lighthouse on a cliff at night", "orange stripes on blue", ("#1d3f72", "#f28f3b"), (0, 64)),
    ("a bowl of ripe peaches", "white bars on green", ("#2d6a4f", "#ffffff"), (32, 16)),
    ("a paper boat on a pond", "purple bars on yellow", ("#ffd166", "#6a4c93"), (16, 8)),
    ("a fox asleep in the snow", "thin black lines on pink", ("#ffc8dd", "#111111"), (12, 4)),
)


@dataclass(frozen=True)
class Row:
    """One item: its prompt, reference and what the reference shows."""

    prompt: str
    image: Path
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
    asked = list(_asked(prompts))
    if not asked:
        raise UsageError(f"--prompts {printable(prompts)}: holds no prompt; write one a line")
    by_name = {path.name: path for path in found}
    for line in asked:
        if line.get("image") and line["image"] not in by_name:
            problems.add(f"--prompts {printable(prompts)}: image {line['image']!r} is not in {printable(images)}")
    problems.check()
    named = any(line.get("image") for line in asked)
    rows = []
    for number in range(len(asked) if named else max(len(asked), len(found))):
        line = asked[number % len(asked)]
        image = by_name.get(line.get("image", ""), found[number % len(found)])
        relation = "matched" if line.get("relation") == "matched" else "unrelated"
        rows.append(Row(line["prompt"], image, line.get("caption") or _caption(image), relation))
    return rows


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
        rows.append(Row(prompt, path, caption))
    return rows


def write_suite(folder: Path, head: str, rows: list[Row]) -> None:
    """Write suite.toml and copies of the images into an empty folder."""
    (folder / "images").mkdir(exist_ok=True)
    names: dict[Path, str] = {}
    for path in dict.fromkeys(row.image for row in rows):
        names[path] = f"images/{len(names) + 1:03}-{_slug(path.stem, 30) or 'image'}{path.suffix.lower()}"
        shutil.copyfile(path, folder / names[path])
    height, width = image_size(rows[0].image)
    for name, colour in (("blank", "#808080"), ("white", "#ffffff")):
        Image.new("RGB", (width, height), colour).save(folder / "images" / f"{name}.png")
    used = list(names.values())
    text = head
    for number, row in enumerate(rows):
        reference = names[row.image]
        fields = {
            "id": "-".join(filter(None, (f"{number + 1:03}", _slug(row.prompt, 40)))),
            "prompt": row.prompt,
            "reference": reference,
            "reference_caption": row.caption,
            "unrelated": used[(used.index(reference) + 1) % len(used)],
            "relation": row.relation,
        }
        if len(rows) >= _SPLIT_FROM:
            fields["split"] = "test" if number % 3 else "dev"
        # A JSON string is a TOML string, but for one control character.
        lines = (f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in fields.items())
        text += "\n[[items]]\n" + "\n".join(lines) + "\n"
    (folder / "suite.toml").write_text(text, encoding="utf-8")


def _asked(path: Path) -> Iterator[dict[str, str]]:
    """Yield the prompts of a file, with what a .csv says beside them."""
    try:
        text = read_file(path, _TEXT_LIMIT).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UsageError(f"--prompts {printable(path)}: not UTF-8; save it as UTF-8 text") from None
    if path.suffix.lower() != ".csv":
        yield from ({"prompt": _line(line)} for line in text.splitlines() if _line(line))
        return
    reader = csv.DictReader(io.StringIO(text, newline=""))
    if "prompt" not in (reader.fieldnames or ()):
        raise UsageError(f"--prompts {printable(path)}: has no column 'prompt'; name it in the first line")
    for row in reader:
        cells = {key: _line(value) for key, value in row.items() if isinstance(key, str) and isinstance(value, str)}
        if cells.get("prompt"):
            yield cells


def _caption(image: Path) -> str:
    beside = image.with_suffix(".txt")
    if beside.is_file():
        return _line(read_file(beside, _TEXT_LIMIT).decode("utf-8-sig", errors="replace"))
    return _line(re.sub(r"[_-]+", " ", image.stem))


def _line(text: str) -> str:
    return " ".join(text.replace("\x7f", " ").split())


def _slug(text: str, longest: int) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:longest].strip("-")
