"""Verdicts: what a blend gains, what it costs, and whether something known does better.

Everything is decided from the database alone.
"""

from blendbench.verdict.canary import Canary
from blendbench.verdict.comparison import Comparison, compare
from blendbench.verdict.decide import Effect
from blendbench.verdict.outcome import EXIT_CODES
from blendbench.verdict.verdict import Verdict, WorstItem, gate, judge

__all__ = ["EXIT_CODES", "Canary", "Comparison", "Effect", "Verdict", "WorstItem", "compare", "gate", "judge"]
