"""Read metrics, and pairs: values of two configurations at the same items and seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import duckdb
import numpy as np
from numpy.typing import NDArray

from blendbench.core.metric_info import MetricInfo
from blendbench.results.store import Results

Array = NDArray[np.float64]
_KINDS = """
    SELECT metric, metric_version, CAST(row_number() OVER (ORDER BY metric, metric_version) - 1 AS INTEGER) AS place
    FROM metrics
"""


@dataclass(frozen=True, eq=False)
class Pairs:
    """One metric of a configuration beside a baseline.

    `items` and `seeds` name unit i; `values` and `baseline_values` are (units,). Units that one of the two has no value
    for are not among them. `strata`: the stratum of each item of the suite.
    """

    metric: MetricInfo
    label: str
    baseline: str
    items: tuple[str, ...]
    seeds: tuple[int, ...]
    values: Array
    baseline_values: Array
    strata: Mapping[str, str] = field(default_factory=dict)

    @property
    def differences(self) -> Array:
        """Candidate minus baseline (units,)."""
        return self.values - self.baseline_values


def read_strata(results: Results, experiment: str) -> dict[str, str]:
    """Return the stratum of each item of an experiment's suite."""
    return dict(
        results.rows(
            "SELECT item, stratum FROM items JOIN current_sets USING (suite_sha256) WHERE experiment = ?", [experiment]
        )
    )


def read_pairs(results: Results, experiment: str, baseline: str, labels: Sequence[str] | None = None) -> list[Pairs]:
    """Read pairs (default: all) with `baseline`, by label and metric."""
    metrics, strata = read_metrics(results), read_strata(results, experiment)
    # The rows of the view `pairs`: DuckDB joins all pairs of configurations there before it looks at the baseline.
    # Names come as places in sorted lists: of millions of pairs, their texts would take more memory than all else.
    query = f"""
        WITH labels AS ({_places("label")}), names AS ({_places("item")}), kinds AS ({_KINDS}),
        valued AS MATERIALIZED (
            SELECT l.place AS label, k.place AS metric, n.place AS item, s.seed, s.value FROM current_scores s
            JOIN labels l USING (label) JOIN names n USING (item) JOIN kinds k USING (metric, metric_version)
            WHERE s.experiment = $1 AND s.status = 'ok'
                AND ($3 IS NULL OR s.label = $2 OR list_contains($3, s.label))
        ), base AS (SELECT * FROM valued WHERE label = (SELECT place FROM labels WHERE label = $2))
        SELECT c.label, c.metric, c.item, c.seed, c.value, b.value AS baseline_value
        FROM valued c JOIN base b USING (item, seed, metric) WHERE c.label <> b.label ORDER BY ALL
    """
    columns = results.read(query, [experiment, baseline, labels], duckdb.DuckDBPyConnection.fetchnumpy)
    names, items = (
        [name for name, _ in results.rows(f"{_places(column)} ORDER BY place", [experiment])]
        for column in ("label", "item")
    )
    kinds = [(name, int(version)) for name, version, _ in results.rows(f"{_KINDS} ORDER BY place")]
    at, of = columns["label"], columns["metric"]
    ends = [*(np.flatnonzero((at[1:] != at[:-1]) | (of[1:] != of[:-1])) + 1).tolist(), len(at)] if len(at) else []
    return [
        Pairs(
            metrics[kinds[of[start]]],
            names[at[start]],
            baseline,
            tuple(items[place] for place in columns["item"][start:end].tolist()),
            tuple(columns["seed"][start:end].tolist()),
            np.array(columns["value"][start:end], dtype=np.float64),
            np.array(columns["baseline_value"][start:end], dtype=np.float64),
            strata,
        )
        for start, end in pairwise([0, *ends])
    ]


def _places(column: str) -> str:
    """Return the query of all values of a column of an experiment's cells, each with its place in their order."""
    return f"""
        SELECT {column}, CAST(row_number() OVER (ORDER BY {column}) - 1 AS INTEGER) AS place
        FROM (SELECT DISTINCT {column} FROM cells WHERE experiment = $1)
    """


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
