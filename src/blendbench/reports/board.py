"""The numbers of a leaderboard, from the database alone.

One experiment: what each configuration changes against the baseline, with intervals, decisions and an outcome.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy.special import stdtrit

from blendbench.core.config import suggest
from blendbench.core.errors import UsageError
from blendbench.core.metric_info import MetricInfo, Role
from blendbench.results.imported import noise_notes
from blendbench.results.pairs import Pairs, read_metrics, read_pairs
from blendbench.results.repeats import Repeats, read_repeats
from blendbench.results.store import Results, read_setting
from blendbench.stats.clusters import Array, cluster_means, standard_errors
from blendbench.stats.intervals import Estimate
from blendbench.verdict.comparison import experiments_of
from blendbench.verdict.decide import Effect, decide_effects, is_judged, measure_effects
from blendbench.verdict.outcome import Word, idea_outcome, states
from blendbench.verdict.primaries import read_primaries


@dataclass(frozen=True)
class Entry:
    """One configuration under one metric.

    `mean` is over the items that it has. `difference` is candidate minus baseline, None if it lacks items that it
    should have; `effect` is the same with its decision, for metrics that judge.
    """

    ok: int
    expected: int
    complete: bool
    mean: float | None = None
    difference: Estimate | None = None
    effect: Effect | None = None


@dataclass(frozen=True)
class Configuration:
    """One configuration of the experiment.

    `same_conditioning` counts cells whose conditioning is bit for bit the baseline's. `outcome` is what it gains
    against what it costs, None for the baseline and where nothing is decided.
    """

    label: str
    strategy: str
    params: dict[str, Any]
    control: bool
    upper_bound: bool
    ok: int
    failed: int
    expected: int
    same_conditioning: int
    items: int
    entries: dict[str, Entry] = field(default_factory=dict)
    outcome: Word | None = None

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

    `means` holds, by metric, the labels that have all items of the baseline, and their item means (labels, items).
    `primaries` is the metric of each role that headlines and budgets are made from. `imported` has a note for each
    label whose images were made elsewhere; `repeats` counts current cells that were generated again.
    """

    experiment: str
    baseline: str
    metrics: dict[str, MetricInfo]
    configurations: tuple[Configuration, ...]
    means: dict[str, tuple[list[str], Array]]
    primaries: dict[Role, MetricInfo]
    unmeasured: dict[str, str]
    errors: tuple[tuple[str, str, int], ...]
    run: dict[str, Any]
    items: int
    seeds: int
    other_cells: int
    repeats: Repeats
    imported: tuple[str, ...] = ()

    def configuration(self, label: str) -> Configuration | None:
        """Return the configuration of that label, or None."""
        return next((entry for entry in self.configurations if entry.label == label), None)

    def of_role(self, *roles: Role) -> list[MetricInfo]:
        """Return the metrics of these roles, the primary first, then by name."""
        chosen = [metric for metric in self.metrics.values() if metric.role in roles]
        return sorted(chosen, key=lambda m: (roles.index(m.role), m != self.primaries.get(m.role), m.name))


def read_board(results: Results, experiment: str | None = None) -> Board:
    """Compute the board of `experiment`, by default of the latest run."""
    experiment = _experiment(results, experiment)
    run = _run(results, experiment)
    baseline = str(run["baseline"])
    infos = read_metrics(results)
    versions = results.rows(
        "SELECT metric, metric_version FROM current_metrics WHERE experiment = ? ORDER BY metric", [experiment]
    )
    entries = _entries(results, experiment, baseline)
    metrics = {name: infos[name, version] for name, version in versions if any(e.ok for e in entries[name].values())}
    primaries = read_primaries(results, experiment)
    pairs = [
        found
        for found in read_pairs(results, experiment, baseline)
        if found.metric.name in metrics and entries[found.metric.name][found.label].complete
    ]
    _add_differences(pairs, entries)
    configurations = [
        _judged(replace(row, entries={name: entries[name][row.label] for name in metrics}), baseline, primaries)
        for row in _configurations(results, experiment)
    ]
    (items, seeds), *_ = results.rows(
        "SELECT count(DISTINCT item), count(DISTINCT seed) FROM expected_cells WHERE experiment = ?", [experiment]
    )
    ((count,),) = results.rows(
        "SELECT count(*) FROM cells ANTI JOIN current_cells USING (experiment, cell_id) WHERE experiment = ?",
        [experiment],
    )
    return Board(
        experiment=experiment,
        baseline=baseline,
        metrics=metrics,
        configurations=tuple(sorted(configurations, key=lambda entry: _order(entry, baseline, primaries))),
        means=_means(pairs, metrics, baseline),
        primaries=primaries,
        unmeasured=_unmeasured(results, experiment, [name for name, _ in versions if name not in metrics]),
        errors=_errors(results, experiment),
        run=run,
        items=int(items),
        seeds=int(seeds),
        other_cells=int(count),
        imported=tuple(noise_notes(results, experiment)),
        repeats=read_repeats(results, experiment),
    )


def _experiment(results: Results, wanted: str | None) -> str:
    known = experiments_of(results)
    if wanted is not None and wanted not in known:
        raise UsageError(f"{wanted}: no results of this experiment{suggest(wanted, known)}")
    experiment = wanted if wanted is not None else known[0]
    codes = "comparable_cells JOIN current_codes USING (experiment, label, source_sha256)"
    if not results.rows(f"SELECT 1 FROM {codes} WHERE experiment = ? LIMIT 1", [experiment]):
        raise UsageError(f"{experiment}: its latest run has no cells yet; run `blendbench run {experiment}`")
    return experiment


def _entries(results: Results, experiment: str, baseline: str) -> dict[str, dict[str, Entry]]:
    """Return what each configuration has of each metric, by metric and label.

    It is complete if it has all that it should where the baseline has a value: unscorable is a property of an item.
    """
    rows = results.rows(
        """
        WITH expected AS (
            SELECT label, item, seed FROM expected_cells WHERE experiment = $1
        ), valued AS (
            SELECT metric, label, item, seed, value FROM current_scores
            WHERE experiment = $1 AND status = 'ok'
        ), compared AS (
            SELECT metric, item, seed FROM valued WHERE label = $2
        ), by_item AS (
            SELECT v.metric, v.label, v.item, count(*) AS ok, count(c.metric) AS compared, avg(v.value) AS mean
            FROM valued v LEFT JOIN compared c USING (metric, item, seed) GROUP BY ALL
        ), has AS (
            -- In order: the last bits of a mean must not depend on which thread was first.
            SELECT metric, label, sum(ok) AS ok, sum(compared) AS compared, favg(mean ORDER BY item) AS mean
            FROM by_item GROUP BY ALL
        ), should AS (
            SELECT metric, label, count(*) AS comparable FROM expected JOIN compared USING (item, seed) GROUP BY ALL
        )
        SELECT m.metric, e.label, coalesce(h.ok, 0), e.cells, coalesce(s.comparable, 0), coalesce(h.compared, 0), h.mean
        FROM current_metrics m CROSS JOIN (SELECT label, count(*) AS cells FROM expected GROUP BY label) e
        LEFT JOIN has h ON h.metric = m.metric AND h.label = e.label
        LEFT JOIN should s ON s.metric = m.metric AND s.label = e.label
        WHERE m.experiment = $1 ORDER BY ALL
        """,
        [experiment, baseline],
    )
    found: dict[str, dict[str, Entry]] = defaultdict(dict)
    for metric, label, ok, expected, comparable, compared, mean in rows:
        found[metric][label] = Entry(int(ok), int(expected), 0 < comparable == compared, mean)
    return found


def _add_differences(pairs: list[Pairs], entries: dict[str, dict[str, Entry]]) -> None:
    """Add the differences of complete configurations, and decide on those of metrics that judge."""
    judged = [found for found in pairs if is_judged(found.metric)]
    by_label: dict[str, list[Effect]] = defaultdict(list)
    for found, effect in zip(judged, measure_effects(judged), strict=True):
        by_label[found.label].append(effect)
    for label, effects in by_label.items():
        for effect in decide_effects(effects):
            of_metric = entries[effect.metric.name]
            estimate = Estimate(effect.mean, effect.low, effect.high, effect.items)
            of_metric[label] = replace(of_metric[label], effect=effect, difference=estimate)
    for found in pairs:
        if not is_judged(found.metric):
            of_metric = entries[found.metric.name]
            of_metric[found.label] = replace(of_metric[found.label], difference=_student(found))


def _student(pairs: Pairs) -> Estimate:
    """Return a difference that decides nothing, with Student's interval."""
    means = cluster_means(pairs.differences, pairs.items)
    mean, n = float(means.mean()), len(means)
    if n < 2:
        return Estimate(mean, np.nan, np.nan, n)
    reach = float(stdtrit(n - 1, 0.975) * standard_errors(means))
    low, high = pairs.metric.changes
    return Estimate(mean, max(mean - reach, low), min(mean + reach, high), n)


def _judged(row: Configuration, baseline: str, primaries: Mapping[Role, MetricInfo]) -> Configuration:
    """Add the outcome: of what it gains and costs itself, whatever the other rows are."""
    if row.label == baseline:
        return row
    if row.no_op:
        return replace(row, outcome="no-op")
    effects = [entry.effect for entry in row.entries.values() if entry.effect is not None]
    found = states(effects, {role: metric.name for role, metric in primaries.items()})
    return replace(row, outcome=idea_outcome(found)) if "prompt" in found and row.complete else row


def _means(pairs: Iterable[Pairs], metrics: Iterable[str], baseline: str) -> dict[str, tuple[list[str], Array]]:
    """Return item means of the configurations that have as many pairs as any other, and of the baseline."""
    by_metric: dict[str, list[Pairs]] = {name: [] for name in metrics}
    for found in pairs:
        by_metric[found.metric.name].append(found)
    means: dict[str, tuple[list[str], Array]] = {}
    for name, every in by_metric.items():
        most = max((found.items for found in every), key=len, default=())
        full = [found for found in every if found.items == most]
        if not full:
            means[name] = ([], np.empty((0, 0)))
            continue
        values = [full[0].baseline_values, *(found.values for found in full)]
        means[name] = ([baseline, *(found.label for found in full)], cluster_means(values, most))
    return means


def _configurations(results: Results, experiment: str) -> list[Configuration]:
    rows = results.rows(
        """
        WITH expected AS (
            SELECT label, count(*) AS cells, count(DISTINCT item) AS items FROM expected_cells
            WHERE experiment = $1 GROUP BY label
        ), made AS (
            SELECT label, any_value(strategy) AS strategy, any_value(params) AS params, bool_or(control) AS control,
                bool_or((strategy, source_sha256) IN (
                    SELECT (strategy, source_sha256) FROM strategies WHERE upper_bound
                )) AS upper_bound,
                count(*) FILTER (status = 'ok') AS ok, count(*) FILTER (status = 'failed') AS failed
            FROM current_cells WHERE experiment = $1 GROUP BY label
        ), same AS (
            SELECT label, count(*) AS cells FROM no_effect_cells WHERE experiment = $1 GROUP BY label
        )
        SELECT label, coalesce(m.strategy, split_part(label, ':', 1)), m.params, coalesce(m.control, false),
            m.upper_bound, coalesce(m.ok, 0), coalesce(m.failed, 0), e.cells, coalesce(n.cells, 0), e.items
        FROM expected e LEFT JOIN made m USING (label) LEFT JOIN same n USING (label) ORDER BY label
        """,
        [experiment],
    )
    return [
        Configuration(label, strategy, json.loads(params or "{}"), control, bool(upper_bound), *rest)
        for label, strategy, params, control, upper_bound, *rest in rows
    ]


def _order(configuration: Configuration, baseline: str, primaries: Mapping[Role, MetricInfo]) -> tuple[int, float, str]:
    """Order: baseline, complete ones by gain, controls and upper bounds, incomplete ones."""
    group = 2 if configuration.control or configuration.upper_bound else 1
    if configuration.label == baseline:
        group = 0
    elif not configuration.complete:
        group = 3
    entry = configuration.entries[primaries["gain"].name] if "gain" in primaries else None
    gain = entry.difference.mean if entry is not None and entry.difference is not None else -np.inf
    sign = -1.0 if "gain" in primaries and primaries["gain"].direction == "higher" else 1.0
    return group, sign * gain, configuration.label


def _unmeasured(results: Results, experiment: str, metrics: list[str]) -> dict[str, str]:
    if not metrics:
        return {}
    rows = results.rows(
        """
        SELECT metric, error FROM unit_scores WHERE experiment = ? AND list_contains(?, metric) AND error IS NOT NULL
        GROUP BY ALL ORDER BY count(*), error
        """,
        [experiment, metrics],
    )
    return dict.fromkeys(metrics, "no cell has a score") | dict(rows)


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
    ((date,),) = results.rows(
        "SELECT max(started_at) FROM current_cells c JOIN runs USING (run_id) WHERE c.experiment = ?", [experiment]
    )
    return {**read_setting(results, experiment), "data_date": date}
