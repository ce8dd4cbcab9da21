"""Two configurations: every metric paired and read, without a verdict."""

from collections.abc import Sequence

from blendbench.core.numbers import number
from blendbench.reports.formats import p_text
from blendbench.verdict.comparison import Comparison
from blendbench.verdict.decide import Effect, decide_effects, measure_effects

HEADER = ("metric", "role", "first", "second", "first − second", "95 % interval", "p", "reading", "items")


def compare_metrics(comparison: Comparison) -> list[Effect]:
    """Decide on every metric that both have, by role and name."""
    pairs = sorted(comparison.pairs.values(), key=lambda pairs: (pairs.metric.role, pairs.metric.name))
    return decide_effects(measure_effects(pairs))


def reading(effect: Effect) -> str:
    """Return which is better; without a better side, whether they differ."""
    if effect.decision in ("equivalent", "undecided"):
        return effect.decision
    if effect.metric.direction == "none":
        return "differs"
    return "first better" if effect.decision == "better" else "second better"


def compared_rows(effects: Sequence[Effect]) -> list[list[str]]:
    """Return table rows in the order of HEADER."""
    return [
        [
            effect.metric.name,
            effect.metric.role,
            number(effect.candidate_mean, effect.metric),
            number(effect.baseline_mean, effect.metric),
            number(effect.mean, effect.metric, signed=True),
            f"{number(effect.low, effect.metric, signed=True)} .. {number(effect.high, effect.metric, signed=True)}",
            p_text(effect.p_adjusted or 0.0),
            reading(effect),
            str(effect.items),
        ]
        for effect in effects
    ]
