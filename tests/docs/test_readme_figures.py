"""The figures of README are those of the published page."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
FIGURE = re.compile(r"\d\.\d\d \[[−\d.]+, [−\d.]+\]")


def plain(path: Path) -> str:
    text = re.sub(r"</?code>|<wbr>|[`*]", "", path.read_text(encoding="utf-8")).replace("\u00a0", " ")
    return re.sub(r",(?=[−\d])", ", ", text.replace("<br>", " "))


def test_every_gain_of_the_readme_stands_on_the_page_of_core() -> None:
    readme, board = plain(ROOT / "README.md"), plain(ROOT / "reports" / "core.md")
    rows = [line for line in readme.splitlines() if line.startswith("| ") and FIGURE.search(line)]
    assert len(rows) >= 4
    for row in rows:
        family = row.split("|")[1].strip().partition(":")[0]
        of_family = "\n".join(line for line in board.splitlines() if line.startswith(f"| {family}"))
        for figure in FIGURE.findall(row):
            assert figure in of_family, (family, figure)
    sentence = re.search(r"brings (0\.\d\d) of the reference's style (\[.*?\]) for ([\d.]+ %)", readme)
    assert sentence is not None
    assert f"gains {sentence[1]} style {sentence[2]} for {sentence[3]} of the prompt" in board
