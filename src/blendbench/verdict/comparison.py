"""Compare two configurations pair by pair, dropping nothing silently."""

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from blendbench.core.config import suggest
from blendbench.core.errors import UsageError
from blendbench.results.pairs import Pairs, read_pairs
from blendbench.results.store import Results

# What must agree before two numbers are compared.
_SETTING_WORDS = ("suite", "model set", "dtype", "sampler")
Place = tuple[str, int]  # item and seed


@dataclass(frozen=True)
class Unit:
    """One item and seed of both configurations, with output hashes."""

    item: str
    seed: int
    conditionings: tuple[str | None, str | None]
    images: tuple[str | None, str | None]


@dataclass(frozen=True)
class Comparison:
    """A candidate and a baseline, paired by item and seed.

    `units` are what both were planned on. `pairs` by metric, on the units where the baseline can be scored
    (`unscorable` counts the others); `left_out` has the reasons of the other metrics. `failed` has a line for each cell
    or score that failed.
    """

    experiment: str
    candidate: str
    baseline: str
    units: tuple[Unit, ...]
    pairs: dict[str, Pairs]
    unscorable: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    failed: tuple[str, ...] = ()

    @property
    def items(self) -> int:
        """Return the number of items."""
        return len({unit.item for unit in self.units})

    @property
    def same_conditioning(self) -> int:
        """Return the number of units with bit-equal conditionings."""
        return sum(unit.conditionings[0] == unit.conditionings[1] is not None for unit in self.units)

    @property
    def same_images(self) -> int:
        """Return the number of units with bit-equal images."""
        return sum(unit.images[0] == unit.images[1] for unit in self.units)


def experiments_of(results: Results) -> list[str]:
    """Return the names of all experiments, the latest first."""
    rows = results.rows("SELECT experiment FROM runs GROUP BY experiment ORDER BY max(sequence) DESC, experiment")
    return [str(name) for (name,) in rows]


def labels_of(results: Results, experiment: str) -> dict[str, str]:
    """Return the strategy of every configuration of an experiment, by label."""
    return dict(
        results.rows("SELECT DISTINCT label, strategy FROM cells WHERE experiment = ? ORDER BY ALL", [experiment])
    )


def resolve_label(text: str, labels: dict[str, str]) -> str:
    """Return the label of a label or one-configuration strategy, or UsageError."""
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
    hint = f"; {name} has {', '.join(siblings)}" if siblings else ""
    near = suggest(text, siblings or list(dict.fromkeys([*labels, *labels.values()])))
    raise UsageError(f"{text}: no such configuration in these results{near or hint}")


def choose_experiment(results: Results, wanted: str | None, candidate: str, baseline: str) -> str:
    """Return `wanted`, or the latest experiment with both. Errors: UsageError."""
    known = experiments_of(results)
    if wanted is not None:
        if wanted not in known:
            raise UsageError(f"{wanted}: no results of this experiment{suggest(wanted, known)}")
        return wanted
    for name in known:
        labels = labels_of(results, name)
        if all(text in labels or text in labels.values() for text in (candidate, baseline)):
            return name
    return known[0]


class CellState(NamedTuple):
    """A cell's outcome; `cell_id` is None if it was planned and is missing."""

    cell_id: str | None
    error: str | None
    conditioning: str | None
    image: str | None


class ScoreState(NamedTuple):
    """Whether a cell has a score, and why not."""

    status: str
    error: str | None


Cells = dict[str, dict[Place, CellState]]  # by label
Scores = dict[str, dict[Place, ScoreState]]  # of one metric, by label


def compare(
    results: Results, experiment: str, candidate: str, baseline: str, items: Collection[str] | None = None
) -> Comparison:
    """Pair two labels of an experiment, as `Comparisons.compare`."""
    return Comparisons(results, (candidate, baseline)).compare(experiment, candidate, baseline, items)


class Comparisons:
    """Compare configurations (`labels`, or all), reading experiments once."""

    def __init__(self, results: Results, labels: Sequence[str] | None = None) -> None:
        self.results = results
        self._labels = None if labels is None else list(labels)
        self._experiments = experiments_of(results)
        self._cells: dict[str, Cells] = {}
        self._scores: dict[str, dict[str, Scores]] = {}
        self._pairs: dict[tuple[str, str], dict[tuple[str, str], Pairs]] = {}

    def compare(
        self, experiment: str, candidate: str, baseline: str, items: Collection[str] | None = None
    ) -> Comparison:
        """Pair two labels of an experiment.

        Compared are the cells of the latest run's suite, models, dtype and sampler, with the newest code of each
        configuration, on what both were planned. `items`: the only ones to look at; default: all.
        Errors: UsageError if nothing is comparable, or a pair is missing.
        """
        if candidate == baseline:
            raise UsageError(f"{candidate}: candidate and baseline are the same configuration; name two")
        if experiment not in self._experiments:
            raise UsageError(f"{experiment}: no results of this experiment; run `blendbench run {experiment}`")
        if experiment not in self._cells:
            self._cells[experiment] = read_cells(self.results, experiment, self._labels)
            self._scores[experiment] = read_scores(self.results, experiment, self._labels)
        if (experiment, baseline) not in self._pairs:
            self._pairs[experiment, baseline] = {
                (found.label, found.metric.name): found
                for found in read_pairs(self.results, experiment, baseline, self._labels)
            }
        labels, only = (candidate, baseline), None if items is None else frozenset(items)
        cells = {
            label: {
                unit: cell
                for unit, cell in self._cells[experiment].get(label, {}).items()
                if only is None or unit[0] in only
            }
            for label in labels
        }
        planned = [frozenset(found) for found in cells.values()]
        units = sorted(frozenset.intersection(*planned))
        for label in labels:
            _check_complete(self.results, experiment, label, cells[label], units)
        pairs = {
            metric: found for (label, metric), found in self._pairs[experiment, baseline].items() if label == candidate
        }
        return pair_up(experiment, labels, units, cells, self._scores[experiment], pairs)


def pair_up(
    experiment: str,
    labels: tuple[str, str],
    units: list[Place],
    cells: Cells,
    scores: dict[str, Scores],
    pairs: dict[str, Pairs],
) -> Comparison:
    """Compare candidate and baseline at units; scores and pairs are by metric."""
    failed = [
        f"{label}: item {item}, seed {seed}: {cells[label][item, seed].error}"
        for label in labels
        for item, seed in units
        if cells[label][item, seed].error is not None
    ]
    generated = frozenset(unit for unit in units if all(cells[label][unit].error is None for label in labels))
    kept, unscorable, left_out = {}, {}, {}
    for metric, of_metric in scores.items():
        reason, without, bad = _scored(metric, of_metric, labels, generated)
        failed += bad
        if reason:
            left_out[metric] = reason
        elif not bad:
            kept[metric] = _only(pairs[metric], generated - without)
            unscorable[metric] = len(without)
    candidate, baseline = labels
    return Comparison(
        experiment,
        candidate,
        baseline,
        tuple(_unit(unit, cells[candidate][unit], cells[baseline][unit]) for unit in units),
        kept,
        unscorable,
        left_out,
        tuple(failed),
    )


def read_cells(results: Results, experiment: str, labels: list[str] | None) -> Cells:
    """Return cells by label, item and seed, and the planned but missing ones."""
    rows = results.rows(
        """
        SELECT e.label, e.item, e.seed, c.cell_id, c.error, c.conditioning_sha256, c.image_sha256
        FROM expected_cells e LEFT JOIN current_cells c USING (experiment, label, item, seed)
        WHERE e.experiment = ? AND (? IS NULL OR list_contains(?, e.label)) ORDER BY ALL
        """,
        [experiment, labels, labels],
    )
    found: Cells = defaultdict(dict)
    for label, item, seed, *cell in rows:
        found[label][item, seed] = CellState(*cell)
    return found


def read_scores(results: Results, experiment: str, labels: list[str] | None) -> dict[str, Scores]:
    """Return score status and error by metric, label, and item and seed."""
    rows = results.rows(
        """
        SELECT metric, label, item, seed, status, error FROM unit_scores
        WHERE experiment = ? AND (? IS NULL OR list_contains(?, label)) ORDER BY ALL
        """,
        [experiment, labels, labels],
    )
    found: dict[str, Scores] = defaultdict(lambda: defaultdict(dict))
    for metric, label, item, seed, status, error in rows:
        found[metric][label][item, seed] = ScoreState(status, error)
    return found


def _check_complete(
    results: Results, experiment: str, label: str, cells: dict[Place, CellState], units: list[Place]
) -> None:
    if all(cell.cell_id is None for cell in cells.values()):
        raise UsageError(f"{label}: {_why_none(results, experiment, label)}")
    if not units:
        raise UsageError(f"{label}: no item and seed of {experiment} has both configurations; run both together")
    missing = [unit for unit in units if unit not in cells or cells[unit].cell_id is None]
    if missing:
        item, seed = missing[0]
        raise UsageError(
            f"{label}: {len(missing)} of {len(units)} pairs are missing in {experiment}, the first is item {item},"
            f" seed {seed}; `blendbench run {experiment}` with both configurations adds them"
        )


def _why_none(results: Results, experiment: str, label: str) -> str:
    rows = results.rows(
        """
        SELECT c.suite_sha256 <> s.suite_sha256, c.model_set_sha256 <> s.model_set_sha256, c.dtype <> s.dtype,
            c.sampler_sha256 <> s.sampler_sha256
        FROM cells c JOIN current_sets s USING (experiment) JOIN runs r ON r.run_id = c.run_id
        WHERE experiment = ? AND c.label = ? ORDER BY r.sequence DESC, c.cell_id LIMIT 1
        """,
        [experiment, label],
    )
    differ = [word for word, differs in zip(_SETTING_WORDS, rows[0], strict=True) if differs] if rows else []
    if differ:
        return (
            f"not comparable: its cells have another {' and '.join(differ)} than the latest run of {experiment};"
            " run it again"
        )
    return f"has no cells in {experiment}; run `blendbench run {experiment}`"


def _scored(
    metric: str, scores: Scores, labels: tuple[str, str], units: frozenset[Place]
) -> tuple[str, frozenset[Place], list[str]]:
    """Return why a metric is left out, or "", unscored units, and failures."""
    of_units = {label: {unit: scores[label][unit] for unit in sorted(units)} for label in labels}
    every = [score for by_unit in of_units.values() for score in by_unit.values()]
    if every and all(score.status == "skipped" for score in every):
        return Counter(score.error or "skipped" for score in every).most_common(1)[0][0], frozenset(), []
    # Unscorable is a property of an item: the two are compared where the baseline can be scored.
    without = frozenset(unit for unit, score in of_units[labels[1]].items() if score.status == "unscorable")
    failed = []
    for label, by_unit in of_units.items():
        for (item, seed), score in by_unit.items():
            if score.status == "ok" or (item, seed) in without:
                continue
            if score.status == "missing":
                raise UsageError(f"{label}: item {item}, seed {seed} has no {metric}; `blendbench run` measures it")
            failed.append(f"{label}: item {item}, seed {seed}: {metric}: {score.error}")
    return ("" if failed or without != units else "no unit can be scored"), without, failed


def _only(pairs: Pairs, units: frozenset[Place]) -> Pairs:
    kept = [index for index, unit in enumerate(zip(pairs.items, pairs.seeds, strict=True)) if unit in units]
    return replace(
        pairs,
        items=tuple(pairs.items[index] for index in kept),
        seeds=tuple(pairs.seeds[index] for index in kept),
        values=pairs.values[kept],
        baseline_values=pairs.baseline_values[kept],
    )


def _unit(unit: Place, candidate: CellState, baseline: CellState) -> Unit:
    return Unit(*unit, (candidate.conditioning, baseline.conditioning), (candidate.image, baseline.image))
