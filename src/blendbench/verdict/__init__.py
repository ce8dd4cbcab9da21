"""The gate: pure functions of the results database that say whether a candidate is worse than a baseline."""

from blendbench.verdict.decide import Effect, MetricVerdict, Needed
from blendbench.verdict.pairing import Comparison, Metric, Pairs, Setting, pair
from blendbench.verdict.verdict import EXIT_CODES, Canary, Verdict, WorstItem, gate, judge

__all__ = [
    "EXIT_CODES",
    "Canary",
    "Comparison",
    "Effect",
    "Metric",
    "MetricVerdict",
    "Needed",
    "Pairs",
    "Setting",
    "Verdict",
    "WorstItem",
    "gate",
    "judge",
    "pair",
]
