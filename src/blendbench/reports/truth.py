"""What must hold if the benchmark measures what it says: checked on the data and printed with its numbers."""

from dataclasses import dataclass

import numpy as np

from blendbench.reports.board import BASELINE, Board, MetricInfo
from blendbench.reports.formats import MINUS, number
from blendbench.statistics import Array, bootstrap_t, spearman_of_means

CANARY = "canary"
TRUTH = "attribute_adherence"
JUDGES = ("clip_cosine", "siglip_cosine")


@dataclass(frozen=True)
class Check:
    """One expectation: `holds` is None when the data cannot tell; not `separable` when chance could have ordered it."""

    question: str
    holds: bool | None
    evidence: str
    separable: bool = True

    @property
    def answer(self) -> str:
        """The answer in the words of the report."""
        if self.holds is None:
            return "cannot tell"
        return ("yes" if self.separable else "yes, but not separable") if self.holds else "NO"


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
    rows = dict(zip(labels, means, strict=True))
    rival = min((_sign(metric) * row.mean(), label) for label, row in rows.items() if label != CANARY)[1]
    holds, separable, difference = _order(rows[rival], rows[CANARY], metric)
    return Check(
        question,
        holds,
        f"canary {_mean(rows[CANARY], metric)}, worst other {_mean(rows[rival], metric)} (`{rival}`), {difference}",
        separable,
    )


def _baseline_is_best(board: Board, metric: MetricInfo) -> Check:
    question = f"{BASELINE} is best on {metric.name}"
    labels, means = board.means[metric.name]
    silent = {entry.label for entry in board.configurations if entry.no_op}
    if BASELINE not in labels or len(labels) < 2:
        return Check(question, None, f"{BASELINE} was not measured in full")
    rows = {label: row for label, row in zip(labels, means, strict=True) if label not in silent}
    others = [(_sign(metric) * row.mean(), label) for label, row in rows.items() if label != BASELINE]
    if not others:
        return Check(question, None, "nothing else was measured in full")
    rival = max(others)[1]
    holds, separable, difference = _order(rows[BASELINE], rows[rival], metric)
    return Check(
        question,
        holds,
        f"{BASELINE} {_mean(rows[BASELINE], metric)}, best other {_mean(rows[rival], metric)}"
        f" (`{rival}`), {difference}",
        separable,
    )


def _order(better: Array, worse: Array, metric: MetricInfo) -> tuple[bool | None, bool, str]:
    """Whether the item means (items,) are in the expected order, whether 0 is excluded, and the difference in words.

    The rival is the nearest of many, so a hair's breadth in the other order is chance or nothing that matters: no is
    said beyond the metric's margin only.
    """
    difference = bootstrap_t(better - worse)
    separable = difference.low > 0 or difference.high < 0
    in_order = _sign(metric) * difference.mean > 1e-12
    holds = True if in_order else False if separable and abs(difference.mean) > metric.margin else None
    interval = f"[{number(difference.low, metric, signed=True)}, {number(difference.high, metric, signed=True)}]"
    return holds, separable, f"difference {number(difference.mean, metric, signed=True)} {interval}"


def _sign(metric: MetricInfo) -> float:
    return 1.0 if metric.direction == "higher" else -1.0


def _mean(row: Array, metric: MetricInfo) -> str:
    return number(float(row.mean()), metric)


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
    interval = f"Spearman {rho.mean:.2f} [{rho.low:.2f}, {rho.high:.2f}]".replace("-", MINUS)
    return Check(
        question,
        True if rho.low > 0 else False if rho.high < 0 else None,
        f"{interval} over {len(labels)} configurations",
    )
