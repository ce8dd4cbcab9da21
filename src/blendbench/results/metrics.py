"""Read what the database knows of each metric."""

import math

from blendbench.core.metric_info import MetricInfo
from blendbench.results.store import Results


def read_metrics(results: Results) -> dict[tuple[str, int], MetricInfo]:
    """Return every metric of a database by name and version."""
    rows = results.rows(
        """
        SELECT metric, metric_version, title, CAST(role AS VARCHAR), CAST(direction AS VARCHAR), unit, low, high,
            margin, decimals, paired, threshold
        FROM metrics
        """
    )
    return {
        (name, version): MetricInfo(
            name,
            version,
            title,
            role,
            direction,
            unit,
            (-math.inf if low is None else low, math.inf if high is None else high),
            margin,
            decimals,
            paired,
            threshold,
        )
        for name, version, title, role, direction, unit, low, high, margin, decimals, paired, threshold in rows
    }
