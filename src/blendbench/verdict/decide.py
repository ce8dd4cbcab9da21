"""The effect of a candidate on each metric, and the decision on it."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from blendbench.core.metric_info import MetricInfo, Role
from blendbench.results.pairs import Pairs
from blendbench.stats.clusters import Array, cluster_means
from blendbench.stats.decide import ALPHA, Decision, PairedTest, decide_family, detectable, needed_items, paired_test
from blendbench.stats.intervals import intervals

# What a blend may cost, and what it is for. Diagnostics are shown and decide nothing.
COSTS: tuple[Role, ...] = ("prompt", "artifact", "drift")
JUDGED_ROLES: tuple[Role, ...] = (*COSTS, "gain")
# Where a role's tolerance is a fraction of the baseline's mean; elsewhere the baseline is often 0, and it is a number
# of the card's margins.
_RELATIVE = ("prompt", "gain")


@dataclass(frozen=True)
class Effect:
    """Candidate minus baseline on one metric, in its unit.

    `low`..`high` is a confidence interval for display. `tests` is the size of the family that the decision is corrected
    for, `p_adjusted` the two-sided p after that correction; `decision` is None where nothing is decided.
    """

    metric: MetricInfo
    candidate_mean: float
    baseline_mean: float
    low: float
    high: float
    median: float
    test: PairedTest
    units: int
    unscorable: int = 0
    tests: int = 1
    p_adjusted: float | None = None
    decision: Decision | None = None

    @property
    def mean(self) -> float:
        """Return the mean over items."""
        return self.test.mean

    @property
    def items(self) -> int:
        """Return the number of items, which are the clusters."""
        return self.test.n

    @property
    def judged(self) -> bool:
        """Return whether the metric takes part in the verdict."""
        return is_judged(self.metric)

    @property
    def worse(self) -> float:
        """Return the mean change in the bad direction; NaN without one."""
        return float(badness(self.metric, np.array(self.mean)))

    def detectable(self, alpha: float = ALPHA) -> float:
        """Return the true difference that would be found with power .8."""
        return detectable(self.test, self.tests, alpha)

    def needed_items(self, alpha: float = ALPHA) -> int | None:
        """Return how many items would settle it with power .8, None if unknown."""
        return needed_items(self.test, self.tests, alpha)


def is_judged(metric: MetricInfo) -> bool:
    """Return whether a metric takes part in a verdict.

    Without a direction only a drift does: away from the baseline is bad on either side.
    """
    return metric.role in JUDGED_ROLES and (metric.direction != "none" or metric.role == "drift")


def badness(metric: MetricInfo, change: Array) -> Array:
    """Return how much worse each change (...) is; NaN without a bad side."""
    if metric.role == "drift" and metric.direction == "none":
        return np.abs(change)
    return {"lower": 1.0, "higher": -1.0, "none": math.nan}[metric.direction] * change


def floor_of(metric: MetricInfo) -> float:
    """Return the change that must be exceeded before a metric is worse.

    0, except for a drift with a direction. That is a distance to the baseline's image: it cannot get better than 0, and
    any change at all raises it, so only more than the margin counts.
    """
    return metric.margin if metric.role == "drift" and metric.direction != "none" else 0.0


def tolerated(metric: MetricInfo, baseline_mean: float, allow: Mapping[str, float]) -> float:
    """Return the change that `allow` accepts of a metric, in its unit.

    `allow` has a value by role: a fraction of the baseline's mean for prompt and gain, a number of margins for artifact
    and drift. 0 where the role is not named.
    """
    scale = abs(baseline_mean) if metric.role in _RELATIVE else metric.margin
    return allow.get(metric.role, 0.0) * scale


def measure_effects(
    pairs: Iterable[Pairs], unscorable: Mapping[str, int] | None = None, allow: Mapping[str, float] | None = None
) -> list[Effect]:
    """Measure the effect in each of many pairs, without deciding on it.

    Seeds are averaged within items. `unscorable`: units without a value, by metric. `allow`: as for `tolerated`; what
    is accepted widens the margin, and only what exceeds it is better or worse.
    """
    pairs = list(pairs)
    # Rows over the same items share their resamples.
    groups: dict[tuple[str, tuple[str, ...]], list[int]] = defaultdict(list)
    for index, found in enumerate(pairs):
        groups[found.metric.name, found.items].append(index)
    effects: dict[int, Effect] = {}
    for (name, items), members in groups.items():
        metric = pairs[members[0]].metric
        differences = cluster_means([pairs[index].differences for index in members], items)
        # In the order of the cluster means.
        strata = [pairs[members[0]].strata.get(item, "") for item in sorted(set(items))]
        estimates = intervals(differences, bounds=metric.changes, strata=strata)
        for index, row, estimate in zip(members, differences, estimates, strict=True):
            baseline_mean = float(cluster_means(pairs[index].baseline_values, items).mean())
            accepted = tolerated(metric, baseline_mean, allow or {})
            margin = max(metric.margin, accepted)
            effects[index] = Effect(
                metric=metric,
                candidate_mean=float(cluster_means(pairs[index].values, items).mean()),
                baseline_mean=baseline_mean,
                low=estimate.low,
                high=estimate.high,
                median=float(np.median(row)),
                test=paired_test(row, margin, margin if accepted else floor_of(metric)),
                units=len(items),
                unscorable=(unscorable or {}).get(name, 0),
            )
    return [effects[index] for index in range(len(pairs))]


def decide_effects(effects: Sequence[Effect], alpha: float = ALPHA) -> list[Effect]:
    """Decide on the effects of one candidate against one baseline."""
    decided = decide_metrics([effect.metric for effect in effects], [effect.test for effect in effects], alpha)
    return [
        replace(effect, decision=decision, p_adjusted=p_adjusted, tests=tests)
        for effect, (decision, p_adjusted, tests) in zip(effects, decided, strict=True)
    ]


def decide_metrics(
    metrics: Sequence[MetricInfo], tests: Sequence[PairedTest], alpha: float = ALPHA
) -> list[tuple[Decision, float, int]]:
    """Decide each metric: decision, adjusted p and family size.

    The metrics of a role are a family: Holm's correction runs within it, and nothing else has a part in a decision.
    """
    families: dict[str, list[int]] = defaultdict(list)
    for index, metric in enumerate(metrics):
        families[metric.role].append(index)
    found: dict[int, tuple[Decision, float, int]] = {}
    for family in families.values():
        decided = decide_family([tests[i] for i in family], [metrics[i].direction for i in family], alpha)
        found |= {index: (*decision, len(family)) for index, decision in zip(family, decided, strict=True)}
    return [found[index] for index in range(len(metrics))]
