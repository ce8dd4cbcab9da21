"""Find what cannot work on a model set and a suite, before anything is loaded."""

import re
from collections import defaultdict
from collections.abc import Collection, Container
from dataclasses import dataclass

from blendbench.core.errors import UsageError
from blendbench.core.numbers import listed
from blendbench.core.suites import Item
from blendbench.metrics.shared import SCORERS
from blendbench.models.sets import ModelSet
from blendbench.registry.strategies import Configuration
from blendbench.run.plan import Cell, Plan

Refused = dict[str, str]  # reasons by cell id
_NAMED = 3  # labels that a line names


@dataclass(frozen=True)
class Obstacle:
    """Cells (or values) that cannot work for one reason, and their labels."""

    reason: str
    count: int
    of: int
    labels: tuple[str, ...]

    def line(self, what: str) -> str:
        """Describe it in one line."""
        return f"{self.count} of {self.of} {what}: {self.reason}: {listed(self.labels, _NAMED)}"


def refused_cells(plan: Plan, models: ModelSet, finished: Container[str]) -> Refused:
    """Return which cells cannot be generated, and why.

    What equals a finished cell in all that can be known before is not tried again.
    """
    cells = [cell for cell in plan.cells if cell.cell_id not in finished]
    if not cells:
        return {}
    from blendbench.run.trial import Trial  # needs torch, which a run with nothing to do must not wait for

    lost: dict[object, str] = {id(c): reason for c in plan.configurations if (reason := _missing_layer(c, models))}
    lost |= {item.id: reason for item in plan.items if (reason := _too_long(item, models))}
    reasons = {cell.cell_id: lost.get(id(cell.configuration)) or lost.get(cell.item.id) for cell in cells}
    refused = {cell_id: reason for cell_id, reason in reasons.items() if reason}
    done = [cell for cell in plan.cells if cell.cell_id in finished]
    left = [cell for cell in cells if cell.cell_id not in refused]
    return refused | {cell.cell_id: reason for cell, reason in Trial(models, plan.suite).failures(left, done)}


def refuse_hopeless(plan: Plan, refused: Refused, labels: Collection[str]) -> None:
    """Raise UsageError if one of these configurations cannot be generated for any item."""
    for label in labels:
        reasons = [refused.get(cell.cell_id) for cell in plan.cells if cell.configuration.label == label]
        if reasons and all(reasons):
            raise UsageError(f"{label}: {reasons[0]}")


def obstacles(plan: Plan, refused: Refused) -> list[Obstacle]:
    """Group refused cells by reason, the most frequent first."""
    groups: defaultdict[str, list[Cell]] = defaultdict(list)
    for cell in plan.cells:
        if cell.cell_id in refused:
            groups[re.sub(r"\d+", "0", refused[cell.cell_id])].append(cell)
    found = [
        Obstacle(
            refused[cells[0].cell_id],
            len(cells),
            len(plan.cells),
            tuple(dict.fromkeys(cell.configuration.label for cell in cells)),
        )
        for cells in groups.values()
    ]
    return sorted(found, key=lambda obstacle: -obstacle.count)


def unscored(plan: Plan, models: ModelSet) -> list[Obstacle]:
    """Group metrics that cannot be measured here by the network or the statements that they lack."""
    items = len(plan.items)
    silent = sum(item.reference_expect is None for item in plan.items)
    unjudged = sum(not any(fact.foils for fact in item.facts) for item in plan.items)
    lacking = [(name, f"the model set has no {name}", items) for name in SCORERS if name not in models.places]
    lacking += [
        ("pairs", "the suite has no pairs", items * (not plan.suite.pairs)),
        ("expects", "no objects are stated", sum(item.expect is None for item in plan.items)),
        ("reference_expects", "nothing is stated about the reference", silent),
        ("facts", "no facts with foils are stated", unjudged),
    ]
    left, found = list(plan.metrics), []
    for name, reason, count in lacking:
        named = [metric for metric in left if metric.metric.reads(name)] if count else []
        left = [metric for metric in left if metric not in named]
        if named:
            found.append(Obstacle(reason, count, items, tuple(metric.name for metric in named)))
    return found


def preflight_lines(plan: Plan, models: ModelSet, refused: Refused) -> list[str]:
    """Describe in few lines what cannot be generated, and what cannot be measured."""
    return [
        *(found.line("cells cannot be generated") for found in obstacles(plan, refused)),
        *(found.line("items cannot be scored") for found in unscored(plan, models)),
    ]


def _missing_layer(configuration: Configuration, models: ModelSet) -> str | None:
    states = models.facts.hidden_states
    outside = [layer for layer in sorted(configuration.layers) if not -states <= layer < states]
    return f"layer = {outside[0]} is outside {-states}..{states - 1}, what {models.name} has" if outside else None


def _too_long(item: Item, models: ModelSet) -> str | None:
    words, most = len(item.prompt.split()), models.file.text.max_sequence_length
    return f"the prompt has at least {words} tokens, the model set allows {most}" if words > most else None
