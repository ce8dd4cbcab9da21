"""Pairs of two configurations from the results database: equal units, comparable settings, nothing dropped silently."""

from collections.abc import Collection
from dataclasses import dataclass, fields

import pandas as pd

from blendbench.core.config import suggest
from blendbench.core.errors import UsageError
from blendbench.results.store import Results
from blendbench.statistics import Array

ARMS = ("candidate", "baseline")
# What must agree before two numbers are compared, in the words of a refusal.
_SETTING_WORDS = {
    "suite_sha256": "suite",
    "model_set_sha256": "model set",
    "dtype": "dtype",
    "sampler_sha256": "sampler",
}


@dataclass(frozen=True)
class Setting:
    """What two configurations must share to be compared."""

    suite_sha256: str
    model_set_sha256: str
    dtype: str
    sampler_sha256: str


@dataclass(frozen=True)
class Metric:
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
class Pairs:
    """One metric on the units of both arms: `items` and `seeds` name unit i, values are (units,).

    `unscorable` units are left out: the metric is not defined for the baseline there.
    """

    metric: Metric
    items: tuple[str, ...]
    seeds: tuple[int, ...]
    candidate: Array
    baseline: Array
    unscorable: int


@dataclass(frozen=True)
class Comparison:
    """Two configurations of an experiment, paired by (item, seed).

    `units` has a row a pair: item, seed, and for both arms conditioning and image hashes. `pairs` by metric name;
    `left_out` says of the other metrics why. `failed` has a line for each cell or score that failed.
    """

    experiment: str
    candidate: str
    baseline: str
    setting: Setting
    units: pd.DataFrame
    pairs: dict[str, Pairs]
    left_out: dict[str, str]
    failed: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def same_conditioning(self) -> int:
        """Units whose two conditionings are bit for bit equal."""
        return int((self.units["candidate_conditioning"] == self.units["baseline_conditioning"]).sum())

    @property
    def same_images(self) -> int:
        """Units whose two images are bit for bit equal."""
        return int((self.units["candidate_image"] == self.units["baseline_image"]).sum())


def labels_of(results: Results, experiment: str) -> dict[str, str]:
    """Strategy by label, of every configuration that an experiment has cells of."""
    rows = results.query("SELECT DISTINCT label, strategy FROM cells WHERE experiment = ? ORDER BY ALL", [experiment])
    return dict(zip(rows["label"], rows["strategy"], strict=True))


def resolve_label(text: str, labels: dict[str, str]) -> str:
    """The label that `text` means: a label, or a strategy with one configuration. Errors: UsageError."""
    if text in labels:
        return text
    own = [label for label, strategy in labels.items() if strategy == text]
    if len(own) == 1:
        return own[0]
    if own:
        raise UsageError(f"{text}: {len(own)} configurations have this strategy; name one: {', '.join(own)}")
    # The labels of a strategy are nearer than those that only look alike.
    name = text.partition(":")[0]
    siblings = [label for label, strategy in labels.items() if strategy == name]
    hint = f"; of {name} there are {', '.join(siblings)}" if siblings else ""
    near = suggest(text, siblings or list(dict.fromkeys([*labels, *labels.values()])))
    raise UsageError(f"{text}: no such configuration in these results{near or hint}")


def choose_experiment(results: Results, wanted: str | None, candidate: str, baseline: str) -> str:
    """The experiment that is meant: `wanted`, or the latest that knows both. Errors: UsageError."""
    rows = results.query("SELECT experiment FROM runs GROUP BY 1 ORDER BY max(sequence) DESC, 1")
    known = [str(name) for name in rows["experiment"]]
    if wanted is not None:
        if wanted not in known:
            raise UsageError(f"{wanted}: no results of this experiment{suggest(wanted, known)}")
        return wanted
    for name in known:
        labels = labels_of(results, name)
        if all(text in labels or text in labels.values() for text in (candidate, baseline)):
            return name
    return known[0]


def pair(
    results: Results,
    experiment: str,
    candidate: str,
    baseline: str,
    setting: Setting | None = None,
    cell_ids: Collection[str] | None = None,
) -> Comparison:
    """Pair two labels of an experiment; of each, the cells of its newest code.

    `setting`: where to compare; default: the latest that both have. `cell_ids`: the only cells to look at; default: all
    that were planned. Errors: UsageError if nothing is comparable, a pair is missing or metric versions differ.
    """
    if candidate == baseline:
        raise UsageError(f"{candidate}: candidate and baseline are the same configuration; name two")
    cells = _cells(results, experiment, (candidate, baseline), cell_ids)
    found = {label: cells[cells["label"] == label] for label in (candidate, baseline)}
    for label, rows in found.items():
        if rows.empty:
            raise UsageError(f"{label}: has no cells in {experiment}; run `blendbench run {experiment}`")
    setting = setting or _common_setting(found, candidate, baseline)
    arms = [_newest_code(_in_setting(rows, setting)) for rows in found.values()]
    if all(arm.empty for arm in arms):
        raise UsageError(f"{candidate} and {baseline} have no cells in the setting compared; run them again")
    planned = [] if cell_ids is not None else _planned(results, experiment, setting, (candidate, baseline))
    _check_pairs(arms, (candidate, baseline), planned, experiment)
    units = _units(*arms)
    failed = [
        f"{label}: item {row.item}, seed {row.seed}: {row.error}"
        for label, arm in zip((candidate, baseline), arms, strict=True)
        for row in arm[arm["status"] == "failed"].itertuples()
    ]
    drawn = units[units["candidate_image"].notna() & units["baseline_image"].notna()]
    pairs, left_out, bad = _pairs(_scores(results, drawn), _metrics(results), drawn, (candidate, baseline))
    return Comparison(
        experiment,
        candidate,
        baseline,
        setting,
        units,
        pairs,
        left_out,
        (*failed, *bad),
        _notes(found, setting),
    )


def _cells(
    results: Results, experiment: str, labels: tuple[str, ...], cell_ids: Collection[str] | None
) -> pd.DataFrame:
    rows = results.query(
        """
        SELECT c.*, r.sequence FROM cells c JOIN runs r USING (run_id)
        WHERE c.experiment = ? AND list_contains(?, c.label) ORDER BY r.sequence, c.cell_id
        """,
        [experiment, list(labels)],
    )
    return rows if cell_ids is None else rows[rows["cell_id"].isin(list(cell_ids))]


def _in_setting(cells: pd.DataFrame, setting: Setting) -> pd.DataFrame:
    agree = pd.Series(True, index=cells.index)
    for field in fields(setting):
        agree &= cells[field.name] == getattr(setting, field.name)
    return cells[agree]


def _settings(cells: pd.DataFrame) -> dict[Setting, int]:
    """When each setting was last used."""
    names = [field.name for field in fields(Setting)]
    latest = cells.groupby(names)["sequence"].max()
    return {Setting(*map(str, key)): int(when) for key, when in latest.items()}


def _common_setting(found: dict[str, pd.DataFrame], candidate: str, baseline: str) -> Setting:
    first, second = (_settings(found[label]) for label in (candidate, baseline))
    common = [(min(first[setting], second[setting]), setting) for setting in first if setting in second]
    if common:
        return max(common, key=lambda entry: (entry[0], str(entry[1])))[1]
    mine, other = max(first, key=lambda s: first[s]), max(second, key=lambda s: second[s])
    differ = [
        f"{word} {_short(getattr(mine, name))} against {_short(getattr(other, name))}"
        for name, word in _SETTING_WORDS.items()
        if getattr(mine, name) != getattr(other, name)
    ]
    raise UsageError(f"{candidate} and {baseline} are not comparable: {'; '.join(differ)}; run both again together")


def _short(value: str) -> str:
    return value[:12]


def _notes(found: dict[str, pd.DataFrame], setting: Setting) -> tuple[str, ...]:
    notes = []
    for label, cells in found.items():
        used = _settings(cells)
        newer = [other for other, when in used.items() if when > used[setting]]
        if newer:
            differ = [
                word for name, word in _SETTING_WORDS.items() if getattr(newer[0], name) != getattr(setting, name)
            ]
            notes.append(f"{label} has newer cells that are not compared: other {', '.join(differ)}")
    return tuple(notes)


def _newest_code(cells: pd.DataFrame) -> pd.DataFrame:
    if cells.empty:
        return cells
    newest = cells[cells["source_sha256"] == cells["source_sha256"].iloc[-1]]
    return newest.sort_values(["item", "seed"], ignore_index=True)


def _planned(results: Results, experiment: str, setting: Setting, labels: tuple[str, ...]) -> list[tuple[str, int]]:
    rows = results.query(
        """
        WITH planned AS (
            SELECT items, seeds FROM runs
            WHERE experiment = ? AND suite_sha256 = ? AND model_set_sha256 = ? AND dtype = ?
            AND run_id IN (SELECT run_id FROM planned_configurations WHERE list_contains(?, label))
        )
        SELECT DISTINCT item, seed FROM planned, unnest(CAST(items AS VARCHAR[])) AS i(item),
            unnest(CAST(seeds AS BIGINT[])) AS s(seed)
        """,
        [experiment, setting.suite_sha256, setting.model_set_sha256, setting.dtype, list(labels)],
    )
    return list(zip(rows["item"], rows["seed"], strict=True))


def _check_pairs(
    arms: list[pd.DataFrame], labels: tuple[str, str], planned: list[tuple[str, int]], experiment: str
) -> None:
    there = [set(zip(arm["item"], arm["seed"], strict=True)) for arm in arms]
    wanted = there[0] | there[1] | set(planned)
    for label, units in zip(labels, there, strict=True):
        missing = sorted(wanted - units)
        if missing:
            item, seed = missing[0]
            raise UsageError(
                f"{label}: {len(missing)} of {len(wanted)} pairs are missing in {experiment}, the first is item {item},"
                f" seed {seed}; `blendbench run {experiment}` with both configurations fills them"
            )


def _units(candidate: pd.DataFrame, baseline: pd.DataFrame) -> pd.DataFrame:
    kept = {"cell_id": "cell", "conditioning_sha256": "conditioning", "image_sha256": "image"}
    arms = [
        arm.rename(columns={old: f"{name}_{new}" for old, new in kept.items()})[
            ["item", "seed", *(f"{name}_{new}" for new in kept.values())]
        ]
        for name, arm in zip(ARMS, (candidate, baseline), strict=True)
    ]
    return arms[0].merge(arms[1], on=["item", "seed"]).sort_values(["item", "seed"], ignore_index=True)


def _scores(results: Results, units: pd.DataFrame) -> pd.DataFrame:
    """One row a unit, arm and metric version: item, seed, arm, metric, metric_version, value, status, error."""
    cells = pd.concat(
        [
            units[["item", "seed", f"{arm}_cell"]].rename(columns={f"{arm}_cell": "cell_id"}).assign(arm=arm)
            for arm in ARMS
        ]
    )
    # Of scores against several baselines or by several networks, those that count now.
    scores = results.query(
        """
        SELECT s.cell_id, s.metric, s.metric_version, s.value, CAST(s.status AS VARCHAR) AS status, s.error
        FROM scores s JOIN (SELECT DISTINCT cell_id, image_sha256 FROM cells) USING (cell_id, image_sha256)
        LEFT JOIN (
            SELECT DISTINCT cell_id, metric, metric_version, scorer_sha256, baseline_image_sha256, true AS counts
            FROM current_scores
        ) c USING (cell_id, metric, metric_version, scorer_sha256, baseline_image_sha256)
        WHERE s.cell_id IN (SELECT unnest(?))
        QUALIFY row_number() OVER (
            PARTITION BY s.cell_id, s.metric, s.metric_version
            ORDER BY c.counts NULLS LAST, s.scorer_sha256, s.baseline_image_sha256
        ) = 1
        """,
        [list(cells["cell_id"].unique())],
    )
    return cells.merge(scores, on="cell_id")


def _metrics(results: Results) -> dict[tuple[str, int], Metric]:
    rows = results.query(
        """
        SELECT * REPLACE (CAST(direction AS VARCHAR) AS direction),
            CASE WHEN metric = 'effect_size' THEN 'effect' WHEN role = 'prompt' THEN 'adherence'
            WHEN role = 'gain' THEN 'reference' ELSE CAST(role AS VARCHAR) END AS kind
        FROM metrics
        """
    )
    return {
        (row["metric"], int(row["metric_version"])): Metric(
            row["metric"],
            int(row["metric_version"]),
            row["title"],
            row["kind"],
            row["direction"],
            row["unit"],
            float(row["margin"]),
            int(row["decimals"]),
        )
        for row in rows.to_dict("records")
    }


def _pairs(
    scores: pd.DataFrame, metrics: dict[tuple[str, int], Metric], units: pd.DataFrame, labels: tuple[str, str]
) -> tuple[dict[str, Pairs], dict[str, str], list[str]]:
    """The pairs of every metric, why the others are left out, and a line for each score that failed."""
    pairs: dict[str, Pairs] = {}
    left_out: dict[str, str] = {}
    failed: list[str] = []
    for name, all_versions in scores.groupby("metric", sort=True):
        version = _version(str(name), all_versions, labels)
        metric = metrics.get((str(name), version))
        if metric is None:
            left_out[str(name)] = f"the database has no card of version {version}"
            continue
        rows = all_versions[all_versions["metric_version"] == version]
        if (rows["status"] == "skipped").all():
            left_out[str(name)] = str(rows["error"].dropna().mode().iloc[0])
            continue
        paired, bad = _paired(metric, rows, pd.MultiIndex.from_frame(units[["item", "seed"]]), labels)
        failed += bad
        if paired is not None:
            pairs[str(name)] = paired
        elif not bad:
            left_out[str(name)] = "no unit can be scored"
    return pairs, left_out, failed


def _version(name: str, rows: pd.DataFrame, labels: tuple[str, str]) -> int:
    """The newest version that both were measured with."""
    known = {arm: {int(v) for v in rows.loc[rows["arm"] == arm, "metric_version"]} for arm in ARMS}
    common = known["candidate"] & known["baseline"]
    if not common:
        told = [
            f"{label} with version {max(known[arm])}" if known[arm] else f"{label} not at all"
            for arm, label in zip(ARMS, labels, strict=True)
        ]
        raise UsageError(f"{name} is not comparable: measured on {', on '.join(told)}; `blendbench run` measures again")
    return max(common)


def _paired(
    metric: Metric, rows: pd.DataFrame, units: pd.MultiIndex, labels: tuple[str, str]
) -> tuple[Pairs | None, list[str]]:
    table = rows.pivot(index=["item", "seed"], columns="arm", values=["value", "status", "error"]).reindex(units)
    # Unscorable is a property of an item: what the baseline can be scored on is what the two are compared on.
    unscorable = table["status", "baseline"] == "unscorable"
    failed = []
    for arm, label in zip(ARMS, labels, strict=True):
        for (item, seed), row in table[~unscorable & (table["status", arm] != "ok")].iterrows():
            if not isinstance(row["status", arm], str):
                raise UsageError(
                    f"{label}: item {item}, seed {seed} has no {metric.name}; `blendbench run` again measures it"
                )
            failed.append(f"{label}: item {item}, seed {seed}: {metric.name}: {row['error', arm]}")
    kept = table[~unscorable]
    if failed or kept.empty:
        return None, failed
    items, seeds = (tuple(kept.index.get_level_values(level)) for level in ("item", "seed"))
    candidate, baseline = (kept["value", arm].to_numpy(dtype=float) for arm in ARMS)
    return Pairs(metric, items, seeds, candidate, baseline, int(unscorable.sum())), []
