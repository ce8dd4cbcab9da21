"""How often the gate cries wolf and what it catches: resamples of a pool of images, judged as the gate judges."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv

from blendbench.reports.gate_pool import VARIANTS, Pool
from blendbench.statistics import Array
from blendbench.verdict.decide import ALPHA, MetricVerdict, measure_effect
from blendbench.verdict.pairing import Metric, Pairs
from blendbench.verdict.sequential import Look, looks, settled
from blendbench.verdict.verdict import decide_all

SEEDS = 2  # a cell of the core suite: 24 items x 2 seeds
DRAWS = 1_999
Index = NDArray[np.int64]


@dataclass(frozen=True)
class Scenario:
    """What the candidate is: text_only with `variant` in a share of its images.

    `fresh`: it has other initial noise than the baseline (disjoint seeds), so that nothing but chance and the damage
    differs; else it shares the noise, as the gate's candidates do, and every other image is the baseline's.
    `shift`: in the bad direction, in margins, added to every value instead of damaging images.
    """

    name: str
    variant: str = "clean"
    share: float = 1.0
    fresh: bool = True
    shift: float = 0.0


@dataclass(frozen=True)
class Outcome:
    """Of `trials` resamples: how many gave each verdict, and how many each decision by metric; the mean share of the
    items that were `used`.
    """

    scenario: Scenario
    trials: int
    verdicts: Counter[str]
    decisions: dict[str, Counter[str]]
    used: float = 1.0

    def rate(self, verdict: str) -> float:
        """Share of the resamples with this verdict."""
        return self.verdicts[verdict] / self.trials


def calibrate(
    pool: Pool, scenario: Scenario, trials: int, seed: int = 0, draws: int = DRAWS, sequential: bool = False
) -> Outcome:
    """Judge `trials` resamples of a scenario. Each deals the seeds of every item anew: two to the candidate, two to the
    baseline, two to the images that distances are measured from. `sequential`: judge after half of the items, and
    again after all where that has not settled it.

    Errors: ValueError if the pool has fewer than six seeds.
    """
    if pool.seeds < 3 * SEEDS:
        raise ValueError(f"{pool.seeds} seeds an item; {3 * SEEDS} are needed")
    planned = looks(len(pool.items)) if sequential else (Look(len(pool.items), ALPHA),)
    verdicts: Counter[str] = Counter()
    decisions: dict[str, Counter[str]] = {metric.name: Counter() for metric in pool.metrics}
    used = 0
    for trial in range(trials):
        judged, items = judge_once(pool, scenario, np.random.default_rng([seed, trial]), planned, draws)
        for entry in judged:
            decisions[entry.effect.metric.name][str(entry.decision)] += 1
        verdicts[overall(judged)] += 1
        used += items
    return Outcome(scenario, trials, verdicts, decisions, used / trials / len(pool.items))


def overall(judged: list[MetricVerdict]) -> str:
    """The verdict over all metrics, as the gate has it."""
    found = {entry.decision for entry in judged}
    return next(decision for decision in ("regression", "inconclusive", "pass") if decision in found)


def judge_once(
    pool: Pool, scenario: Scenario, rng: np.random.Generator, planned: Sequence[Look], draws: int = DRAWS
) -> tuple[list[MetricVerdict], int]:
    """One resample: the decisions of the look that settled it, or of the last, and the items they took."""
    dealt, seed = deal(pool, scenario, rng), int(rng.integers(2**31))
    judged: list[MetricVerdict] = []
    for look in planned:
        kept = frozenset(pool.items[: look.items])
        judged = decide_all([measure_effect(_of(pairs, kept), seed, draws, look.alpha) for pairs in dealt])
        if settled(overall(judged)):
            return judged, look.items
    return judged, planned[-1].items


def deal(pool: Pool, scenario: Scenario, rng: np.random.Generator) -> list[Pairs]:
    """The pairs of one resample, by metric."""
    items, units = len(pool.items), len(pool.items) * SEEDS
    dealt = np.stack([rng.permutation(pool.seeds)[: 3 * SEEDS] for _ in range(items)])
    candidate, baseline, anchor = (dealt[:, i * SEEDS : (i + 1) * SEEDS] for i in range(3))
    if not scenario.fresh:
        baseline = anchor = candidate
    damaged = (rng.permutation(units) < round(scenario.share * units)).reshape(items, SEEDS)
    return [
        _pairs(metric, pool.values[metric.name], scenario, candidate, baseline, anchor, damaged, pool.items)
        for metric in pool.metrics
    ]


def interval(count: int, trials: int, level: float = 0.95) -> tuple[float, float]:
    """Of a share: the exact interval of Clopper & Pearson 1934."""
    tail = (1 - level) / 2
    low = 0.0 if count == 0 else float(betaincinv(count, trials - count + 1, tail))
    high = 1.0 if count == trials else float(betaincinv(count + 1, trials - count, 1 - tail))
    return low, high


def _of(pairs: Pairs, items: frozenset[str]) -> Pairs:
    kept = np.array([item in items for item in pairs.items])
    if kept.all():
        return pairs
    names, seeds = (tuple(np.array(column)[kept]) for column in (pairs.items, pairs.seeds))
    return Pairs(pairs.metric, names, seeds, pairs.candidate[kept], pairs.baseline[kept], pairs.unscorable)


def _pairs(
    metric: Metric,
    values: Array,
    scenario: Scenario,
    candidate: Index,
    baseline: Index,
    anchor: Index,
    damaged: NDArray[np.bool_],
    names: tuple[str, ...],
) -> Pairs:
    rows = np.arange(len(names))[:, None]
    against = anchor if values.shape[-1] > 1 else np.zeros_like(anchor)
    clean, bad = values[VARIANTS.index("clean")], values[VARIANTS.index(scenario.variant)]
    first = np.where(damaged, bad[rows, candidate, against], clean[rows, candidate, against])
    first = first + scenario.shift * metric.margin * (-1 if metric.direction == "higher" else 1)
    second = clean[rows, baseline, against]
    # An item that cannot be scored cannot be scored in any of its images: what the gate leaves out.
    scored = np.isfinite(first) & np.isfinite(second)
    items = np.repeat(np.array(names), SEEDS).reshape(scored.shape)
    seeds = np.tile(np.arange(SEEDS), (len(names), 1))
    return Pairs(
        metric, tuple(items[scored]), tuple(seeds[scored]), first[scored], second[scored], int((~scored).sum())
    )
