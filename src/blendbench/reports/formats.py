"""Format numbers, intervals and tables for pages and terminal."""

from collections.abc import Sequence
from html import escape

from blendbench.core.metric_info import MetricInfo
from blendbench.core.numbers import number
from blendbench.stats.intervals import Estimate
from blendbench.verdict.decide import Effect

# Roles that say whether a configuration is good; drift and diagnostics only say how much it changed.
JUDGED_ROLES = ("prompt", "artifact", "gain")
_TIGHT = "\u00a0"  # a space at which a browser does not break the line


def p_text(p: float) -> str:
    """Write a p-value: three decimals without a leading zero."""
    return "<.001" if p < 0.001 else f"{p:.3f}".lstrip("0") if p < 1 else "1"


def estimate_text(estimate: Estimate | None, metric: MetricInfo) -> str:
    """Write a mean and, on a line below, its interval as a markdown cell."""
    if estimate is None:
        return "–"
    return _with_interval(estimate.mean, estimate.low, estimate.high, metric, signed=False)


def effect_text(effect: Effect | None) -> str:
    """Write a difference, its decision and its interval as a markdown cell."""
    if effect is None:
        return "–"
    return _with_interval(effect.mean, effect.low, effect.high, effect.metric, signed=True, word=decision_word(effect))


def decision_word(effect: Effect) -> str:
    """Return better, worse, equivalent or undecided.

    Empty for roles that do not judge.
    """
    if effect.decision is None or effect.metric.direction == "none" or effect.metric.role not in JUDGED_ROLES:
        return ""
    return effect.decision


def label_text(label: str) -> str:
    """Write a label as markdown code that may break between its parts."""
    if ":" not in label:
        return f"`{label}`"
    return f"<code>{escape(label).replace(':', ':<wbr>').replace(',', ',<wbr>')}</code>"


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


def _with_interval(mean: float, low: float, high: float, metric: MetricInfo, signed: bool, word: str = "") -> str:
    # On two lines that do not break, for three such columns have to stand beside each other.
    interval = f"[{number(low, metric, signed)},{_TIGHT}{number(high, metric, signed)}]"
    return f"{number(mean, metric, signed)}{_TIGHT if word else ''}{word}<br>{interval}"
