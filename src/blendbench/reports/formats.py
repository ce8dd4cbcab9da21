"""How numbers, intervals and tables are written, in the report and on the terminal."""

import math
from collections.abc import Sequence
from html import escape
from typing import Protocol

from blendbench.reports.board import JUDGED_KINDS, Entry, MetricInfo

MINUS = "−"
_TIGHT = "\u00a0"  # a space at which a browser does not break the line


class Written(Protocol):
    """What says with how many decimals its values are written: a metric, wherever it comes from."""

    @property
    def decimals(self) -> int: ...


def number(value: float, metric: Written, signed: bool = False) -> str:
    """The value with the metric's decimals; never "-0.000"."""
    if math.isnan(value):
        return "–"
    rounded = round(value, metric.decimals) + 0.0
    return f"{rounded:{'+' if signed and rounded else ''}.{metric.decimals}f}".replace("-", MINUS)


def p_text(p: float) -> str:
    """A p-value: three decimals without a leading zero."""
    return "<.001" if p < 0.001 else f"{p:.3f}".lstrip("0") if p < 1 else "1"


def counted(count: int, word: str) -> str:
    """A number with its noun."""
    return f"{count} {word}{'' if count == 1 else 's'}"


def estimate_text(entry: Entry, metric: MetricInfo) -> str:
    """Mean of one entry and, on a line below, its interval: a cell of a markdown table."""
    if entry.estimate is None:
        return "–"
    return _with_interval(entry.estimate.mean, entry.estimate.low, entry.estimate.high, metric, signed=False)


def effect_text(entry: Entry, metric: MetricInfo) -> str:
    """Difference to the baseline with verdict and, on a line below, its interval: a cell of a markdown table."""
    if entry.effect is None:
        return "–"
    effect = entry.effect
    return _with_interval(effect.mean, effect.low, effect.high, metric, signed=True, told=verdict(entry, metric))


def verdict(entry: Entry, metric: MetricInfo) -> str:
    """better | worse (Holm p < .05), same (interval within the margin), unclear; empty for kinds that do not judge."""
    if entry.effect is None or metric.direction == "none" or metric.kind not in JUDGED_KINDS:
        return ""
    if max(abs(entry.effect.low), abs(entry.effect.high)) <= metric.margin:
        return "same"
    if entry.p_adjusted is None or entry.p_adjusted >= 0.05:
        return "unclear"
    return "better" if (entry.effect.mean > 0) == (metric.direction == "higher") else "worse"


def label_text(label: str) -> str:
    """A configuration's label as code in markdown, which may break where its parts are joined."""
    if ":" not in label:
        return f"`{label}`"
    return f"<code>{escape(label).replace(':', ':<wbr>').replace(',', ',<wbr>')}</code>"


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> list[str]:
    """A GitHub table; columns named in `right` are aligned right."""
    marks = ["---:" if column in right else "---" for column in range(len(header))]
    return [_row(header), _row(marks), *(_row(row) for row in rows)]


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _with_interval(mean: float, low: float, high: float, metric: MetricInfo, signed: bool, told: str = "") -> str:
    # On two lines that do not break, for three such columns have to stand beside each other.
    interval = f"[{number(low, metric, signed)},{_TIGHT}{number(high, metric, signed)}]"
    return f"{number(mean, metric, signed)}{_TIGHT if told else ''}{told}<br>{interval}"
