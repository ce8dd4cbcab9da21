"""A verdict as one sentence with figures, the same wherever it is shown."""

import math
from collections.abc import Callable, Sequence

from blendbench.core.metric_info import Role
from blendbench.core.numbers import MINUS, counted, fixed
from blendbench.verdict.decide import COSTS, Effect
from blendbench.verdict.outcome import Word
from blendbench.verdict.verdict import Verdict

# Metrics of the diagnostic role that say how far the images moved at all.
_EFFECT = "effect_size"


def sentence(verdict: Verdict) -> str:
    """Return what a blend gains, what it costs and how it compares, in one sentence."""
    return f"{verdict.candidate} {_WORDS[verdict.outcome](verdict)}"


def gain_noun(metric: str) -> str:
    """Return what a primary gain metric measures, in one word."""
    return "palette" if metric.startswith("color_") else "style"


def _gain_words(verdict: Verdict) -> str:
    return f"gains {_change(verdict, 'gain', 'better')}"


def _traded(verdict: Verdict) -> str:
    return f"{_gain_words(verdict)} for {_costs(verdict, 'worse')}; {_compared(verdict)}."


_WORDS: dict[Word, Callable[[Verdict], str]] = {
    "cells failed": lambda verdict: (
        f"cannot be judged: {len(verdict.failed)} of its cells or scores failed, as {verdict.failed[0]}."
    ),
    "canary not detected": lambda verdict: (
        "cannot be judged: the metrics do not detect a blend that is broken on purpose, so they clear nothing here"
        f" ({verdict.canary.evidence})."
    ),
    "no-op": lambda verdict: (
        f"does nothing: in all {counted(verdict.units, 'pair')} its conditioning is that of {verdict.baseline}, bit for"
        " bit."
    ),
    "no effect": lambda verdict: f"has no effect on what is measured: {_within(verdict)}{_moved(verdict)}.",
    "trade": _traded,
    "dominated": _traded,
    "better": lambda verdict: f"{_gain_words(verdict)} at no measured cost{_and_cheaper(verdict)}.",
    "cheaper": lambda verdict: f"is better by {_costs(verdict, 'better')} at no loss elsewhere.",
    "regression": lambda verdict: f"is a regression against {verdict.baseline}: {_regressed(verdict)}.",
    "undecided": lambda verdict: f"is undecided on {counted(verdict.items, 'item')}: {_open(verdict)}.",
}


def _change(verdict: Verdict, role: Role, decision: str) -> str:
    """Write the changes of one role with this decision: the primary, else the first."""
    found = [effect for effect in verdict.of_role(role) if effect.decision == decision]
    return _amount(verdict, found[0]) if found else ""


def _amount(verdict: Verdict, effect: Effect) -> str:
    """Write an effect's size without its sign, its noun and its interval."""
    low, high = (effect.low, effect.high) if effect.mean >= 0 else (-effect.high, -effect.low)
    decimals = _decimals(effect)
    return (
        f"{fixed(abs(effect.mean), decimals)} {_noun(verdict, effect)}"
        f" [{fixed(low, decimals)}, {fixed(high, decimals)}]"
    )


def _decimals(effect: Effect) -> int:
    # Digits beyond those of the margin say nothing that matters.
    margin = effect.metric.margin
    return min(effect.metric.decimals, max(1, math.ceil(-math.log10(margin)))) if margin else effect.metric.decimals


def _signed(verdict: Verdict, effect: Effect) -> str:
    decimals = _decimals(effect)
    low, high = (fixed(end, decimals, signed=True) for end in (effect.low, effect.high))
    return f"{_noun(verdict, effect)} {fixed(effect.mean, decimals, signed=True)} [{low}, {high}]"


def _noun(verdict: Verdict, effect: Effect) -> str:
    name = effect.metric.name
    if name == verdict.primaries.get("gain"):
        return gain_noun(name)
    return "prompt" if name == verdict.primaries.get("prompt") else name


def _costs(verdict: Verdict, decision: str) -> str:
    return listed([part for role in COSTS if (part := _change(verdict, role, decision))])


def _compared(verdict: Verdict) -> str:
    rivals = verdict.rivals
    if rivals.dominating is not None and rivals.costs is not None:
        costs = ", ".join(
            f"{fixed(cost, 2).removeprefix(MINUS)} prompt"
            if role == "prompt"
            else f"{fixed(cost, 3)} {verdict.primaries.get(role, role)}"
            for role, cost in rivals.costs.items()
        )
        noun = gain_noun(verdict.primaries.get("gain", ""))
        return f"{rivals.dominating} does better: {fixed(rivals.gain, 2)} {noun} for {costs}"
    if not rivals.known:
        return "there is no other strategy here to compare it with"
    return "nothing known does better at this cost"


def _and_cheaper(verdict: Verdict) -> str:
    saved = _costs(verdict, "better")
    return f", and is better by {saved}" if saved else ""


def _regressed(verdict: Verdict) -> str:
    roles: tuple[Role, ...] = (*COSTS, "gain")
    worse = [effect for role in roles for effect in verdict.of_role(role) if effect.decision == "worse"]
    shown = {effect.metric.role: effect for effect in reversed(worse)}
    lost = listed([_signed(verdict, effect) for effect in reversed(shown.values())])
    gain = verdict.gain
    if gain is None or verdict.form == "change" or gain.decision == "worse":
        return lost
    return f"{lost}, for no {gain_noun(gain.metric.name)}"


def _open(verdict: Verdict) -> str:
    roles: tuple[Role, ...] = ("gain", *COSTS)
    undecided = [effect for role in roles for effect in verdict.of_role(role) if effect.decision == "undecided"]
    parts = [_signed(verdict, effect) for effect in undecided[:3]]
    if len(undecided) > 3:
        parts.append(f"{len(undecided) - 3} more")
    words = f"{listed(parts)} {'is' if len(undecided) == 1 else 'are'} open" if parts else "no metric is worse"
    if verdict.lost is not None and not undecided:
        words += (
            f", but with {verdict.lost.lost} of {counted(verdict.lost.items, 'item')} lost up to"
            f" {fixed(100 * verdict.lost.bound, 1)} % of all may be"
        )
    if verdict.needed is not None and verdict.needed > verdict.items:
        words += f"; about {counted(verdict.needed, 'item')} would settle it"
    return words


def _within(verdict: Verdict) -> str:
    nouns: dict[Role, str] = {
        "prompt": "prompt",
        "gain": gain_noun(verdict.primaries.get("gain", "")),
        "artifact": "artifacts",
        "drift": "drift",
    }
    names = [noun for role, noun in nouns.items() if verdict.of_role(role)]
    return f"{listed(names)} {'stays' if len(names) == 1 else 'stay'} within the margins"


def _moved(verdict: Verdict) -> str:
    moved = next((effect for effect in verdict.effects if effect.metric.name == _EFFECT), None)
    return "" if moved is None else f", while its images move by {fixed(moved.candidate_mean, 1)} grey levels"


def listed(parts: Sequence[str]) -> str:
    """Join parts as a sentence does: a, b and c."""
    return ", ".join(parts[:-1]) + (" and " if len(parts) > 1 else "") + parts[-1] if parts else ""
