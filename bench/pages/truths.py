"""Simulated truth: what the gate says of candidates whose gain and costs are known."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from samples import Array, lost

from blendbench.core.metric_info import MetricInfo, Role
from blendbench.metrics import all_metrics
from blendbench.stats.decide import ALPHA, paired_test
from blendbench.stats.lost import TOLERATED, lost_items
from blendbench.verdict.decide import Effect, decide_effects, floor_of
from blendbench.verdict.known import BASELINE, Known, Point
from blendbench.verdict.looks import level_of
from blendbench.verdict.outcome import UNCOSTLY, Word, idea_outcome, states, with_losses
from blendbench.verdict.sequential import looks

PRIMARIES: dict[Role, str] = {
    "prompt": "attribute_adherence",
    "artifact": "grid_severity",
    "drift": "color_elsewhere",
    "gain": "reference_style",
}
SIZES = (24, 72, 288)
TAIL = 0.6
CANDIDATE = "candidate"


def metric_of(role: Role) -> MetricInfo:
    """Return the primary metric of a role."""
    return all_metrics()[PRIMARIES[role]].info


@dataclass(frozen=True)
class Change:
    """A true change of one role: its mean and its spread over items, or items lost with a probability."""

    mean: float = 0.0
    spread: float = 0.1
    lost: float | None = None

    def sample(self, rng: np.random.Generator, items: int, tail: float = 0.0) -> Array:
        """Sample the differences of items, normal or with a long tail to the side of the sign of `tail`."""
        if self.lost is not None:
            return lost(rng, (items,), self.lost, 0.02)
        if not tail:
            return rng.normal(self.mean, self.spread, items)
        # Of mean 0 and spread 1; the same shape as the skewed data of `samples`.
        square = np.exp(TAIL**2)
        noise = (rng.lognormal(0, TAIL, items) - np.sqrt(square)) / np.sqrt((square - 1) * square)
        skewed: Array = self.mean + tail * self.spread * noise
        return skewed


ARTIFACT, DRIFT = Change(0.0, 0.3), Change(0.01, 0.01)


@dataclass(frozen=True)
class Truth:
    """A candidate with known changes; `wrong` are the outcomes that are errors of this truth.

    `rivals`: the true (gain, prompt) changes of what else is known. `right`: the outcome that is hoped for.
    """

    name: str
    wrong: tuple[Word, ...]
    right: Word
    gain: Change = field(default_factory=Change)
    prompt: Change = field(default_factory=Change)
    artifact: Change = ARTIFACT
    rivals: tuple[tuple[float, float], ...] = ()

    @cached_property
    def changes(self) -> Mapping[Role, Change]:
        """Return the change of each role."""
        return {"prompt": self.prompt, "artifact": self.artifact, "drift": DRIFT, "gain": self.gain}


POWER = "a gain of .10 (SD .3) at no cost"
TRUTHS = (
    Truth("no effect", ("better", "cheaper", "trade", "dominated", "regression"), "no effect"),
    Truth(POWER, ("regression", "trade", "dominated", "cheaper"), "better", Change(0.1, 0.3)),
    Truth(
        "a gain of .2, the prompt worse by .1",
        (*UNCOSTLY, "regression", "dominated"),
        "trade",
        Change(0.2),
        Change(-0.1),
    ),
    Truth("no gain, the prompt worse by .1", (*UNCOSTLY, "trade", "dominated"), "regression", prompt=Change(-0.1)),
    Truth("a gain of .2, the prompt worse by its margin", UNCOSTLY, "trade", Change(0.2), Change(-0.02)),
    Truth("a gain worse by .1", (*UNCOSTLY, "trade", "dominated"), "regression", Change(-0.1)),
    Truth(
        "no gain, fewer artifacts",
        ("better", "trade", "dominated", "regression"),
        "cheaper",
        artifact=Change(-0.6, 0.3),
    ),
    Truth(
        "ten known ones that are equal",
        (*UNCOSTLY, "dominated", "regression"),
        "trade",
        Change(0.2),
        Change(-0.1),
        rivals=((0.2, -0.1),) * 10,
    ),
    Truth(
        "ten known ones, the best cheaper by the margin",
        (*UNCOSTLY, "dominated", "regression"),
        "trade",
        Change(0.2),
        Change(-0.1),
        rivals=((0.2, -0.08), *((0.1, -0.1),) * 9),
    ),
    Truth(
        "ten known ones, one as good at no cost",
        (*UNCOSTLY, "regression"),
        "dominated",
        Change(0.2),
        Change(-0.1),
        rivals=((0.2, 0.0), *((0.1, -0.1),) * 9),
    ),
)
LOSSES = (0.0, 0.025, 0.05, 0.10)


class Simulation:
    """Judge simulated candidates; equal changes are sampled and tested once for all truths."""

    def __init__(self, trials: int, items: int, skewed: bool = False) -> None:
        """Simulate so many candidates of so many items."""
        self.trials, self.items, self.skewed = trials, items, skewed
        self._made: dict[tuple[Role, Change], list[tuple[Array, Effect]]] = {}

    def effects(self, role: Role, change: Change) -> list[tuple[Array, Effect]]:
        """Return the differences and the tested effect of each trial."""
        key = (role, change)
        if key not in self._made:
            metric = metric_of(role)
            # Skewed changes have their long tail on the bad side.
            tail = (1.0 if metric.direction == "lower" else -1.0) * self.skewed
            rows = []
            for trial in range(self.trials):
                row = change.sample(
                    np.random.default_rng([trial, self.items, *map(ord, f"{role}{change}")]), self.items, tail
                )
                # A drift is a distance.
                row = np.abs(row) if role == "drift" else row
                test = paired_test(row, metric.margin, floor_of(metric))
                rows.append((row, Effect(metric, 0.0, 0.0, np.nan, np.nan, 0.0, test, self.items)))
            self._made[key] = rows
        return self._made[key]

    def outcomes(self, truth: Truth) -> Counter[Word]:
        """Count the outcomes of all trials of one truth."""
        by_role = {role: self.effects(role, change) for role, change in truth.changes.items()}
        return Counter(
            self._judge(truth, {role: rows[trial] for role, rows in by_role.items()}, trial)
            for trial in range(self.trials)
        )

    def _judge(self, truth: Truth, sampled: Mapping[Role, tuple[Array, Effect]], trial: int) -> Word:
        decided = decide_effects([effect for _, effect in sampled.values()])
        word = idea_outcome(states(decided, PRIMARIES), self._dominated(truth, sampled, trial))
        return with_losses(word, lost_items(sampled["prompt"][0]), TOLERATED)

    def _dominated(self, truth: Truth, sampled: Mapping[Role, tuple[Array, Effect]], trial: int) -> bool:
        if not truth.rivals:
            return False
        rng = np.random.default_rng([trial, self.items, len(truth.rivals)])
        points = [Point(name, name, name, None, False, False) for name in (BASELINE, CANDIDATE)]
        points += [
            Point(f"rival-{i}", f"rival-{i}", f"rival-{i}", None, False, False) for i in range(len(truth.rivals))
        ]
        values: dict[Role, Array] = {}
        for role, (row, _) in sampled.items():
            others = [
                rng.normal({"gain": gain, "prompt": prompt}.get(role, float(row.mean())), 0.1, self.items)
                if role in ("gain", "prompt")
                else rng.permutation(row)
                for gain, prompt in truth.rivals
            ]
            values[role] = np.stack([np.zeros(self.items), row, *others])
        nameless = tuple("" for _ in range(self.items))
        names = tuple(f"item-{i:03}" for i in range(self.items))
        metrics = {role: metric_of(role) for role in values}
        return Known(metrics, tuple(points), names, nameless, nameless, values).dominating(CANDIDATE) is not None


def pass_rates(simulation: Simulation, gain: Change) -> dict[float, float]:
    """Return how often a candidate passes (better, cheaper or no effect), by the probability that an item is lost."""
    found = {}
    for probability in LOSSES:
        truth = Truth("lost", (), "undecided", gain, Change(lost=probability))
        outcomes = simulation.outcomes(truth)
        found[probability] = sum(outcomes[word] for word in UNCOSTLY) / simulation.trials
    return found


def ideas_at_margin(trials: int, items: int, ideas: int, paid: bool) -> float:
    """Return how often one of several ideas passes whose prompt is worse by just the margin.

    Each look has another idea's images. `paid`: at the level of each look, else at .05.
    """
    metric, passed = metric_of("prompt"), 0
    for trial in range(trials):
        rng = np.random.default_rng([trial, items, ideas])
        # A spread at which so many items can show equivalence, or nothing would pass at any level.
        tests = (paired_test(rng.normal(-metric.margin, 0.04, items), metric.margin) for _ in range(ideas))
        passed += any(
            test.p_within_margin <= (level_of(number) if paid else ALPHA) for number, test in enumerate(tests, 1)
        )
    return passed / trials


def half_looks_at_margin(trials: int, items: int) -> float:
    """Return how often a prompt that is worse by just the margin passes after half of the items or after all."""
    metric, passed = metric_of("prompt"), 0
    for trial in range(trials):
        row = np.random.default_rng([trial, items]).normal(-metric.margin, 0.04, items)
        passed += any(
            paired_test(row[: look.items], metric.margin).p_within_margin <= look.alpha for look in looks(items)
        )
    return passed / trials
