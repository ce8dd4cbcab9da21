"""The numbers of a leaderboard, from the database alone.

One experiment with intervals, differences and ranks.
"""

import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from blendbench.core.config import suggest
from blendbench.core.errors import UsageError
from blendbench.core.metric_info import MetricInfo
from blendbench.reports.formats import JUDGED_ROLES
from blendbench.results.metrics import read_metrics
from blendbench.results.pairs import read_pairs
from blendbench.results.store import Results
from blendbench.stats.clusters import Array, cluster_means
from blendbench.stats.intervals import Estimate, bootstrap_t, intervals
from blendbench.stats.ranks import Ranking, simultaneous_ranks
from blendbench.verdict.comparison import experiments_of
from blendbench.verdict.decide import Effect, decide_effects, measure_effects

# What the overview shows of each judged role: the first of these that was measured, else the first of its role by name.
# The prompt is read by the probe, which shares no weights with the generator or with CLIP. A grid counts by how visible
# it is: its energy alone puts an invisible grid on a flat image level with a destroyed image.
HEADLINES = {
    "prompt": ("attribute_adherence",),
    "artifact": ("grid_severity", "grid_energy"),
    "gain": ("reference_style",),
}
Unit = tuple[str, int]  # item and seed


@dataclass(frozen=True)
class Entry:
    """One configuration under one metric.

    If it is not complete it has no effect and no rank, only a partial mean. One that was planned on fewer items than
    the baseline is complete on these, and has no rank.
    """

    ok: int
    expected: int
    complete: bool
    estimate: Estimate | None = None
    effect: Effect | None = None
    ranking: Ranking | None = None


@dataclass(frozen=True)
class Configuration:
    """One row of the leaderboard.

    `same_conditioning` counts cells whose conditioning is bit for bit the baseline's.
    """

    label: str
    strategy: str
    params: dict[str, Any]
    control: bool
    ok: int
    failed: int
    expected: int
    same_conditioning: int
    entries: dict[str, Entry] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Return whether every expected cell is ok."""
        return self.ok == self.expected

    @property
    def no_op(self) -> bool:
        """Return whether the strategy did nothing in any cell."""
        return 0 < self.expected == self.same_conditioning


@dataclass(frozen=True)
class Board:
    """One experiment: configurations in page order, and data sources.

    `means` holds, by metric, the labels that have every item of the baseline and their item means (labels, items).
    """

    experiment: str
    baseline: str
    metrics: dict[str, MetricInfo]
    configurations: tuple[Configuration, ...]
    means: dict[str, tuple[list[str], Array]]
    headlines: dict[str, str]
    unmeasured: dict[str, str]
    errors: tuple[tuple[str, str, int], ...]
    run: dict[str, Any]
    items: int
    seeds: int
    other_cells: int

    def configuration(self, label: str) -> Configuration | None:
        """Return the configuration of that label, or None."""
        return next((entry for entry in self.configurations if entry.label == label), None)

    def of_role(self, *roles: str) -> list[MetricInfo]:
        """Return the metrics of these roles, headline first, then by name."""
        chosen = [metric for metric in self.metrics.values() if metric.role in roles]
        return sorted(chosen, key=lambda m: (roles.index(m.role), m.name != self.headlines.get(m.role), m.name))


def read_board(results: Results, experiment: str | None = None) -> Board:
    """Compute the board of `experiment` (default: that of the latest run).

    Errors: UsageError for an unknown one.
    """
    experiment = _experiment(results, experiment)
    run = _run(results, experiment)
    baseline = str(run["baseline"])
    scores = _scores(results, experiment)
    infos = read_metrics(results)
    versions = results.rows(
        "SELECT metric, metric_version FROM current_metrics WHERE experiment = ? ORDER BY metric", [experiment]
    )
    metrics = {name: infos[name, version] for name, version in versions if scores[name].values}
    headlines = _headlines(metrics)
    entries: dict[str, dict[str, Entry]] = {}
    means: dict[str, tuple[list[str], Array]] = {}
    for name, metric in metrics.items():
        entries[name], means[name] = _entries(scores[name], metric, baseline)
    _add_effects(results, experiment, baseline, entries)
    configurations = [
        replace(row, entries={name: found[row.label] for name, found in entries.items() if row.label in found})
        for row in _configurations(results, experiment)
    ]
    (items, seeds), *_ = results.rows(
        "SELECT count(DISTINCT item), count(DISTINCT seed) FROM expected_cells WHERE experiment = ?", [experiment]
    )
    return Board(
        experiment=experiment,
        baseline=baseline,
        metrics=metrics,
        configurations=tuple(sorted(configurations, key=lambda entry: _order(entry, baseline, headlines))),
        means=means,
        headlines=headlines,
        unmeasured={name: scores[name].reason for name, _ in versions if name not in metrics},
        errors=_errors(results, experiment),
        run=run,
        items=int(items),
        seeds=int(seeds),
        other_cells=_other_cells(results, experiment),
    )


@dataclass
class _Scores:
    """Scores of one metric by label and unit, with reasons for missing ones."""

    values: dict[str, dict[Unit, float]] = field(default_factory=lambda: defaultdict(dict))
    expected: dict[str, set[Unit]] = field(default_factory=lambda: defaultdict(set))
    errors: Counter[str] = field(default_factory=Counter)

    @property
    def reason(self) -> str:
        """Return the commonest reason for a missing value."""
        return self.errors.most_common(1)[0][0] if self.errors else "no cell has a score"


def _scores(results: Results, experiment: str) -> dict[str, _Scores]:
    rows = results.rows(
        """
        SELECT metric, label, item, seed, status, value, error FROM unit_scores WHERE experiment = ?
        ORDER BY metric, label, item, seed
        """,
        [experiment],
    )
    found: dict[str, _Scores] = defaultdict(_Scores)
    for metric, label, item, seed, status, value, error in rows:
        scores = found[metric]
        scores.expected[label].add((item, seed))
        if status == "ok":
            scores.values[label][item, seed] = value
        elif error is not None:
            scores.errors[error] += 1
    return found


def _experiment(results: Results, wanted: str | None) -> str:
    known = experiments_of(results)
    if wanted is not None and wanted not in known:
        raise UsageError(f"{wanted}: no results of this experiment{suggest(wanted, known)}")
    experiment = wanted if wanted is not None else known[0]
    if not results.rows("SELECT 1 FROM current_cells WHERE experiment = ? LIMIT 1", [experiment]):
        raise UsageError(f"{experiment}: its latest run has no cells yet; run `blendbench run {experiment}`")
    return experiment


def _headlines(metrics: dict[str, MetricInfo]) -> dict[str, str]:
    chosen = {}
    for role, preferred in HEADLINES.items():
        names = [name for name, metric in metrics.items() if metric.role == role]
        if names:
            chosen[role] = next((name for name in preferred if name in names), names[0])
    return chosen


def _entries(scores: _Scores, metric: MetricInfo, baseline: str) -> tuple[dict[str, Entry], tuple[list[str], Array]]:
    """Return a metric's entries by label, and item means of complete ones."""
    # Unscorable is a property of an item: configurations are compared where the baseline could be scored.
    compared = scores.values.get(baseline) or {unit for found in scores.values.values() for unit in found}
    planned = {label: scores.expected[label].intersection(compared) for label in sorted(scores.expected)}
    complete = [label for label, units in planned.items() if units and units <= scores.values[label].keys()]
    entries = {
        label: Entry(len(scores.values[label]), len(expected), label in complete)
        for label, expected in scores.expected.items()
    }
    ranked = [label for label in complete if len(planned[label]) == len(compared)]
    for label, entry in entries.items():
        own = {unit: value for unit, value in scores.values[label].items() if not entry.complete or unit in compared}
        if own and label not in ranked:
            entries[label] = replace(entry, estimate=_estimate(own, metric))
    if not ranked:
        return entries, ([], np.empty((0, 0)))
    units = sorted(compared)
    values = [[scores.values[label][unit] for unit in units] for label in ranked]
    means = cluster_means(values, [item for item, _ in units])
    has_order = metric.direction != "none" and len(means) > 1
    rankings = simultaneous_ranks(means, metric.direction == "higher") if has_order else [None] * len(means)
    for label, estimate, ranking in zip(ranked, intervals(means, bounds=metric.range), rankings, strict=True):
        entries[label] = replace(entries[label], estimate=estimate, ranking=ranking)
    return entries, (ranked, means)


def _estimate(own: dict[Unit, float], metric: MetricInfo) -> Estimate:
    """Return mean and interval of a configuration that has units of its own."""
    return bootstrap_t(cluster_means(list(own.values()), [item for item, _ in own]), bounds=metric.range)


def _add_effects(results: Results, experiment: str, baseline: str, entries: dict[str, dict[str, Entry]]) -> None:
    """Add and decide each complete configuration's difference to the baseline."""
    pairs = [
        found
        for found in read_pairs(results, experiment, baseline)
        if found.metric.name in entries and entries[found.metric.name][found.label].complete
    ]
    by_label: dict[str, list[Effect]] = defaultdict(list)
    for found, effect in zip(pairs, measure_effects(pairs), strict=True):
        by_label[found.label].append(effect)
    for label, effects in by_label.items():
        for effect in decide_effects(effects):
            name = effect.metric.name
            entries[name][label] = replace(entries[name][label], effect=effect)


def _configurations(results: Results, experiment: str) -> list[Configuration]:
    rows = results.rows(
        """
        SELECT e.label, coalesce(any_value(c.strategy), split_part(e.label, ':', 1)), any_value(c.params),
            coalesce(bool_or(c.control), false), count(*) FILTER (c.status = 'ok'),
            count(*) FILTER (c.status = 'failed'), count(*), count(n.cell_id)
        FROM expected_cells e
        LEFT JOIN current_cells c USING (experiment, label, item, seed)
        LEFT JOIN no_effect_cells n USING (experiment, label, item, seed)
        WHERE e.experiment = ? GROUP BY e.label ORDER BY e.label
        """,
        [experiment],
    )
    return [
        Configuration(label, strategy, json.loads(params or "{}"), *rest) for label, strategy, params, *rest in rows
    ]


def _order(configuration: Configuration, baseline: str, headlines: dict[str, str]) -> tuple[int, float, str]:
    """Order: baseline, complete by prompt rank, controls, incomplete ones."""
    group = 3 if not configuration.complete else 2 if configuration.control else 1
    if configuration.label == baseline:
        group = 0
    entry = configuration.entries.get(headlines.get("prompt", ""))
    place = entry.ranking.rank if entry is not None and entry.ranking is not None else np.inf
    return group, place, configuration.label


def _errors(results: Results, experiment: str) -> tuple[tuple[str, str, int], ...]:
    rows = results.rows(
        """
        SELECT label, error, count(*) AS n FROM failures WHERE experiment = ?
        GROUP BY ALL ORDER BY label, n DESC, error
        """,
        [experiment],
    )
    return tuple((str(label), str(error), int(count)) for label, error, count in rows)


def _run(results: Results, experiment: str) -> dict[str, Any]:
    names = (
        "suite",
        "suite_sha256",
        "model_set",
        "model_set_sha256",
        "dtype",
        "sampler_sha256",
        "device",
        "blendbench_version",
        "baseline",
    )
    (row,) = results.rows(
        f"""
        SELECT {", ".join(f"r.{name}" for name in names)},
            (SELECT max(d.started_at) FROM current_cells c JOIN runs d USING (run_id) WHERE c.experiment = ?)
        FROM current_sets s JOIN runs r USING (run_id) WHERE s.experiment = ?
        """,
        [experiment, experiment],
    )
    return dict(zip((*names, "data_date"), row, strict=True))


def _other_cells(results: Results, experiment: str) -> int:
    ((count,),) = results.rows(
        "SELECT count(*) FROM cells ANTI JOIN current_cells USING (experiment, cell_id) WHERE experiment = ?",
        [experiment],
    )
    return int(count)


def judged_headlines(board: Board) -> list[MetricInfo]:
    """Return the metrics of the overview: one of each judged role."""
    return [board.metrics[board.headlines[role]] for role in JUDGED_ROLES if role in board.headlines]
