"""The gate: decide from the database whether a candidate is worse.

All functions are pure.
"""

from blendbench.verdict.comparison import Comparison, compare
from blendbench.verdict.decide import Effect
from blendbench.verdict.verdict import EXIT_CODES, Canary, Verdict, WorstItem, gate, judge

__all__ = ["EXIT_CODES", "Canary", "Comparison", "Effect", "Verdict", "WorstItem", "compare", "gate", "judge"]
