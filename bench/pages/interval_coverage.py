"""Measure how often intervals, bounds and ranks hold the truth, and what power figures are worth."""

from dataclasses import dataclass

import numpy as np
from samples import SIZES, Array, Kind, lost
from scipy.special import stdtrit

from blendbench.stats.clusters import standard_errors
from blendbench.stats.decide import PairedTest, decide_family, detectable, needed_items, paired_test
from blendbench.stats.intervals import intervals, relative_losses
from blendbench.stats.lost import lost_bound
from blendbench.stats.ranks import simultaneous_ranks

RESAMPLES = 999


@dataclass(frozen=True)
class Coverage:
    """Coverage of a 95 % interval, its median width, and that of Student's t."""

    kind: str
    items: int
    covered: float
    width: float
    t_covered: float
    t_width: float


def covers(kinds: list[Kind], samples: int, sizes: tuple[int, ...] = SIZES) -> list[Coverage]:
    """Measure the coverage of the interval of a mean, beside Student's t alone."""
    found = []
    for kind in kinds:
        for items in sizes:
            data = kind.sample(np.random.default_rng([items, samples]), samples, items)
            estimates = intervals(data.rows, resamples=RESAMPLES, bounds=data.bounds)
            # Without ends nothing is claimed.
            low = np.nan_to_num([entry.low for entry in estimates], nan=-np.inf)
            high = np.nan_to_num([entry.high for entry in estimates], nan=np.inf)
            reach = stdtrit(items - 1, 0.975) * standard_errors(data.rows)
            means = data.rows.mean(axis=1)
            found.append(
                Coverage(
                    kind.name,
                    items,
                    _rate(low, data.truth, high),
                    float(np.median(high - low)),
                    _rate(means - reach, data.truth, means + reach),
                    float(np.median(2 * reach)),
                )
            )
    return found


def _rate(low: Array, truth: Array, high: Array) -> float:
    return float(((low <= truth + 1e-12) & (truth - 1e-12 <= high)).mean())


def loss_covers(samples: int, sizes: tuple[int, ...] = SIZES) -> dict[int, float]:
    """Measure the coverage of a relative loss: a tenth of a prompt value is lost, unevenly."""
    found = {}
    for items in sizes:
        rng, covered = np.random.default_rng([items, 1]), 0
        for _ in range(samples):
            baseline = rng.beta(8, 2, items)
            kept = baseline * rng.beta(4.5, 0.5, items)
            (loss,) = relative_losses(kept[None], baseline, bounds=(0.0, 1.0), resamples=RESAMPLES)
            covered += loss.low <= 0.1 <= loss.high
        found[items] = covered / samples
    return found


def lost_bound_covers(samples: int, sizes: tuple[int, ...] = SIZES) -> dict[tuple[float, int], float]:
    """Measure how often the bound of the fraction of items lost holds it, by probability and items."""
    rng = np.random.default_rng(2)
    return {
        (p, n): float(np.mean([lost_bound(k, n) >= p for k in rng.binomial(n, p, samples)]))
        for p in (0.025, 0.05, 0.10)
        for n in sizes
    }


@dataclass(frozen=True)
class RankRates:
    """Rates over samples: all true ranks held at once, and the best tied with the best.

    A rank interval that leaves a true rank out claims a wrong order, or a difference between equal ones.
    """

    case: str
    configurations: int
    items: int
    held: float
    tied: float


def rank_rates(samples: int, sizes: tuple[int, ...] = (8, 24, 72, 288), configurations: int = 20) -> list[RankRates]:
    """Measure ranks of equal and of nearly equal configurations, on normal data and under lost items."""
    found = []
    steps = np.linspace(0.06, 0, configurations)
    cases = (
        ("equal", 0 * steps, _normal),
        ("equal, items lost", 0 * steps, _with_lost),
        ("0.003 apart", steps, _normal),
    )
    for case, means, sample in cases:
        # Equal ones share all the ranks that are theirs.
        first = 1 + (means[:, None] > means).sum(axis=0)
        last = configurations - (means[:, None] < means).sum(axis=0)
        for items in sizes:
            rng = np.random.default_rng([items, configurations])
            held = tied = 0
            for _ in range(samples):
                ranks = simultaneous_ranks(means[:, None] + sample(rng, configurations, items), True)
                held += all(r.low <= low and high <= r.high for r, low, high in zip(ranks, first, last, strict=True))
                tied += ranks[0].tied_with_best
            found.append(RankRates(case, configurations, items, held / samples, tied / samples))
    return found


def _normal(rng: np.random.Generator, configurations: int, items: int) -> Array:
    return rng.normal(0, 0.2, items) + rng.normal(0, 0.1, (configurations, items))


def _with_lost(rng: np.random.Generator, configurations: int, items: int) -> Array:
    return lost(rng, (configurations, items), 0.1, 0.02)


def power_at_detectable(samples: int, sizes: tuple[int, ...] = (24, 72)) -> dict[tuple[int, int], float]:
    """Measure the power at the difference called detectable, by metrics in the family and items."""
    found = {}
    for items in sizes:
        for tests in (1, 3, 6):
            rng, seen = np.random.default_rng([items, tests]), 0
            truth = detectable(_test(0.0, 0.1, items, 0.02), tests)
            for _ in range(samples):
                own = paired_test(rng.normal(truth, 0.1, items), 0.02)
                others = [_null(rng, items) for _ in range(tests - 1)]
                seen += decide_family([own, *others], ["higher"] * tests)[0][0] == "better"
            found[tests, items] = seen / samples
    return found


def settled_at_needed(samples: int) -> dict[tuple[float, int], float]:
    """Measure how often the number of items called needed settles a metric, by true mean and that number."""
    found = {}
    for mean in (0.0, 0.005, 0.05):
        items = needed_items(_test(mean, 0.08, 24, 0.02), 3)
        assert items is not None
        rng, settled = np.random.default_rng(items), 0
        for _ in range(samples):
            own = paired_test(rng.normal(mean, 0.08, items), 0.02)
            settled += decide_family([own, _null(rng, items), _null(rng, items)], ["higher"] * 3)[0][0] != "undecided"
        found[mean, items] = settled / samples
    return found


def _test(mean: float, spread: float, items: int, margin: float) -> PairedTest:
    return PairedTest(mean, spread / items**0.5, 1.0, 1.0, 1.0, margin, 0.0, items)


def _null(rng: np.random.Generator, items: int) -> PairedTest:
    """Return a test of another metric of the family, of which nothing is true."""
    p = float(rng.random())
    return PairedTest(0.0, 1.0, p, 1 - p, 1.0, 0.02, 0.0, items)
