"""Test that the words of the field are used, not private ones."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROSE = ("README.md", "CHANGELOG.md", "docs")
# What is not written with, the word to use, and where it holds.
WORDS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "picture": (r"pictur", "image", PROSE),
    "lattice": (r"lattice", "patch grid", PROSE),
    "draw": (r"\bdr(?:aws?|awn|ew|awing)\b", "generate, sample", PROSE),
    "tell": (r"\b(?:tells?|told)\b", "report, print, show, raise", PROSE),
    "mend": (r"\bmend(?:s|ed|ing)?\b", "fix", PROSE),
    "none of": (r"\bthere (?:is|are) none\b|\bof which there (?:is|are) no\b", "missing, unknown", PROSE),
    "wolf": (r"\bcr(?:y|ies|ied) wolf\b", "false-positive rate", PROSE),
}
# (path, line) of what may hold such a word: names of strategy parameters, and sentences that networks were trained on.
EXCEPTIONS: dict[str, list[tuple[str, str]]] = {
    "picture": [(r"", r"neutral_picture")],
}


def tracked(*areas: str) -> list[str]:
    """Return the text files of the repository that git knows or would add."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *areas],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    suffixes = (".py", ".md", ".toml", ".sql", ".js", ".css", ".html", ".txt", ".json", "Makefile")
    left_out = {Path(__file__).relative_to(ROOT).as_posix(), "docs/sql.md"}
    return [path for path in listed if path.endswith(suffixes) and "/weights/" not in path and path not in left_out]


def uses(word: str, path: str, text: str) -> list[str]:
    """Return the lines of a file that hold a forbidden word."""
    pattern = re.compile(WORDS[word][0], re.IGNORECASE)
    allowed = [re.compile(line) for where, line in EXCEPTIONS.get(word, []) if re.search(where, path)]
    found = []
    for number, line in enumerate(text.splitlines(), start=1):
        rest = line
        for exception in allowed:
            rest = exception.sub("", rest)
        if pattern.search(rest):
            found.append(f"{path}:{number}: {line.strip()[:100]}")
    return found


@pytest.mark.parametrize("word", WORDS)
def test_a_word_is_not_used(word: str) -> None:
    _, instead, areas = WORDS[word]
    found = [line for path in tracked(*areas) for line in uses(word, path, (ROOT / path).read_text(encoding="utf-8"))]
    assert not found, f"write {instead!r}:\n" + "\n".join(found)


def test_uses_are_found_and_exceptions_hold() -> None:
    assert uses("picture", "docs/a.md", "an image\ntwo Pictures") == ["docs/a.md:2: two Pictures"]
    assert uses("picture", "docs/a.md", "`neutral_picture` is a setting") == []
    assert uses("draw", "docs/a.md", "it is drawn; withdrawn drawback")
    assert not uses("draw", "docs/a.md", "withdrawn drawback")


def test_files_are_looked_at() -> None:
    assert {"README.md", "docs/glossary.md"} <= set(tracked(*PROSE))
