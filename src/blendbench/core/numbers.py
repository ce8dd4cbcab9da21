"""Write numbers for people."""

import math
from collections.abc import Sequence

from blendbench.core.metric_info import MetricInfo

MINUS = "−"


def number(value: float, metric: MetricInfo, signed: bool = False) -> str:
    """Write a value with the metric's decimals; never "-0.000"."""
    return fixed(value, metric.decimals, signed)


def fixed(value: float, decimals: int, signed: bool = False) -> str:
    """Write a value with so many decimals; never "-0.000"."""
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else f"{MINUS}∞"
    rounded = round(value, decimals) + 0.0
    return f"{rounded:{'+' if signed and rounded else ''}.{decimals}f}".replace("-", MINUS)


def listed(names: Sequence[str], most: int) -> str:
    """Write the first `most` of some names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def counted(count: int, word: str) -> str:
    """Write a number with its noun."""
    return f"{count} {word}{'' if count == 1 else 's'}"
