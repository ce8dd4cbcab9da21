"""How often the gate cries wolf and what it catches: resamples of a pool of pictures, judged as the gate judges."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv

from blendbench.gate.decide import MetricVerdict, bad_direction, measure_effect
from blendbench.gate.pairing import Metric, Pairs
from blendbench.gate.verdict import decide_all
from blendbench.reports.gate_pool import VARIANTS, Pool
from blendbench.statistics import Array

SEEDS = 2  # a cell of the core suite: 24 items x 2 seeds
DRAWS = 1_999
Index = NDArray[np.int64]


@dataclass(frozen=True)
class Scenario:
    """What the candidate is: text_only with `variant` in a share of its pictures.

    `fresh`: it has other initial noise than the baseline (disjoint seeds), so that nothing but chance and the damage
    differs; else it shares the noise, as the gate's candidates do, and every other picture is the baseline's.
    `shift`: in the bad direction, in margins, added to every value instead of damaging pictures.
    """

    name: str
    variant: str = "clean"
    share: float = 1.0
    fresh: bool = True
    shift: float = 0.0


@dataclass(frozen=True)
class Outcome:
    """Of `trials` resamples: how many gave each verdict, and how many each decision by metric."""

    scenario: Scenario
    trials: int
    verdicts: Counter[str]
    decisions: dict[str, Counter[str]]

    def rate(self, verdict: str) -> float:
        """Share of the resamples with this verdict."""
        return self.verdicts[verdict] / self.trials


def calibrate(pool: Pool, scenario: Scenario, trials: int, seed: int = 0, draws: int = DRAWS) -> Outcome:
    """Judge `trials` resamples of a scenario. Each deals the seeds of every item anew: two to the candidate, two to the
    baseline, two to the pictures that distances are measured from.

    Errors: ValueError if the pool has fewer than six seeds.
    """
    if pool.seeds < 3 * SEEDS:
        raise ValueError(f"{pool.seeds} seeds an item; {3 * SEEDS} are needed")
    verdicts: Counter[str] = Counter()
    decisions: dict[str, Counter[str]] = {metric.name: Counter() for metric in pool.metrics}
    for trial in range(trials):
        judged = judge_once(pool, scenario, np.random.default_rng([seed, trial]), draws)
        for entry in judged:
            decisions[entry.effect.metric.name][str(entry.decision)] += 1
        verdicts[overall(judged)] += 1
    return Outcome(scenario, trials, verdicts, decisions)


def overall(judged: list[MetricVerdict]) -> str:
    """The verdict over all metrics, as the gate has it."""
    found = {entry.decision for entry in judged}
    return next(decision for decision in ("regression", "inconclusive", "pass") if decision in found)


def judge_once(pool: Pool, scenario: Scenario, rng: np.random.Generator, draws: int = DRAWS) -> list[MetricVerdict]:
    """One resample, judged."""
    return decide_all([measure_effect(pairs, int(rng.integers(2**31)), draws) for pairs in deal(pool, scenario, rng)])


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


def _pairs(
    metric: Metric, values: Array, scenario: Scenario, candidate: Index, baseline: Index, anchor: Index,
    damaged: NDArray[np.bool_], names: tuple[str, ...],
) -> Pairs:  # fmt: skip
    rows = np.arange(len(names))[:, None]
    against = anchor if values.shape[-1] > 1 else np.zeros_like(anchor)
    clean, bad = values[VARIANTS.index("clean")], values[VARIANTS.index(scenario.variant)]
    first = np.where(damaged, bad[rows, candidate, against], clean[rows, candidate, against])
    first = first + scenario.shift * metric.margin * bad_direction(metric)
    second = clean[rows, baseline, against]
    # An item that cannot be scored cannot be scored in any of its pictures: what the gate leaves out.
    scored = np.isfinite(first) & np.isfinite(second)
    items = np.repeat(np.array(names), SEEDS).reshape(scored.shape)
    seeds = np.tile(np.arange(SEEDS), (len(names), 1))
    return Pairs(
        metric, tuple(items[scored]), tuple(seeds[scored]), first[scored], second[scored], int((~scored).sum())
    )
