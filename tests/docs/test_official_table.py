"""The table of docs/models.md names, for each property, a source and a test that is there."""

import ast
import re
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[2]
HEADING = "\n## Checked against the official pipelines\n"


def table() -> list[list[str]]:
    section = (ROOT / "docs" / "models.md").read_text(encoding="utf-8").partition(HEADING)[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def functions_in(file: str) -> set[str]:
    (path,) = (ROOT / "tests").rglob(file)
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef)}


def test_every_row_has_a_value_a_source_and_a_test_that_exists() -> None:
    rows = table()
    assert len(rows) >= 18
    for row in rows:
        assert len(row) == 4 and all(row), row
        property_, _, official, test = row
        assert re.search(r"`[^`]+`", official), f"{property_}: name the file or configuration"
        named = re.fullmatch(r"`(test_\w+\.py)::(test_\w+)`", test)
        assert named, f"{property_}: {test!r} is no `file::test`"
        assert named[2] in functions_in(named[1]), f"{property_}: {test} does not exist"
    assert not [name for name, count in Counter(row[0] for row in rows).items() if count > 1]
