"""Check what must hold if the benchmark measures what it claims."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from blendbench.core.metric_info import MetricInfo
from blendbench.core.numbers import MINUS, number
from blendbench.reports.board import Board
from blendbench.stats.clusters import Array
from blendbench.stats.intervals import bootstrap_t
from blendbench.stats.ranks import spearman_of_means
from blendbench.verdict.canary import CANARY

TRUTH = "attribute_adherence"
JUDGES = ("clip_cosine", "siglip_cosine")
Answer = Literal["holds", "holds within the margin", "undecided", "does not hold"]
LEGEND = (
    "By the paired 95 % interval of the difference to the nearest other configuration. **Holds**: all of it is in the"
    " expected order. **Holds within the margin**: any part in the other order is smaller than the metric's margin."
    " **Does not hold**: all of it is in the other order, beyond the margin. **Undecided**: none of these. A rank"
    " correlation holds above 0 and does not hold below it, by its interval."
)


@dataclass(frozen=True)
class Check:
    """An expectation, whether it holds in the data, and its figures."""

    question: str
    answer: Answer
    evidence: str


def truth_checks(board: Board) -> list[Check]:
    """Return all checks, in the order of the page; none for imported images, which have no canary."""
    if board.imported:
        return []
    judged = [metric for metric in board.of_role("prompt", "artifact") if metric.direction != "none"]
    checks = [_is_extreme(board, metric, CANARY, "worst") for metric in judged]
    checks += [_is_extreme(board, metric, board.baseline, "best") for metric in judged if metric.role == "prompt"]
    return checks + [_agrees_with_truth(board, name) for name in JUDGES]


def _is_extreme(board: Board, metric: MetricInfo, name: str, place: Literal["worst", "best"]) -> Check:
    """Check that a configuration is the worst or best of all on a metric."""
    shown = "the canary" if name == CANARY else name
    question = f"{shown} is {place} on {metric.name}"
    # A canary that does nothing is no canary: only it is compared with configurations that do nothing too.
    rows = _rows(board, metric.name, with_no_ops=place == "worst")
    if name not in rows:
        return Check(question, "undecided", f"{shown} was not measured in full")
    if len(rows) < 2:
        return Check(question, "undecided", "nothing else was measured in full")
    others = [(_sign(metric) * row.mean(), label) for label, row in rows.items() if label != name]
    rival = (min(others) if place == "worst" else max(others))[1]
    better, worse = (rival, name) if place == "worst" else (name, rival)
    answer, difference = order(rows[better], rows[worse], metric)
    own, other = _mean(rows[name], metric), _mean(rows[rival], metric)
    word = "canary" if name == CANARY else name
    return Check(question, answer, f"{word} {own}, {place} other {other} (`{rival}`), {difference}")


def _rows(board: Board, metric: str, with_no_ops: bool = False) -> dict[str, Array]:
    """Return item means by label; no-ops would only inflate an agreement."""
    silent = set() if with_no_ops else {entry.label for entry in board.configurations if entry.no_op}
    labels, means = board.means[metric]
    return {label: row for label, row in zip(labels, means, strict=True) if label not in silent}


def order(better: Array, worse: Array, metric: MetricInfo) -> tuple[Answer, str]:
    """Return whether item means (items,) are in order, and the figures.

    Their paired interval decides. The rival is the nearest of many, so some are ahead by a hair: only what lies beyond
    the metric's margin matters.
    """
    difference = bootstrap_t(better - worse, bounds=metric.changes)
    least, most = sorted((_sign(metric) * difference.low, _sign(metric) * difference.high))
    answer: Answer = "undecided"  # also where a single item leaves the ends NaN
    if least > 0:
        answer = "holds"
    elif least >= -metric.margin:
        answer = "holds within the margin"
    elif most < -metric.margin:
        answer = "does not hold"
    interval = f"[{number(difference.low, metric, signed=True)}, {number(difference.high, metric, signed=True)}]"
    return answer, f"difference {number(difference.mean, metric, signed=True)} {interval}"


def _sign(metric: MetricInfo) -> float:
    return 1.0 if metric.direction == "higher" else -1.0


def _mean(row: Array, metric: MetricInfo) -> str:
    return number(float(row.mean()), metric)


def _agrees_with_truth(board: Board, judge: str) -> Check:
    question = f"{judge} orders the configurations as {TRUTH} does"
    if judge not in board.means or TRUTH not in board.means:
        return Check(question, "undecided", "one of the two was not measured")
    first, second = _rows(board, judge), _rows(board, TRUTH)
    labels = [label for label in first if label in second]
    if len(labels) < 3:
        return Check(question, "undecided", "fewer than three configurations were measured in full")
    # An item that only one of the two metrics can score leaves their cluster counts unequal.
    a, b = (np.stack([values[label] for label in labels]) for values in (first, second))
    if a.shape != b.shape:
        return Check(question, "undecided", "the two were measured on different items")
    rho = spearman_of_means(a, b)
    if np.isnan(rho.mean):
        return Check(question, "undecided", "all configurations have the same mean")
    interval = f"Spearman {rho.mean:.2f} [{rho.low:.2f}, {rho.high:.2f}]".replace("-", MINUS)
    answer: Answer = "holds" if rho.low > 0 else "does not hold" if rho.high < 0 else "undecided"
    return Check(question, answer, f"{interval} over {len(labels)} configurations")
