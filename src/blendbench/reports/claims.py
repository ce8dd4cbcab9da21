"""Claims that data can support or refute: most compare two configurations, paired by item and seed.

No verdict is an opinion. An interval that excludes zero after Holm's correction over all claims of the page decides for
or against a direction; an interval inside the margin of the metric's card decides for "no difference that matters".
"""

from dataclasses import dataclass, replace
from typing import Literal, Protocol

import numpy as np

from blendbench.core.errors import UsageError
from blendbench.metrics.cards import changes_of
from blendbench.reports.formats import number
from blendbench.results.store import Results
from blendbench.statistics import PairedEffect, paired_effect
from blendbench.verdict.decide import ALPHA
from blendbench.verdict.pairing import Comparison, Metric, Pairs, pair

Verdict = Literal["supported", "refuted", "undecided", "not run"]
# Of three or four items that all agree an interval has no width, and would pass for proof.
LEAST_ITEMS = 6


@dataclass(frozen=True)
class Outcome:
    """What the data say of one claim: a verdict, the figure it rests on, of what, units, and p if a test decided."""

    verdict: Verdict
    figure: str
    what: str = ""
    n: int = 0
    p: float | None = None


class Claim(Protocol):
    """Something that can be asked of a results database."""

    @property
    def experiment(self) -> str:
        """Where its data come from."""

    def judge(self, results: Results) -> Outcome:
        """The outcome before any correction for many tests."""


@dataclass(frozen=True)
class Differs:
    """`candidate` is higher (or lower) than `baseline` on `metric`."""

    experiment: str
    metric: str
    candidate: str
    baseline: str
    expected: Literal["higher", "lower"]

    def judge(self, results: Results) -> Outcome:
        """Supported or refuted by an interval that excludes 0; refuted too by one inside the margin."""
        found = _effect(results, self.experiment, self.metric, self.candidate, self.baseline)
        if isinstance(found, Outcome):
            return found
        metric, effect, n = found
        wanted = 1 if self.expected == "higher" else -1
        told, what = _told(metric, effect), _minus(self.candidate, self.baseline)
        if effect.clusters < LEAST_ITEMS:
            return _too_few(told, what, n)
        if max(abs(effect.low), abs(effect.high)) <= metric.margin:
            return Outcome("refuted", f"{told}, inside the margin of {metric.margin:g}", what, n)
        verdict: Verdict = "undecided"
        if effect.low > 0 or effect.high < 0:
            verdict = "supported" if wanted * effect.mean > 0 else "refuted"
        return Outcome(verdict, told, what, n, effect.p)


@dataclass(frozen=True)
class Undoes:
    """`candidate` undoes more than half of the harm that `harmed` does to `clean`: what it takes away is the cause."""

    experiment: str
    metric: str
    candidate: str
    harmed: str
    clean: str = "text_only"

    def judge(self, results: Results) -> Outcome:
        """By where the interval of `candidate` lies to the middle of both others; undecided if there is no harm."""
        after = _pairs(results, self.experiment, self.metric, self.candidate, self.clean)
        before = _pairs(results, self.experiment, self.metric, self.harmed, self.clean)
        if isinstance(after, Outcome):
            return after
        if isinstance(before, Outcome):
            return before
        metric, n, bounds = before.metric, len(before.items), changes_of(self.metric)
        harm = paired_effect(before.candidate, before.baseline, before.items, bounds=bounds)
        undone = paired_effect(after.candidate, before.candidate, before.items, bounds=bounds)
        what = f"{_minus(self.candidate, self.harmed)}, of a harm of {_told(metric, harm)}"
        if harm.clusters < LEAST_ITEMS:
            return _too_few(_told(metric, undone), what, n)
        better = 1 if metric.direction == "higher" else -1
        if max(better * harm.low, better * harm.high) >= -metric.margin:
            return Outcome("undecided", f"{_told(metric, undone)}; there is no harm to undo", what, n)
        middle = (before.candidate + before.baseline) / 2
        past = paired_effect(better * after.candidate, better * middle, before.items, bounds=bounds)
        verdict: Verdict = "supported" if past.low > 0 else "refuted" if past.high < 0 else "undecided"
        return Outcome(verdict, _told(metric, undone), what, n, past.p)


@dataclass(frozen=True)
class NotWorse:
    """`candidate` is worse than `baseline` on `metric` by no more than the margin of its card."""

    experiment: str
    metric: str
    candidate: str
    baseline: str = "text_only"

    def judge(self, results: Results) -> Outcome:
        """By where the interval lies to the margin; no test, so nothing to correct."""
        found = _effect(results, self.experiment, self.metric, self.candidate, self.baseline)
        if isinstance(found, Outcome):
            return found
        metric, effect, n = found
        told, what = _told(metric, effect), _minus(self.candidate, self.baseline)
        if effect.clusters < LEAST_ITEMS:
            return _too_few(told, what, n)
        loss = (-effect.low, -effect.high) if metric.direction == "higher" else (effect.high, effect.low)
        verdict: Verdict = (
            "supported" if loss[0] <= metric.margin else "refuted" if loss[1] > metric.margin else "undecided"
        )
        return Outcome(verdict, f"{told}, margin {metric.margin:g}", what, n)


@dataclass(frozen=True)
class SameImage:
    """`candidate` and `baseline` draw the same images up to rounding: no metric tells them apart.

    A rounding error may tip one image of many, so what counts is the mean of the differences, whatever their sign.
    """

    experiment: str
    candidate: str
    baseline: str
    share_of_margin: float = 0.1

    def judge(self, results: Results) -> Outcome:
        """Supported if the mean difference of two images is within a tenth of every metric's margin, else refuted."""
        compared = _pair(results, self.experiment, self.candidate, self.baseline)
        if isinstance(compared, Outcome):
            return compared
        apart = {
            name: np.abs(pairs.candidate - pairs.baseline) / pairs.metric.margin
            for name, pairs in compared.pairs.items()
            if pairs.metric.margin > 0
        }
        if not apart:
            return Outcome("not run", "no metric with a margin was measured")
        most = max(apart, key=lambda name: float(apart[name].mean()))
        n = len(compared.units)
        return Outcome(
            "supported" if apart[most].mean() <= self.share_of_margin else "refuted",
            f"largest mean difference {apart[most].mean():.3g} margins ({most})",
            f"`{self.candidate}` against `{self.baseline}`, {compared.same_images} of {n} images equal bit for bit,"
            f" the largest difference of a single one {max(d.max() for d in apart.values()):.3g} margins",
            n,
        )


@dataclass(frozen=True)
class SameConditioning:
    """`candidate` hands the transformer the very bytes that `baseline` does: it did nothing."""

    experiment: str
    candidate: str
    baseline: str
    same: bool = True

    def judge(self, results: Results) -> Outcome:
        """Supported if all cells agree (or none, for `same=False`), else refuted."""
        compared = _pair(results, self.experiment, self.candidate, self.baseline)
        if isinstance(compared, Outcome):
            return compared
        n, equal = len(compared.units), compared.same_conditioning
        return Outcome(
            "supported" if equal == (n if self.same else 0) else "refuted",
            f"{equal} of {n} equal bit for bit",
            f"conditionings of `{self.candidate}` and `{self.baseline}`",
            n,
        )


@dataclass(frozen=True)
class Apart:
    """The mean of |candidate - baseline| on `metric` is above (or below) the margin of its card.

    On effect_size, a mean absolute difference from text_only, this is the least that two images differ by: the
    triangle's inequality.
    """

    experiment: str
    metric: str
    candidate: str
    expected: Literal["above", "below"]
    baseline: str = "text_only"

    def judge(self, results: Results) -> Outcome:
        """By where the interval of the mean lies to the margin: a distance is never below 0, so 0 decides nothing."""
        pairs = _pairs(results, self.experiment, self.metric, self.candidate, self.baseline)
        if isinstance(pairs, Outcome):
            return pairs
        distance = np.abs(pairs.candidate - pairs.baseline)
        bounds = (0.0, changes_of(self.metric)[1])
        effect = paired_effect(distance, np.zeros_like(distance), pairs.items, bounds=bounds)
        margin, n = pairs.metric.margin, len(pairs.items)
        told = f"{_told(pairs.metric, effect, signed=False)}, margin {margin:g}"
        what = f"|{_minus(self.candidate, self.baseline)}|"
        if effect.clusters < LEAST_ITEMS:
            return _too_few(told, what, n)
        over, under = effect.low > margin, effect.high <= margin
        wanted = over if self.expected == "above" else under
        return Outcome("supported" if wanted else "refuted" if over or under else "undecided", told, what, n)


@dataclass(frozen=True)
class Measured:
    """A statistic of hidden states, written by `blendbench embeddings`, is above (or below) a bound.

    Of the models that `experiment` ran on last.
    """

    experiment: str
    statistic: str
    tokens: str
    side: Literal["above", "below"]
    bound: float
    position_0: bool = False
    reference: str = ""

    def judge(self, results: Results) -> Outcome:
        """By the interval where there is one, else by the value; at the layer that conditionings are made from."""
        rows = results.query(
            """
            SELECT s.value, s.low, s.high, s.layer, a.model_set, json_array_length(a.items) AS items
            FROM embedding_statistics s JOIN embedding_analyses a USING (analysis_id)
            WHERE s.layer = a.text_layer AND statistic = ? AND tokens = ? AND position_0 = ? AND reference = ?
                AND a.model_set_sha256 IN (SELECT model_set_sha256 FROM current_sets WHERE experiment = ?)
            ORDER BY a.sequence DESC, a.analysis_id DESC LIMIT 1
            """,
            [self.statistic, self.tokens, self.position_0, self.reference, self.experiment],
        )
        if rows.empty:
            return Outcome("not run", "no hidden states were analysed; `blendbench embeddings` does it")
        row = rows.iloc[0]
        low, high = (float(row["value"] if np.isnan(row[end]) else row[end]) for end in ("low", "high"))
        over, under = low > self.bound, high < self.bound
        wanted = over if self.side == "above" else under
        where = "with" if self.position_0 else "without"
        return Outcome(
            "supported" if wanted else "refuted" if over or under else "undecided",
            f"{self.statistic} {row['value']:.3g} [{low:.3g}, {high:.3g}], expected {self.side} {self.bound:g}",
            f"{self.tokens} of {row['model_set']}, layer {row['layer']:.0f}, {where} position 0",
            int(row["items"]),
        )


def corrected(outcome: Outcome, p_adjusted: float) -> Outcome:
    """An outcome whose direction does not survive the correction for many tests is undecided."""
    kept = outcome.verdict == "undecided" or p_adjusted < ALPHA
    return replace(outcome, verdict=outcome.verdict if kept else "undecided", p=p_adjusted)


def _pair(results: Results, experiment: str, candidate: str, baseline: str) -> Comparison | Outcome:
    try:
        return pair(results, experiment, candidate, baseline)
    except UsageError as error:
        return Outcome("not run", str(error))


def _pairs(results: Results, experiment: str, metric: str, candidate: str, baseline: str) -> Pairs | Outcome:
    compared = _pair(results, experiment, candidate, baseline)
    if isinstance(compared, Outcome):
        return compared
    if metric not in compared.pairs:
        return Outcome("not run", f"{metric} was not measured: {compared.left_out.get(metric, 'not in this run')}")
    return compared.pairs[metric]


def _effect(
    results: Results, experiment: str, metric: str, candidate: str, baseline: str
) -> tuple[Metric, PairedEffect, int] | Outcome:
    pairs = _pairs(results, experiment, metric, candidate, baseline)
    if isinstance(pairs, Outcome):
        return pairs
    effect = paired_effect(pairs.candidate, pairs.baseline, pairs.items, bounds=changes_of(metric))
    return pairs.metric, effect, len(pairs.items)


def _too_few(told: str, what: str, n: int) -> Outcome:
    return Outcome("undecided", f"{told}; fewer than {LEAST_ITEMS} items decide nothing", what, n)


def _minus(candidate: str, baseline: str) -> str:
    return f"`{candidate}` minus `{baseline}`"


def _told(metric: Metric, effect: PairedEffect, signed: bool = True) -> str:
    mean, low, high = (number(value, metric, signed) for value in (effect.mean, effect.low, effect.high))
    return f"{metric.name} {mean} [{low}, {high}]"
