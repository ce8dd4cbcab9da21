"""Compare a configuration with the same one at an earlier state of its code."""

from collections import defaultdict
from collections.abc import Collection

import numpy as np

from blendbench.core.errors import UsageError
from blendbench.results.pairs import Pairs, read_metrics, read_strata
from blendbench.results.store import Results
from blendbench.verdict.comparison import CellState, Comparison, Place, Scores, ScoreState, pair_up, read_cells

PREVIOUS = "previous"

# Cells of the setting with one code: the one that begins as asked for, or the newest that is not the current one.
_CELLS = """
    WITH old AS (
        SELECT c.*, r.sequence FROM cells c JOIN runs r USING (run_id)
        JOIN current_sets s ON s.experiment = c.experiment AND s.suite_sha256 = c.suite_sha256
            AND s.model_set_sha256 = c.model_set_sha256 AND s.dtype = c.dtype AND s.sampler_sha256 = c.sampler_sha256
        WHERE c.experiment = ? AND c.label = ? AND CASE WHEN ? = '' THEN c.source_sha256 <> (
            SELECT any_value(source_sha256) FROM current_cells WHERE experiment = ? AND label = ?
        ) ELSE starts_with(c.source_sha256, ?) END
    ), last AS (SELECT arg_max(source_sha256, (sequence, source_sha256)) AS source_sha256 FROM old)
    SELECT item, seed, cell_id, error, conditioning_sha256, image_sha256, source_sha256
    FROM old JOIN last USING (source_sha256)
    QUALIFY row_number() OVER (PARTITION BY item, seed ORDER BY sequence DESC, cell_id) = 1
    ORDER BY item, seed
"""
# Their scores at the versions that hold now, paired ones against the baseline's image of now.
_SCORES = """
    SELECT m.metric, m.metric_version, c.item, c.seed, coalesce(CAST(s.status AS VARCHAR), 'missing'), s.value, s.error
    FROM cells c
    JOIN current_metrics m ON m.experiment = c.experiment
    JOIN current_sets t ON t.experiment = c.experiment
    LEFT JOIN current_cells b ON b.experiment = c.experiment AND b.item = c.item AND b.seed = c.seed
        AND b.label = t.baseline
    LEFT JOIN scores s ON s.cell_id = c.cell_id AND s.image_sha256 = c.image_sha256 AND s.metric = m.metric
        AND s.metric_version = m.metric_version AND s.scorer_sha256 = m.scorer_sha256
        AND s.baseline_image_sha256 = CASE WHEN m.paired THEN coalesce(b.image_sha256, '') ELSE '' END
    WHERE c.experiment = ? AND list_contains(?, c.cell_id) ORDER BY ALL
"""
_NOW = """
    SELECT metric, metric_version, item, seed, status, value, error FROM unit_scores
    WHERE experiment = ? AND label = ? ORDER BY ALL
"""


def earlier_code(candidate: str, baseline: str) -> str | None:
    """Return which code of the candidate a baseline names.

    "" for `previous`, the beginning of a hash for `CANDIDATE@HASH`; None for another configuration.
    """
    if baseline == PREVIOUS:
        return ""
    label, at, code = baseline.rpartition("@")
    return code if at and label == candidate and code else None


def compare_codes(
    results: Results, experiment: str, label: str, code: str = "", items: Collection[str] | None = None
) -> tuple[Comparison, str]:
    """Pair a configuration with itself at an earlier code, on the items that both have.

    `code`: the beginning of its hash; default: the newest that is not the current one. Returns the whole hash too.
    Errors: UsageError if there is no such code, or no common item.
    """
    rows = results.rows(_CELLS, [experiment, label, code, experiment, label, code])
    if not rows and code:
        raise UsageError(f"{label}@{code}: {experiment} has no cells of this code")
    if not rows:
        raise UsageError(
            f"{label}: {experiment} has no cells of another code of it; run it before and after the change into one"
            " results folder"
        )
    source = str(rows[0][-1])
    name = f"{label} at {source[:8]}"
    old = {(item, seed): CellState(*state) for item, seed, *state, _ in rows}
    now = read_cells(results, experiment, [label])[label]
    units = sorted(
        unit
        for unit in old.keys() & now.keys()
        if now[unit].cell_id is not None and (items is None or unit[0] in items)
    )
    if not units:
        raise UsageError(f"{label}: its previous code ({source[:12]}) has no item in common with the current one")
    cells = {label: now, name: old}
    scores, pairs = _scores(results, experiment, (label, name), old)
    return pair_up(experiment, (label, name), units, cells, scores, pairs), source


def _scores(
    results: Results, experiment: str, labels: tuple[str, str], old: dict[Place, CellState]
) -> tuple[dict[str, Scores], dict[str, Pairs]]:
    candidate, baseline = labels
    infos = read_metrics(results)
    states: dict[str, Scores] = defaultdict(lambda: defaultdict(dict))
    values: dict[str, dict[str, dict[Place, float]]] = defaultdict(lambda: defaultdict(dict))
    versions = {}
    now = results.rows(_NOW, [experiment, candidate])
    before = results.rows(_SCORES, [experiment, [cell.cell_id for cell in old.values()]])
    for label, rows in ((candidate, now), (baseline, before)):
        for metric, version, item, seed, status, value, error in rows:
            versions[metric] = version
            states[metric][label][item, seed] = ScoreState(status, error)
            if value is not None:
                values[metric][label][item, seed] = value
    pairs, strata = {}, read_strata(results, experiment)
    for metric, version in versions.items():
        first, second = values[metric][candidate], values[metric][baseline]
        units = sorted(first.keys() & second.keys())
        pairs[metric] = Pairs(
            infos[metric, version],
            candidate,
            baseline,
            tuple(item for item, _ in units),
            tuple(seed for _, seed in units),
            np.array([first[unit] for unit in units], dtype=np.float64),
            np.array([second[unit] for unit in units], dtype=np.float64),
            strata,
        )
    return states, pairs
