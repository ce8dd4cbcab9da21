"""What must hold if the benchmark measures what it says: checked on the data and printed with its numbers."""

from dataclasses import dataclass

import numpy as np

from blendbench.reports.board import BASELINE, Board, MetricInfo
from blendbench.reports.formats import number
from blendbench.statistics import spearman_of_means

CANARY = "canary"
TRUTH = "attribute_adherence"
JUDGES = ("clip_cosine", "siglip_cosine")


@dataclass(frozen=True)
class Check:
    """One expectation: `holds` is None when the data cannot tell."""

    question: str
    holds: bool | None
    evidence: str


def truth_checks(board: Board) -> list[Check]:
    """All checks, in the order of the report."""
    judged = board.of_kind("adherence", "artifact")
    checks = [_canary_is_worst(board, metric) for metric in judged if metric.direction != "none"]
    checks += [_baseline_is_best(board, metric) for metric in board.of_kind("adherence") if metric.direction != "none"]
    return checks + [_agrees_with_truth(board, name) for name in JUDGES]


def _canary_is_worst(board: Board, metric: MetricInfo) -> Check:
    question = f"the canary is worst on {metric.name}"
    labels, means = board.means[metric.name]
    if CANARY not in labels or len(labels) < 2:
        return Check(question, None, "the canary was not measured in full")
    sign = 1.0 if metric.direction == "higher" else -1.0
    averages = {label: float(row.mean()) for label, row in zip(labels, means, strict=True)}
    others = sorted((sign * value, label) for label, value in averages.items() if label != CANARY)
    worst, label = others[0]
    values = f"canary {number(averages[CANARY], metric)}, worst other {number(averages[label], metric)} (`{label}`)"
    return Check(question, sign * averages[CANARY] < worst, values)


def _baseline_is_best(board: Board, metric: MetricInfo) -> Check:
    question = f"{BASELINE} is best on {metric.name}"
    labels, means = board.means[metric.name]
    silent = {entry.label for entry in board.configurations if entry.no_op}
    if BASELINE not in labels or len(labels) < 2:
        return Check(question, None, f"{BASELINE} was not measured in full")
    sign = 1.0 if metric.direction == "higher" else -1.0
    averages = {label: float(row.mean()) for label, row in zip(labels, means, strict=True) if label not in silent}
    others = [(sign * value, label) for label, value in averages.items() if label != BASELINE]
    if not others:
        return Check(question, None, "nothing else was measured in full")
    best, label = max(others)
    evidence = (
        f"{BASELINE} {number(averages[BASELINE], metric)}, best other {number(averages[label], metric)} (`{label}`"
    )
    configuration = board.configuration(label)
    effect = configuration.entries[metric.name].effect if configuration is not None else None
    if effect is not None:
        evidence += f", difference {number(effect.mean, metric, signed=True)}"
        evidence += f" [{number(effect.low, metric, signed=True)}, {number(effect.high, metric, signed=True)}]"
    return Check(question, sign * averages[BASELINE] >= best, evidence + ")")


def _agrees_with_truth(board: Board, judge: str) -> Check:
    question = f"{judge} orders the configurations as {TRUTH} does"
    if judge not in board.means or TRUTH not in board.means:
        return Check(question, None, "one of the two was not measured")
    # No-ops repeat the baseline's pictures: counting them again would only inflate the agreement.
    silent = {entry.label for entry in board.configurations if entry.no_op}
    first, second = (dict(zip(*board.means[name], strict=True)) for name in (judge, TRUTH))
    labels = [label for label in first if label in second and label not in silent]
    if len(labels) < 3:
        return Check(question, None, "fewer than three configurations were measured in full")
    # An item that only one of the two metrics can score leaves their cluster counts unequal.
    a, b = (np.stack([values[label] for label in labels]) for values in (first, second))
    if a.shape != b.shape:
        return Check(question, None, "the two were measured on different items")
    rho = spearman_of_means(a, b)
    if np.isnan(rho.mean):
        return Check(question, None, "all configurations have the same mean")
    interval = f"Spearman {rho.mean:.2f} [{rho.low:.2f}, {rho.high:.2f}] over {len(labels)} configurations"
    return Check(question, rho.low > 0, interval)
