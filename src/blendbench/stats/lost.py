"""Items lost: how many of all items a candidate may ruin, given how many it did.

A mean hides a few ruined images. Their fraction has an exact bound (Clopper & Pearson 1934): with none of n items lost,
up to 1 - .05^(1/n) of all items may be, which is 11.7 % at 24 items and 5 % at 59.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betaincinv

FALL = 0.5  # of a value between 0 and 1: an item that loses so much is lost
TOLERATED = 0.05  # fraction of items that a pass may lose
LEVEL = 0.95


@dataclass(frozen=True)
class LostItems:
    """Items that were lost, of those compared."""

    lost: int
    items: int

    @property
    def bound(self) -> float:
        """Return the one-sided 95 % upper bound of the fraction lost."""
        return lost_bound(self.lost, self.items)


def lost_bound(lost: int, items: int) -> float:
    """Return the exact one-sided 95 % upper bound of a fraction.

    Errors: ValueError unless 0 <= `lost` <= `items` and there is an item.
    """
    if not 0 <= lost <= items or items < 1:
        raise ValueError(f"{lost} of {items} items lost: not a count")
    return 1.0 if lost == items else float(betaincinv(lost + 1, items - lost, LEVEL))


def lost_items(differences: ArrayLike, fall: float = FALL) -> LostItems:
    """Count items whose value fell by `fall` or more.

    `differences`: candidate minus baseline of each item (items,), of a value between 0 and 1 where higher is better.
    """
    data = np.asarray(differences, dtype=np.float64)
    # Means over seeds carry rounding: a fall of exactly .5 is one.
    return LostItems(int((data <= -fall + 1e-9).sum()), len(data))


def items_needed(lost: int = 0, tolerated: float = TOLERATED) -> int:
    """Return the fewest items with which so many lost ones still pass."""
    items = max(lost + 1, 1)
    while lost_bound(lost, items) > tolerated:
        items += 1
    return items
