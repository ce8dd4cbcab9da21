"""Measure false-positive rate and power of the gate on resamples of a pool."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from gate_pool import VARIANTS, Pool
from numpy.typing import NDArray
from scipy.special import betaincinv

from blendbench.core.metric_info import MetricInfo
from blendbench.stats.clusters import Array, cluster_means
from blendbench.stats.decide import ALPHA, paired_test
from blendbench.verdict.decide import OUTCOMES, decide_metrics, floor_of
from blendbench.verdict.sequential import Look, looks, settled

SEEDS = 2  # a cell of the core suite: 24 items x 2 seeds
Index = NDArray[np.int64]


@dataclass(frozen=True)
class Scenario:
    """A candidate: text_only with `variant` in a fraction of its images.

    `fresh`: it has other initial noise than the baseline (disjoint seeds), so that nothing but chance and the damage
    differs; else it shares the noise, as the gate's candidates do, and every other image is the baseline's.
    `shift`: in the bad direction, in margins, added to every value instead of damaging images.
    """

    name: str
    variant: str = "clean"
    fraction: float = 1.0
    fresh: bool = True
    shift: float = 0.0


@dataclass(frozen=True)
class Calibration:
    """Counts of verdicts and outcomes by metric in `trials` resamples, and the mean fraction of items used."""

    scenario: Scenario
    trials: int
    verdicts: Counter[str]
    outcomes: dict[str, Counter[str]]
    used: float = 1.0

    def rate(self, verdict: str) -> float:
        """Return the fraction of the resamples with this verdict."""
        return self.verdicts[verdict] / self.trials


def calibrate(pool: Pool, scenario: Scenario, trials: int, seed: int = 0, sequential: bool = False) -> Calibration:
    """Judge `trials` resamples of a scenario.

    Each deals the seeds of every item anew: two to the candidate, two to the baseline, two to the images that distances
    are measured from. `sequential`: judge after half of the items, and again after all where that has not settled it.
    Errors: ValueError if the pool has fewer than six seeds.
    """
    if pool.seeds < 3 * SEEDS:
        raise ValueError(f"{pool.seeds} seeds for each item; {3 * SEEDS} are needed")
    planned = looks(len(pool.items)) if sequential else (Look(len(pool.items), ALPHA),)
    verdicts: Counter[str] = Counter()
    outcomes: dict[str, Counter[str]] = {metric.name: Counter() for metric in pool.metrics}
    used = 0
    for trial in range(trials):
        judged, items = judge_once(pool, scenario, np.random.default_rng([seed, trial]), planned)
        for name, outcome in judged.items():
            outcomes[name][outcome] += 1
        verdicts[overall(judged)] += 1
        used += items
    return Calibration(scenario, trials, verdicts, outcomes, used / trials / len(pool.items))


def overall(judged: dict[str, str]) -> str:
    """Return the verdict over all metrics, as the gate has it."""
    return next(outcome for outcome in ("regression", "inconclusive", "pass") if outcome in judged.values())


def judge_once(
    pool: Pool, scenario: Scenario, rng: np.random.Generator, planned: Sequence[Look]
) -> tuple[dict[str, str], int]:
    """Judge one resample: the outcomes of the look that settled it, or of the last, and the items they took."""
    dealt = deal(pool, scenario, rng)
    judged: dict[str, str] = {}
    for look in planned:
        tests = []
        for metric in pool.metrics:
            items, candidate, baseline = dealt[metric.name]
            kept = items < look.items
            means = cluster_means((candidate - baseline)[kept], list(items[kept]))
            tests.append(paired_test(means, metric.margin, floor_of(metric)))
        decided = decide_metrics(pool.metrics, tests, look.alpha)
        judged = {metric.name: OUTCOMES[decision] for metric, (decision, *_) in zip(pool.metrics, decided, strict=True)}
        if settled(overall(judged)):
            return judged, look.items
    return judged, planned[-1].items


def deal(pool: Pool, scenario: Scenario, rng: np.random.Generator) -> dict[str, tuple[Index, Array, Array]]:
    """Deal one resample: by metric, the item of every unit with the values of candidate and baseline."""
    items, units = len(pool.items), len(pool.items) * SEEDS
    dealt = np.stack([rng.permutation(pool.seeds)[: 3 * SEEDS] for _ in range(items)])
    candidate, baseline, anchor = (dealt[:, i * SEEDS : (i + 1) * SEEDS] for i in range(3))
    if not scenario.fresh:
        baseline = anchor = candidate
    damaged = (rng.permutation(units) < round(scenario.fraction * units)).reshape(items, SEEDS)
    return {
        metric.name: _values(metric, pool.values[metric.name], scenario, candidate, baseline, anchor, damaged)
        for metric in pool.metrics
    }


def interval(count: int, trials: int, level: float = 0.95) -> tuple[float, float]:
    """Return the exact interval of a fraction (Clopper & Pearson 1934)."""
    tail = (1 - level) / 2
    low = 0.0 if count == 0 else float(betaincinv(count, trials - count + 1, tail))
    high = 1.0 if count == trials else float(betaincinv(count + 1, trials - count, 1 - tail))
    return low, high


def _values(
    metric: MetricInfo,
    values: Array,
    scenario: Scenario,
    candidate: Index,
    baseline: Index,
    anchor: Index,
    damaged: NDArray[np.bool_],
) -> tuple[Index, Array, Array]:
    rows = np.arange(len(candidate))[:, None]
    against = anchor if values.shape[-1] > 1 else np.zeros_like(anchor)
    clean, bad = values[VARIANTS.index("clean")], values[VARIANTS.index(scenario.variant)]
    first = np.where(damaged, bad[rows, candidate, against], clean[rows, candidate, against])
    first = first + scenario.shift * metric.margin * (-1 if metric.direction == "higher" else 1)
    second = clean[rows, baseline, against]
    # An item that cannot be scored cannot be scored in any of its images: what the gate leaves out.
    scored = np.isfinite(first) & np.isfinite(second)
    return np.broadcast_to(rows, scored.shape)[scored], first[scored], second[scored]
