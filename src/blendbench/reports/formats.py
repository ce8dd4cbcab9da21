"""Format numbers, intervals and tables for pages and terminal."""

import re
from collections.abc import Sequence
from html import escape

from blendbench.core.metric_info import MetricInfo
from blendbench.core.numbers import number
from blendbench.reports.board import Entry
from blendbench.verdict.decide import Effect

_UNBROKEN = 12  # letters of a part of a label that is not broken: more would widen a column


def p_text(p: float) -> str:
    """Write a p-value: three decimals without a leading zero."""
    return "<.001" if p < 0.001 else f"{p:.3f}".lstrip("0") if p < 1 else "1"


def difference_text(entry: Entry, metric: MetricInfo) -> str:
    """Write a difference, its decision and, on a line below, its interval as a markdown cell."""
    if entry.difference is None:
        return "–"
    found, word = entry.difference, decision_word(entry.effect)
    # Spaces at which a narrow column breaks, for several of them have to stand beside each other.
    interval = f"[{number(found.low, metric, signed=True)}, {number(found.high, metric, signed=True)}]"
    return f"{number(found.mean, metric, signed=True)} {word}".rstrip() + f"<br>{interval}"


def decision_word(effect: Effect | None) -> str:
    """Return the decision; empty for what does not judge."""
    return effect.decision if effect is not None and effect.judged and effect.decision is not None else ""


def label_text(label: str) -> str:
    """Write a label as markdown code that may break between its parts, and within one that is long."""
    parts = re.findall("[^:,]+[:,]?|[:,]", escape(label))
    broken = "<wbr>".join(re.sub("([_=])", r"\1<wbr>", part) if len(part) > _UNBROKEN else part for part in parts)
    return f"`{label}`" if broken == label else f"<code>{broken}</code>"


def plain_text(text: str) -> str:
    """Write a text of unknown origin so that markdown and HTML show it as it is, on one line."""
    return re.sub(r"([\\`*_\[\]|~])", r"\\\1", escape(" ".join(text.split()), quote=False))


def blocks(*parts: str | Sequence[str]) -> list[str]:
    """Return the lines of a page's parts, with an empty line behind each; empty parts are left out."""
    return [line for part in parts if part for line in ([part, ""] if isinstance(part, str) else [*part, ""])]


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> list[str]:
    """Write a GitHub table; columns named in `right` are aligned right."""
    marks = ["---:" if column in right else "---" for column in range(len(header))]
    return [_row(header), _row(marks), *(_row(row) for row in rows)]


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Write aligned columns, two spaces apart."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (header, *rows)
    ]


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
