"""Read what the database knows of each metric."""

from dataclasses import replace

from blendbench.core.metric_info import MetricInfo
from blendbench.results.store import Results


def read_metrics(results: Results) -> dict[tuple[str, int], MetricInfo]:
    """Return every metric of a database by name and version."""
    rows = results.rows(
        """
        SELECT metric, metric_version, title, CAST(role AS VARCHAR), CAST(direction AS VARCHAR), unit,
            [coalesce(low, '-inf'::DOUBLE), coalesce(high, 'inf'::DOUBLE)], margin, decimals, paired, threshold
        FROM metrics
        """
    )
    found = (MetricInfo(*row) for row in rows)
    return {(info.name, info.version): replace(info, range=(info.range[0], info.range[1])) for info in found}
