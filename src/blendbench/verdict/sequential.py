"""Look after half of the items, then after all, at the risk of one look.

The risk of 5 % is split (Bonferroni): 0.56 % for the first look, which is what spending of O'Brien & Fleming's kind
gives to half of the data (Lan & DeMets 1983), and the rest for the last, for false alarms and for false clearance
alike. That holds however the two looks depend on each other, where group-sequential boundaries assume means that are
normal, which those of 12 items with a few outliers are not. The last look keeps most because a defect in few images is
only seen there, and its sign-flip p cannot get smaller than the number of damaged items allows. Items come in the order
of the suite, which is fixed before anything is generated.
"""

from dataclasses import dataclass

from blendbench.verdict.outcome import Word

LOOKS = ((0.5, 0.0056), (1.0, 0.0444))  # fraction of the items, level of each decision
LEAST_ITEMS = 12  # of a first look: with fewer, corrected p-values cannot get small enough for any regression


@dataclass(frozen=True)
class Look:
    """A judgement of the first `items`, each decision at level `alpha`."""

    items: int
    alpha: float


def looks(items: int, batch: int = 1) -> tuple[Look, ...]:
    """Return the looks at a suite: one, at full level, if half is too few.

    Images are generated `batch` at a time, and a batch that is not full takes as long: the first look is at whole ones,
    unless that leaves it too few items.
    """
    planned = [Look(round(fraction * items), alpha) for fraction, alpha in LOOKS]
    whole = planned[0].items // batch * batch
    if whole >= LEAST_ITEMS:
        planned[0] = Look(whole, planned[0].alpha)
    if planned[0].items < LEAST_ITEMS:
        return (Look(items, sum(alpha for _, alpha in LOOKS)),)
    return tuple(planned)


def settled(outcome: Word) -> bool:
    """Return whether a first look's outcome stands: more items may change others."""
    return outcome not in ("undecided", "canary not detected")
