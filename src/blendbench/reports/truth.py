"""What must hold if the benchmark measures what it says: checked on the data and printed with its numbers."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from blendbench.reports.board import BASELINE, Board, MetricInfo
from blendbench.reports.formats import MINUS, number
from blendbench.statistics import Array, bootstrap_t, spearman_of_means

CANARY = "canary"
TRUTH = "attribute_adherence"
JUDGES = ("clip_cosine", "siglip_cosine")


Answer = Literal["yes", "yes, within the margin", "cannot tell", "NO"]


@dataclass(frozen=True)
class Check:
    """One expectation, whether the data bear it out, and the figures that say so."""

    question: str
    answer: Answer
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
        return Check(question, "cannot tell", "the canary was not measured in full")
    rows = dict(zip(labels, means, strict=True))
    rival = min((_sign(metric) * row.mean(), label) for label, row in rows.items() if label != CANARY)[1]
    answer, difference = _order(rows[rival], rows[CANARY], metric)
    return Check(
        question,
        answer,
        f"canary {_mean(rows[CANARY], metric)}, worst other {_mean(rows[rival], metric)} (`{rival}`), {difference}",
    )


def _baseline_is_best(board: Board, metric: MetricInfo) -> Check:
    question = f"{BASELINE} is best on {metric.name}"
    labels, means = board.means[metric.name]
    silent = {entry.label for entry in board.configurations if entry.no_op}
    if BASELINE not in labels or len(labels) < 2:
        return Check(question, "cannot tell", f"{BASELINE} was not measured in full")
    rows = {label: row for label, row in zip(labels, means, strict=True) if label not in silent}
    others = [(_sign(metric) * row.mean(), label) for label, row in rows.items() if label != BASELINE]
    if not others:
        return Check(question, "cannot tell", "nothing else was measured in full")
    rival = max(others)[1]
    answer, difference = _order(rows[BASELINE], rows[rival], metric)
    return Check(
        question,
        answer,
        f"{BASELINE} {_mean(rows[BASELINE], metric)}, best other {_mean(rows[rival], metric)}"
        f" (`{rival}`), {difference}",
    )


def _order(better: Array, worse: Array, metric: MetricInfo) -> tuple[Answer, str]:
    """Whether the item means (items,) are in the expected order, judged by their paired interval, and how it reads.

    The rival is the nearest of many, so some are ahead by a hair: only what lies beyond the metric's margin matters.
    """
    difference = bootstrap_t(better - worse)
    least, most = sorted((_sign(metric) * difference.low, _sign(metric) * difference.high))
    answer: Answer = "cannot tell"  # also where a single item leaves the ends NaN
    if least > 0:
        answer = "yes"
    elif least >= -metric.margin:
        answer = "yes, within the margin"
    elif most < -metric.margin:
        answer = "NO"
    interval = f"[{number(difference.low, metric, signed=True)}, {number(difference.high, metric, signed=True)}]"
    return answer, f"difference {number(difference.mean, metric, signed=True)} {interval}"


def _sign(metric: MetricInfo) -> float:
    return 1.0 if metric.direction == "higher" else -1.0


def _mean(row: Array, metric: MetricInfo) -> str:
    return number(float(row.mean()), metric)


def _agrees_with_truth(board: Board, judge: str) -> Check:
    question = f"{judge} orders the configurations as {TRUTH} does"
    if judge not in board.means or TRUTH not in board.means:
        return Check(question, "cannot tell", "one of the two was not measured")
    # No-ops repeat the baseline's images: counting them again would only inflate the agreement.
    silent = {entry.label for entry in board.configurations if entry.no_op}
    first, second = (dict(zip(*board.means[name], strict=True)) for name in (judge, TRUTH))
    labels = [label for label in first if label in second and label not in silent]
    if len(labels) < 3:
        return Check(question, "cannot tell", "fewer than three configurations were measured in full")
    # An item that only one of the two metrics can score leaves their cluster counts unequal.
    a, b = (np.stack([values[label] for label in labels]) for values in (first, second))
    if a.shape != b.shape:
        return Check(question, "cannot tell", "the two were measured on different items")
    rho = spearman_of_means(a, b)
    if np.isnan(rho.mean):
        return Check(question, "cannot tell", "all configurations have the same mean")
    interval = f"Spearman {rho.mean:.2f} [{rho.low:.2f}, {rho.high:.2f}]".replace("-", MINUS)
    return Check(
        question,
        "yes" if rho.low > 0 else "NO" if rho.high < 0 else "cannot tell",
        f"{interval} over {len(labels)} configurations",
    )
