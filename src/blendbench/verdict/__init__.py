"""Decide from the database what a blend gains, costs, and is dominated by."""

from blendbench.verdict.canary import Canary
from blendbench.verdict.comparison import Comparison, compare
from blendbench.verdict.decide import Effect
from blendbench.verdict.outcome import EXIT_CODES
from blendbench.verdict.verdict import Verdict, WorstItem, gate, judge

__all__ = ["EXIT_CODES", "Canary", "Comparison", "Effect", "Verdict", "WorstItem", "compare", "gate", "judge"]
