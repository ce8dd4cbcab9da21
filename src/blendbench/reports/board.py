"""The numbers of a leaderboard: what the database holds for one experiment, with intervals, differences and ranks."""

import json
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from blendbench.core.config import suggest
from blendbench.core.errors import UsageError
from blendbench.metrics.cards import changes_of, range_of
from blendbench.results.store import Results
from blendbench.statistics import (
    Array,
    Estimate,
    PairedEffect,
    Ranking,
    bootstrap_t,
    cluster_means,
    effects_of,
    holm,
    intervals,
    minimum_detectable,
    rank,
)

BASELINE = "text_only"
# Kinds that say whether a configuration is good; drift and effect sizes only say how much it changed.
JUDGED_KINDS = ("adherence", "artifact", "reference")
# What the overview shows of each judged kind: the first of these that was measured, else the first of its kind by name.
# Adherence is read by the probe, which shares no weights with the generator or with CLIP; a grid counts by how visible
# it is, since the energy's share alone puts an invisible patch grid on a flat image level with a destroyed one.
HEADLINES = {
    "adherence": ("attribute_adherence",),
    "artifact": ("grid_severity", "grid_energy"),
    "reference": ("reference_style",),
}


@dataclass(frozen=True)
class MetricInfo:
    """What the database knows of one metric at the version in use."""

    name: str
    version: int
    title: str
    kind: str
    direction: str
    unit: str
    margin: float
    decimals: int


@dataclass(frozen=True)
class Entry:
    """One configuration under one metric. Without `complete` there is no effect and no rank, only a partial mean."""

    ok: int
    expected: int
    complete: bool
    estimate: Estimate | None = None
    effect: PairedEffect | None = None
    p_adjusted: float | None = None
    detectable: float | None = None
    ranking: Ranking | None = None


@dataclass(frozen=True)
class Configuration:
    """One row of the leaderboard; `same_conditioning` counts cells whose conditioning is bit for bit the baseline's."""

    label: str
    strategy: str
    params: dict[str, Any]
    control: bool
    ok: int
    failed: int
    expected: int
    same_conditioning: int
    entries: dict[str, Entry]

    @property
    def complete(self) -> bool:
        """Whether every expected cell is ok."""
        return self.ok == self.expected

    @property
    def no_op(self) -> bool:
        """Whether the strategy did nothing in any cell."""
        return self.label != BASELINE and 0 < self.expected == self.same_conditioning


@dataclass(frozen=True)
class Board:
    """All of one experiment: configurations in the order of the report, and where the data come from.

    `means` holds, per metric, the labels that are complete under it and their item means (labels, items).
    """

    experiment: str
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
        """The configuration of that label, or None."""
        return next((entry for entry in self.configurations if entry.label == label), None)

    def of_kind(self, *kinds: str) -> list[MetricInfo]:
        """The metrics of these kinds, the headline of its kind first, then by name."""
        chosen = [metric for metric in self.metrics.values() if metric.kind in kinds]
        return sorted(chosen, key=lambda m: (kinds.index(m.kind), m.name != self.headlines.get(m.kind), m.name))


def read_board(results: Results, experiment: str | None = None) -> Board:
    """Compute the board of `experiment` (default: that of the latest run). Errors: UsageError for an unknown one."""
    experiment = _experiment(results, experiment)
    units = results.query("SELECT * FROM unit_scores WHERE experiment = ? ORDER BY ALL", [experiment])
    metrics, unmeasured = _metrics(results, experiment, units)
    headlines = _headlines(metrics)
    entries: dict[str, dict[str, Entry]] = {}
    means: dict[str, tuple[list[str], Array]] = {}
    for name, metric in metrics.items():
        entries[name], means[name] = _entries(units[units["metric"] == name], metric)
    _adjust(entries, metrics)
    configurations = _configurations(results, experiment, entries)
    counts = results.query(
        "SELECT count(DISTINCT item) AS items, count(DISTINCT seed) AS seeds FROM expected_cells WHERE experiment = ?",
        [experiment],
    ).iloc[0]
    return Board(
        experiment=experiment,
        metrics=metrics,
        configurations=tuple(sorted(configurations, key=lambda entry: _order(entry, headlines))),
        means=means,
        headlines=headlines,
        unmeasured=unmeasured,
        errors=_errors(results, experiment),
        run=_run(results, experiment),
        items=int(counts["items"]),
        seeds=int(counts["seeds"]),
        other_cells=_other_cells(results, experiment),
    )


def _experiment(results: Results, wanted: str | None) -> str:
    known = list(results.query("SELECT experiment FROM runs GROUP BY 1 ORDER BY max(sequence) DESC, 1")["experiment"])
    if wanted is not None and wanted not in known:
        raise UsageError(f"{wanted}: no results of this experiment{suggest(wanted, known)}")
    experiment = wanted if wanted is not None else known[0]
    if results.query("SELECT count(*) AS n FROM current_cells WHERE experiment = ?", [experiment])["n"][0] == 0:
        raise UsageError(f"{experiment}: its latest run has no cells yet; run `blendbench run {experiment}`")
    return experiment


def _metrics(results: Results, experiment: str, units: pd.DataFrame) -> tuple[dict[str, MetricInfo], dict[str, str]]:
    rows = results.query(
        """
        SELECT *, CASE WHEN metric = 'effect_size' THEN 'effect' WHEN role = 'prompt' THEN 'adherence'
            WHEN role = 'gain' THEN 'reference' ELSE CAST(role AS VARCHAR) END AS kind
        FROM current_metrics WHERE experiment = ? ORDER BY metric
        """,
        [experiment],
    )
    metrics, unmeasured = {}, {}
    for row in rows.to_dict("records"):
        name = row["metric"]
        scored = units[units["metric"] == name]
        if (scored["status"] == "ok").any():
            metrics[name] = MetricInfo(
                name,
                int(row["metric_version"]),
                row["title"],
                row["kind"],
                row["direction"],
                row["unit"],
                float(row["margin"]),
                int(row["decimals"]),
            )
        else:
            reasons = scored.loc[scored["status"] != "missing", "error"].dropna()
            unmeasured[name] = reasons.mode().iloc[0] if len(reasons) else "no cell has a score"
    return metrics, unmeasured


def _headlines(metrics: dict[str, MetricInfo]) -> dict[str, str]:
    chosen = {}
    for kind, preferred in HEADLINES.items():
        names = [name for name, metric in metrics.items() if metric.kind == kind]
        if names:
            chosen[kind] = next((name for name in preferred if name in names), names[0])
    return chosen


def _entries(units: pd.DataFrame, metric: MetricInfo) -> tuple[dict[str, Entry], tuple[list[str], Array]]:
    """The entries of one metric by label, and the item means of the complete ones."""
    ok = units[units["status"] == "ok"]
    expected = units.groupby("label").size().sort_index()
    table = ok.pivot(index=["item", "seed"], columns="label", values="value").sort_index()
    table = table.reindex(columns=expected.index)
    # Unscorable is a property of an item: what the baseline could be scored on is what the others are compared on.
    compared = table[BASELINE].notna() if BASELINE in ok["label"].unique() else table.notna().any(axis=1)
    shared = table[compared]
    complete = [str(label) for label in shared.columns if len(shared) and shared[label].notna().all()]
    entries = {
        str(label): _entry(table[label].dropna(), int(count), label in complete, range_of(metric.name))
        for label, count in expected.items()
    }
    if not complete:
        return entries, ([], np.empty((0, 0)))
    values, items = shared[complete].to_numpy(dtype=float).T, list(shared.index.get_level_values("item"))
    means = cluster_means(values, items)
    found = zip(
        complete,
        intervals(means, bounds=range_of(metric.name)),
        _effects(complete, values, items, changes_of(metric.name)),
        _rankings(means, metric),
        strict=True,
    )
    for label, estimate, (effect, detectable), ranking in found:
        entries[label] = replace(
            entries[label], estimate=estimate, effect=effect, detectable=detectable, ranking=ranking
        )
    return entries, (complete, means)


def _entry(own: "pd.Series[float]", expected: int, complete: bool, bounds: tuple[float, float]) -> Entry:
    """Counts of one configuration and, if it is incomplete, the mean of what it has, by (item, seed)."""
    entry = Entry(len(own), expected, complete)
    if complete or own.empty:
        return entry
    means = cluster_means(own, list(own.index.get_level_values("item")))
    return replace(entry, estimate=bootstrap_t(means, bounds=bounds))


def _effects(
    labels: list[str], values: Array, items: list[str], bounds: tuple[float, float]
) -> list[tuple[PairedEffect | None, float | None]]:
    """Difference of each configuration (labels, units) to the baseline, and the true one that would be found."""
    if BASELINE not in labels:
        return [(None, None)] * len(labels)
    differences = cluster_means(values - values[labels.index(BASELINE)], items)
    return [
        (None, None) if label == BASELINE else (effect, minimum_detectable(row))
        for label, effect, row in zip(labels, effects_of(differences, bounds=bounds), differences, strict=True)
    ]


def _rankings(means: Array, metric: MetricInfo) -> list[Ranking] | list[None]:
    if metric.direction == "none" or len(means) < 2:
        return [None] * len(means)
    return rank(means, metric.direction == "higher")


def _adjust(entries: dict[str, dict[str, Entry]], metrics: dict[str, MetricInfo]) -> None:
    """Holm over every difference of the judged metrics that is not zero by construction."""
    tested = [
        (name, label, entry.effect.p)
        for name, by_label in entries.items()
        if metrics[name].kind in JUDGED_KINDS
        for label, entry in by_label.items()
        if entry.effect is not None and (entry.effect.low, entry.effect.high) != (0.0, 0.0)
    ]
    for (name, label, _), p in zip(tested, holm([p for *_, p in tested]), strict=True):
        entries[name][label] = replace(entries[name][label], p_adjusted=float(p))


def _configurations(results: Results, experiment: str, entries: dict[str, dict[str, Entry]]) -> list[Configuration]:
    rows = results.query(
        """
        SELECT e.label, any_value(c.strategy) AS strategy, any_value(c.params) AS params,
            coalesce(bool_or(c.control), false) AS control, count(*) AS expected,
            count(*) FILTER (c.status = 'ok') AS ok, count(*) FILTER (c.status = 'failed') AS failed,
            count(n.cell_id) AS same_conditioning
        FROM expected_cells e
        LEFT JOIN current_cells c USING (experiment, label, item, seed)
        LEFT JOIN no_effect_cells n USING (experiment, label, item, seed)
        WHERE e.experiment = ? GROUP BY e.label ORDER BY e.label
        """,
        [experiment],
    )
    return [
        Configuration(
            label=row["label"],
            strategy=row["strategy"] if isinstance(row["strategy"], str) else row["label"].partition(":")[0],
            params=json.loads(row["params"]) if isinstance(row["params"], str) else {},
            control=bool(row["control"]),
            ok=int(row["ok"]),
            failed=int(row["failed"]),
            expected=int(row["expected"]),
            same_conditioning=int(row["same_conditioning"]),
            entries={name: by_label[row["label"]] for name, by_label in entries.items() if row["label"] in by_label},
        )
        for row in rows.to_dict("records")
    ]


def _order(configuration: Configuration, headlines: dict[str, str]) -> tuple[int, float, str]:
    """Baseline, then what was measured in full by the rank of the adherence headline, controls, incomplete ones."""
    group = 3 if not configuration.complete else 2 if configuration.control else 1
    if configuration.label == BASELINE:
        group = 0
    entry = configuration.entries.get(headlines.get("adherence", ""))
    place = entry.ranking.rank if entry is not None and entry.ranking is not None else np.inf
    return group, place, configuration.label


def _errors(results: Results, experiment: str) -> tuple[tuple[str, str, int], ...]:
    rows = results.query(
        """
        SELECT f.label, f.error, count(*) AS n FROM failures f
        JOIN current_cells c USING (experiment, cell_id) WHERE f.experiment = ?
        GROUP BY ALL ORDER BY f.label, n DESC, f.error
        """,
        [experiment],
    )
    return tuple((str(row["label"]), str(row["error"]), int(row["n"])) for row in rows.to_dict("records"))


def _run(results: Results, experiment: str) -> dict[str, Any]:
    rows = results.query(
        """
        SELECT r.*, u.title AS suite_title, u.version AS suite_version,
            (SELECT arg_max(d.started_at, (d.sequence, d.run_id)) FROM current_cells c JOIN runs d USING (run_id)
                WHERE c.experiment = r.experiment) AS data_date
        FROM runs r JOIN current_sets s USING (run_id)
        LEFT JOIN suites u ON u.suite_sha256 = r.suite_sha256
        WHERE r.experiment = ?
        """,
        [experiment],
    )
    return {str(key): value for key, value in rows.to_dict("records")[0].items()}


def _other_cells(results: Results, experiment: str) -> int:
    rows = results.query(
        """
        SELECT count(*) AS n FROM cells ANTI JOIN current_cells USING (experiment, cell_id) WHERE experiment = ?
        """,
        [experiment],
    )
    return int(rows["n"][0])
