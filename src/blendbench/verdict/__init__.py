"""The gate: pure functions of the results database that decide whether a candidate is worse than a baseline."""

from blendbench.verdict.comparison import Comparison, compare
from blendbench.verdict.decide import Effect
from blendbench.verdict.verdict import EXIT_CODES, Canary, Verdict, WorstItem, gate, judge

__all__ = ["EXIT_CODES", "Canary", "Comparison", "Effect", "Verdict", "WorstItem", "compare", "gate", "judge"]
