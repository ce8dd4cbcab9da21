"""Test that the words of the field are used, not private ones."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EVERYWHERE = (
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "docs",
    "src",
    "tests",
    "metrics",
    "bench",
    "Makefile",
    "pyproject.toml",
)
# What is not written with, the word to use, and where it holds.
WORDS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "picture": (r"pictur", "image", EVERYWHERE),
    "lattice": (r"lattice", "patch grid", EVERYWHERE),
    "draw": (r"\bdr(?:aws?|awn|ew|awing)\b", "generate, sample", EVERYWHERE),
    "tell": (r"\b(?:tells?|told)\b", "report, print, show, raise", EVERYWHERE),
    "mend": (r"\bmend(?:s|ed|ing)?\b", "fix", EVERYWHERE),
    "none of": (r"\bthere (?:is|are) none\b|\bof which there (?:is|are) no\b", "missing, unknown", EVERYWHERE),
    "wolf": (r"\bcr(?:y|ies|ied) wolf\b", "false-positive rate", EVERYWHERE),
}
# (path, line) of what may hold such a word.
EXCEPTIONS: dict[str, list[tuple[str, str]]] = {
    "picture": [
        (r"", r"neutral_picture"),  # the name of a parameter
        (r"miniature/captions\.py$", r"_TEMPLATES = .*"),  # what the miniature was trained on
        (r"miniature/tokenizer\.py$", r"QUESTIONS = .*"),
        (r"results/(?:test_)?convert\.py$", r".*"),  # reads and renames what an older version wrote
    ],
    "draw": [
        (r"", r"ImageDraw\.Draw"),
        (r"miniature/captions\.py$", r"STYLE_TEMPLATES = .*"),  # what the miniature was trained on
        (r"tests/core/test_standard_suite\.py$", r"maker\.drawn"),  # defined beside the suite
    ],
}
SUFFIXES = (".py", ".md", ".toml", ".sql", ".js", ".css", ".html", "Makefile")
# Written elsewhere, for other programs, or before these words were chosen.
LEFT_OUT = (r"^tests/data/", r"^tests/docs/test_words\.py$", r"/weights/", r"/__pycache__/")


def files(*areas: str) -> list[str]:
    """Return the text files of some folders, relative to the root."""
    found = [path for area in areas for path in (ROOT / area).rglob("*")] + [ROOT / area for area in areas]
    names = sorted(path.relative_to(ROOT).as_posix() for path in found if path.is_file())
    return [name for name in names if name.endswith(SUFFIXES) and not any(re.search(out, name) for out in LEFT_OUT)]


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
    found = [line for path in files(*areas) for line in uses(word, path, (ROOT / path).read_text(encoding="utf-8"))]
    assert not found, f"write {instead!r}:\n" + "\n".join(found)


def test_uses_are_found_and_exceptions_hold() -> None:
    assert uses("picture", "docs/a.md", "an image\ntwo Pictures") == ["docs/a.md:2: two Pictures"]
    assert uses("picture", "docs/a.md", "`neutral_picture` is a setting") == []
    assert uses("draw", "docs/a.md", "it is drawn; withdrawn drawback")
    assert not uses("draw", "docs/a.md", "withdrawn drawback")


def test_files_are_looked_at() -> None:
    assert {"README.md", "docs/glossary.md", "src/blendbench/cli/run.py", "metrics/grid_energy.md"} <= set(
        files(*EVERYWHERE)
    )
