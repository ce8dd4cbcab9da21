"""Pure functions from decisions to one word for what a blend gains and costs."""

from collections.abc import Collection, Mapping, Sequence
from typing import Literal

from blendbench.core.metric_info import Role
from blendbench.stats.decide import Decision
from blendbench.stats.lost import LostItems
from blendbench.verdict.decide import COSTS, Effect

Word = Literal[
    "no-op",
    "no effect",
    "better",
    "cheaper",
    "trade",
    "dominated",
    "regression",
    "undecided",
    "canary not detected",
    "cells failed",
]
# The exit code of `blendbench gate` for each.
EXIT_CODES: dict[Word, int] = {
    "no-op": 0,
    "no effect": 0,
    "better": 0,
    "cheaper": 0,
    "trade": 0,
    "dominated": 1,
    "regression": 1,
    "undecided": 3,
    "canary not detected": 4,
    "cells failed": 5,
}
# Of several candidates, or several reasons, the first of these exit codes counts.
PRECEDENCE = (2, 4, 5, 1, 3, 0)
# Outcomes that claim that no cost rose: of the items lost, each is a cost that a mean can hide.
UNCOSTLY: tuple[Word, ...] = ("better", "cheaper", "no effect")


def gravest(codes: Collection[int]) -> int:
    """Return the exit code that counts among several."""
    return next(code for code in PRECEDENCE if code in codes)


def of_role(effects: Sequence[Effect], role: Role, primary: str | None) -> list[Effect]:
    """Return the effects of a role, its primary metric first.

    The primary of a role may be a metric of another one, if the suite asks for that.
    """
    chosen = [effect for effect in effects if effect.judged and effect.metric.role == role]
    first = [effect for effect in effects if effect.metric.name == primary]
    return [*first, *(effect for effect in chosen if effect.metric.name != primary)]


def cost_state(decisions: Collection[Decision]) -> Decision | None:
    """Return the worst decision of a cost's metrics, None without any."""
    order: tuple[Decision, ...] = ("worse", "undecided", "better", "equivalent")
    return next((decision for decision in order if decision in decisions), None)


def gain_state(decisions: Sequence[Decision]) -> Decision | None:
    """Combine the metrics of the gain, the primary first.

    The primary counts where it is better or worse. Else another one that is better counts if none is worse.
    """
    if not decisions:
        return None
    if decisions[0] in ("better", "worse"):
        return decisions[0]
    rest = set(decisions)
    if {"better", "worse"} <= rest:
        return "undecided"
    order: tuple[Decision, ...] = ("worse", "better", "undecided", "equivalent")
    return next(decision for decision in order if decision in rest)


def states(effects: Sequence[Effect], primaries: Mapping[Role, str]) -> dict[Role, Decision]:
    """Return the state of each role that was measured and decided."""
    found: dict[Role, Decision] = {}
    for role in (*COSTS, "gain"):
        decisions = [e.decision for e in of_role(effects, role, primaries.get(role)) if e.decision is not None]
        state = gain_state(decisions) if role == "gain" else cost_state(decisions)
        if state is not None:
            found[role] = state
    return found


def idea_outcome(found: Mapping[Role, Decision], dominated: bool = False) -> Word:
    """Judge an idea: gain against costs.

    `found`: the state of each role. A gain that was not measured counts as none. `dominated`: whether a known
    configuration is shown to gain no less at lower cost.
    """
    costs, gain = [found[role] for role in COSTS if role in found], found.get("gain", "equivalent")
    if gain == "equivalent" and all(cost == "equivalent" for cost in costs):
        return "no effect"
    if "worse" in costs:
        if gain == "better":
            return "dominated" if dominated else "trade"
        return "undecided" if gain == "undecided" else "regression"
    if "undecided" in costs or gain == "undecided":
        return "undecided"
    if gain == "equivalent":
        return "cheaper"
    return "better" if gain == "better" else "regression"


def with_losses(word: Word, lost: LostItems | None, tolerated: float | None) -> Word:
    """Take back a claim that no cost rose where too many items may be lost.

    The mean is fine then, but so few items do not exclude that more than the tolerated fraction is ruined.
    """
    if word in UNCOSTLY and lost is not None and tolerated is not None and lost.bound > tolerated:
        return "undecided"
    return word


def change_outcome(found: Mapping[Role, Decision]) -> Word:
    """Judge a change of a strategy's code: no role may get worse."""
    every = set(found.values())
    if "worse" in every:
        return "regression"
    if "undecided" in every:
        return "undecided"
    if found.get("gain") == "better":
        return "better"
    return "cheaper" if "better" in every else "no effect"
