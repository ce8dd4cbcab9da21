"""Looking twice: after half of the items, then after all, at no more risk than looking once.

The risk of 5 % is parted (Bonferroni): 1 % for the first look, 4 % for the last, for false alarms and for false
clearance alike. That holds whatever ties the two looks together, where group-sequential boundaries assume means that
are normal, which those of 12 items with a few outliers are not. The last look keeps most because a defect in few
pictures is only seen there, and its sign-flip p cannot get smaller than the number of damaged items allows. Items come
in the order of the suite, which is fixed before anything is drawn.
"""

from dataclasses import dataclass

LOOKS = ((0.5, 0.01), (1.0, 0.04))  # share of the items, risk of each decision
LEAST_ITEMS = 12  # of a first look: with fewer, corrected p-values cannot get small enough for any regression


@dataclass(frozen=True)
class Look:
    """Judge the first `items` of the suite, taking each decision at risk `alpha`."""

    items: int
    alpha: float


def looks(items: int) -> tuple[Look, ...]:
    """The looks at a suite of so many items: one, at the full risk, if half of it is too few."""
    planned = [Look(round(share * items), alpha) for share, alpha in LOOKS]
    if planned[0].items < LEAST_ITEMS:
        return (Look(items, sum(alpha for _, alpha in LOOKS)),)
    return tuple(planned)


def settled(verdict: str) -> bool:
    """Whether a verdict of a first look stands. What is unclear may clear up, and a canary may show on more items."""
    return verdict not in ("inconclusive", "canary not detected")
