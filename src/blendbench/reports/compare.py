"""Two configurations side by side: every metric, paired, with a reading and without a verdict."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from blendbench.metrics.cards import changes_of
from blendbench.reports.board import MetricInfo
from blendbench.reports.formats import number, p_text
from blendbench.statistics import PairedEffect, cluster_means, holm, paired_effect
from blendbench.verdict.decide import ALPHA
from blendbench.verdict.pairing import Comparison, Metric, Pairs

HEADER = ("metric", "kind", "first", "second", "first − second", "95 % interval", "p", "reading", "items")


@dataclass(frozen=True)
class Compared:
    """One metric of both configurations; `p_adjusted` is two-sided, Holm over all metrics."""

    metric: Metric
    first_mean: float
    second_mean: float
    effect: PairedEffect
    p_adjusted: float

    @property
    def reading(self) -> str:
        """Same (the interval is within the margin), first or second is better (p <= .05), differs, or unclear."""
        if max(abs(self.effect.low), abs(self.effect.high)) <= self.metric.margin:
            return "same"
        if self.p_adjusted > ALPHA:
            return "unclear"
        if self.metric.direction == "none":
            return "differs"
        return "first" if (self.effect.mean > 0) == (self.metric.direction == "higher") else "second"


def compare_metrics(comparison: Comparison) -> list[Compared]:
    """Every metric that both have, by kind and name."""
    pairs = sorted(comparison.pairs.values(), key=lambda p: (p.metric.kind, p.metric.name))
    effects = [paired_effect(p.candidate, p.baseline, p.items, bounds=changes_of(p.metric.name)) for p in pairs]
    adjusted = holm([effect.p for effect in effects])
    return [
        Compared(p.metric, *_means(p), effect, float(p_adjusted))
        for p, effect, p_adjusted in zip(pairs, effects, adjusted, strict=True)
    ]


def compared_rows(rows: Sequence[Compared]) -> list[list[str]]:
    """Table rows in the order of HEADER."""
    cells = []
    for row in rows:
        info = MetricInfo(**asdict(row.metric))
        effect = row.effect
        cells.append(
            [
                row.metric.name,
                row.metric.kind,
                number(row.first_mean, info),
                number(row.second_mean, info),
                number(effect.mean, info, signed=True),
                f"{number(effect.low, info, signed=True)} .. {number(effect.high, info, signed=True)}",
                p_text(row.p_adjusted),
                row.reading,
                str(effect.clusters),
            ]
        )
    return cells


def _means(pairs: Pairs) -> tuple[float, float]:
    first, second = (float(cluster_means(values, pairs.items).mean()) for values in (pairs.candidate, pairs.baseline))
    return first, second
