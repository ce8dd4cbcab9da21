"""Read pairs: values of two configurations at the same items and seeds.

There is no other reader of pairs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from blendbench.core.metric_info import MetricInfo
from blendbench.results.metrics import read_metrics
from blendbench.results.store import Results

Array = NDArray[np.float64]


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
    query = """
        WITH valued AS MATERIALIZED (
            SELECT label, metric, metric_version, item, seed, value FROM current_scores
            WHERE experiment = $1 AND status = 'ok' AND ($3 IS NULL OR label = $2 OR list_contains($3, label))
        )
        SELECT c.*, b.value AS baseline_value FROM valued c JOIN valued b USING (item, seed, metric)
        WHERE b.label = $2 AND c.label <> $2 ORDER BY c.label, metric, item, seed
    """
    # Columns, not rows: a page reads half a million pairs.
    with results.connect() as connection:
        columns = connection.execute(query, [experiment, baseline, labels]).fetchnumpy()
    names, kinds, versions = (columns[name] for name in ("label", "metric", "metric_version"))
    changes = (names[1:] != names[:-1]) | (kinds[1:] != kinds[:-1]) | (versions[1:] != versions[:-1])
    ends = [*(np.flatnonzero(changes) + 1).tolist(), len(names)] if len(names) else []
    return [
        Pairs(
            metrics[kinds[start], int(versions[start])],
            names[start],
            baseline,
            tuple(columns["item"][start:end].tolist()),
            tuple(columns["seed"][start:end].tolist()),
            np.asarray(columns["value"][start:end], dtype=np.float64),
            np.asarray(columns["baseline_value"][start:end], dtype=np.float64),
            strata,
        )
        for start, end in pairwise([0, *ends])
    ]
