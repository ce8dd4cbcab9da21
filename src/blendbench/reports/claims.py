"""Claims that data can support or refute.

Most compare two configurations, paired by item and seed.

No verdict is an opinion. An interval that excludes zero after Holm's correction over all claims of the page decides for
or against a direction; an interval inside the metric's margin decides for "no difference that matters".
"""

from dataclasses import dataclass, replace
from typing import Literal, Protocol

import numpy as np

from blendbench.core.errors import UsageError
from blendbench.core.metric_info import MetricInfo
from blendbench.core.numbers import number
from blendbench.results.pairs import Pairs
from blendbench.stats.decide import ALPHA
from blendbench.stats.intervals import PairedEffect, paired_effect
from blendbench.verdict.comparison import Comparison, Comparisons

Verdict = Literal["supported", "refuted", "undecided", "not run"]
# Of three or four items that all agree an interval has no width, and would pass for proof.
LEAST_ITEMS = 6


@dataclass(frozen=True)
class Outcome:
    """The result of a claim: verdict, figure, its name, units and p.

    There is a p if a test decided.
    """

    verdict: Verdict
    figure: str
    what: str = ""
    n: int = 0
    p: float | None = None


class Claim(Protocol):
    """Something that can be asked of a results database."""

    @property
    def experiment(self) -> str:
        """Return the experiment of its data."""

    def judge(self, source: Comparisons) -> Outcome:
        """Return the outcome before any correction for many tests."""


@dataclass(frozen=True)
class Differs:
    """`candidate` is higher (or lower) than `baseline` on `metric`."""

    experiment: str
    metric: str
    candidate: str
    baseline: str
    expected: Literal["higher", "lower"]

    def judge(self, source: Comparisons) -> Outcome:
        """Support or refute by an interval that excludes 0.

        Refute too by one inside the margin.
        """
        found = _effect(source, self.experiment, self.metric, self.candidate, self.baseline)
        if isinstance(found, Outcome):
            return found
        metric, effect, n = found
        wanted = 1 if self.expected == "higher" else -1
        text, what = _words(metric, effect), _minus(self.candidate, self.baseline)
        if effect.clusters < LEAST_ITEMS:
            return _too_few(text, what, n)
        if max(abs(effect.low), abs(effect.high)) <= metric.margin:
            return Outcome("refuted", f"{text}, inside the margin of {metric.margin:g}", what, n)
        verdict: Verdict = "undecided"
        if effect.low > 0 or effect.high < 0:
            verdict = "supported" if wanted * effect.mean > 0 else "refuted"
        return Outcome(verdict, text, what, n, effect.p)


@dataclass(frozen=True)
class Undoes:
    """Removing a cause undoes over half of the harm that it does.

    `candidate` undoes the harm that `harmed` does to `clean`.
    """

    experiment: str
    metric: str
    candidate: str
    harmed: str
    clean: str = "text_only"

    def judge(self, source: Comparisons) -> Outcome:
        """Judge by the interval of `candidate` against the middle of both others.

        Undecided if there is no harm.
        """
        after = _pairs(source, self.experiment, self.metric, self.candidate, self.clean)
        before = _pairs(source, self.experiment, self.metric, self.harmed, self.clean)
        if isinstance(after, Outcome):
            return after
        if isinstance(before, Outcome):
            return before
        metric, n, bounds = before.metric, len(before.items), before.metric.changes
        harm = paired_effect(before.values, before.baseline_values, before.items, bounds=bounds)
        undone = paired_effect(after.values, before.values, before.items, bounds=bounds)
        what = f"{_minus(self.candidate, self.harmed)}, of a harm of {_words(metric, harm)}"
        if harm.clusters < LEAST_ITEMS:
            return _too_few(_words(metric, undone), what, n)
        better = 1 if metric.direction == "higher" else -1
        if max(better * harm.low, better * harm.high) >= -metric.margin:
            return Outcome("undecided", f"{_words(metric, undone)}; there is no harm to undo", what, n)
        middle = (before.values + before.baseline_values) / 2
        past = paired_effect(better * after.values, better * middle, before.items, bounds=bounds)
        verdict: Verdict = "supported" if past.low > 0 else "refuted" if past.high < 0 else "undecided"
        return Outcome(verdict, _words(metric, undone), what, n, past.p)


@dataclass(frozen=True)
class NotWorse:
    """`candidate` is worse than `baseline` by no more than the margin."""

    experiment: str
    metric: str
    candidate: str
    baseline: str = "text_only"

    def judge(self, source: Comparisons) -> Outcome:
        """Judge by the interval against the margin.

        No test, so nothing to correct.
        """
        found = _effect(source, self.experiment, self.metric, self.candidate, self.baseline)
        if isinstance(found, Outcome):
            return found
        metric, effect, n = found
        text, what = _words(metric, effect), _minus(self.candidate, self.baseline)
        if effect.clusters < LEAST_ITEMS:
            return _too_few(text, what, n)
        loss = (-effect.low, -effect.high) if metric.direction == "higher" else (effect.high, effect.low)
        verdict: Verdict = (
            "supported" if loss[0] <= metric.margin else "refuted" if loss[1] > metric.margin else "undecided"
        )
        return Outcome(verdict, f"{text}, margin {metric.margin:g}", what, n)


@dataclass(frozen=True)
class SameImage:
    """`candidate` and `baseline` give the same images up to rounding.

    No metric separates them.

    A rounding error may tip one image of many, so what counts is the mean of the differences, whatever their sign.
    """

    experiment: str
    candidate: str
    baseline: str
    fraction_of_margin: float = 0.1

    def judge(self, source: Comparisons) -> Outcome:
        """Support if all mean differences are within a tenth of a margin.

        Otherwise refute.
        """
        compared = _pair(source, self.experiment, self.candidate, self.baseline)
        if isinstance(compared, Outcome):
            return compared
        apart = {
            name: np.abs(pairs.differences) / pairs.metric.margin
            for name, pairs in compared.pairs.items()
            if pairs.metric.margin > 0
        }
        if not apart:
            return Outcome("not run", "no metric with a margin was measured")
        most = max(apart, key=lambda name: float(apart[name].mean()))
        n = len(compared.units)
        return Outcome(
            "supported" if apart[most].mean() <= self.fraction_of_margin else "refuted",
            f"largest mean difference {apart[most].mean():.3g} margins ({most})",
            f"`{self.candidate}` against `{self.baseline}`, {compared.same_images} of {n} images equal bit for bit,"
            f" the largest difference of a single one {max(d.max() for d in apart.values()):.3g} margins",
            n,
        )


@dataclass(frozen=True)
class SameConditioning:
    """`candidate` gives the transformer the same bytes as `baseline`.

    It did nothing.
    """

    experiment: str
    candidate: str
    baseline: str
    same: bool = True

    def judge(self, source: Comparisons) -> Outcome:
        """Support if all cells agree (or none, for `same=False`), else refute."""
        compared = _pair(source, self.experiment, self.candidate, self.baseline)
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
    """The mean |candidate - baseline| is above (or below) the margin.

    On effect_size, a mean absolute difference from text_only, this is the least that two images differ by: the
    triangle's inequality.
    """

    experiment: str
    metric: str
    candidate: str
    expected: Literal["above", "below"]
    baseline: str = "text_only"

    def judge(self, source: Comparisons) -> Outcome:
        """Judge the interval of the mean against the margin.

        A distance is never below 0, so 0 decides nothing.
        """
        pairs = _pairs(source, self.experiment, self.metric, self.candidate, self.baseline)
        if isinstance(pairs, Outcome):
            return pairs
        distance = np.abs(pairs.differences)
        bounds = (0.0, pairs.metric.changes[1])
        effect = paired_effect(distance, np.zeros_like(distance), pairs.items, bounds=bounds)
        margin, n = pairs.metric.margin, len(pairs.items)
        text = f"{_words(pairs.metric, effect, signed=False)}, margin {margin:g}"
        what = f"|{_minus(self.candidate, self.baseline)}|"
        if effect.clusters < LEAST_ITEMS:
            return _too_few(text, what, n)
        over, under = effect.low > margin, effect.high <= margin
        wanted = over if self.expected == "above" else under
        return Outcome("supported" if wanted else "refuted" if over or under else "undecided", text, what, n)


@dataclass(frozen=True)
class Measured:
    """A statistic of hidden states is above (or below) a bound.

    `blendbench embeddings` writes it.

    Of the models that `experiment` ran on last.
    """

    experiment: str
    statistic: str
    tokens: str
    side: Literal["above", "below"]
    bound: float
    position_0: bool = False
    reference: str = ""

    def judge(self, source: Comparisons) -> Outcome:
        """Judge by the interval where there is one, else by the value.

        At the layer of conditionings.
        """
        rows = source.results.rows(
            """
            SELECT s.value, coalesce(s.low, s.value), coalesce(s.high, s.value), s.layer, a.model_set,
                json_array_length(a.items)
            FROM embedding_statistics s JOIN embedding_analyses a USING (analysis_id)
            WHERE s.layer = a.text_layer AND statistic = ? AND tokens = ? AND position_0 = ? AND reference = ?
                AND s.value IS NOT NULL
                AND a.model_set_sha256 IN (SELECT model_set_sha256 FROM current_sets WHERE experiment = ?)
            ORDER BY a.sequence DESC LIMIT 1
            """,
            [self.statistic, self.tokens, self.position_0, self.reference, self.experiment],
        )
        if not rows:
            return Outcome("not run", "no hidden states were analysed; `blendbench embeddings` does it")
        ((value, low, high, layer, model_set, items),) = rows
        over, under = low > self.bound, high < self.bound
        wanted = over if self.side == "above" else under
        where = "with" if self.position_0 else "without"
        return Outcome(
            "supported" if wanted else "refuted" if over or under else "undecided",
            f"{self.statistic} {value:.3g} [{low:.3g}, {high:.3g}], expected {self.side} {self.bound:g}",
            f"{self.tokens} of {model_set}, layer {layer}, {where} position 0",
            int(items),
        )


def corrected(outcome: Outcome, p_adjusted: float) -> Outcome:
    """Correct an outcome for many tests; undecided if not significant."""
    kept = outcome.verdict == "undecided" or p_adjusted < ALPHA
    return replace(outcome, verdict=outcome.verdict if kept else "undecided", p=p_adjusted)


def _pair(source: Comparisons, experiment: str, candidate: str, baseline: str) -> Comparison | Outcome:
    try:
        return source.compare(experiment, candidate, baseline)
    except UsageError as error:
        return Outcome("not run", str(error))


def _pairs(source: Comparisons, experiment: str, metric: str, candidate: str, baseline: str) -> Pairs | Outcome:
    compared = _pair(source, experiment, candidate, baseline)
    if isinstance(compared, Outcome):
        return compared
    if metric not in compared.pairs:
        return Outcome("not run", f"{metric} was not measured: {compared.left_out.get(metric, 'not in this run')}")
    return compared.pairs[metric]


def _effect(
    source: Comparisons, experiment: str, metric: str, candidate: str, baseline: str
) -> tuple[MetricInfo, PairedEffect, int] | Outcome:
    pairs = _pairs(source, experiment, metric, candidate, baseline)
    if isinstance(pairs, Outcome):
        return pairs
    effect = paired_effect(pairs.values, pairs.baseline_values, pairs.items, bounds=pairs.metric.changes)
    return pairs.metric, effect, len(pairs.items)


def _too_few(text: str, what: str, n: int) -> Outcome:
    return Outcome("undecided", f"{text}; fewer than {LEAST_ITEMS} items decide nothing", what, n)


def _minus(candidate: str, baseline: str) -> str:
    return f"`{candidate}` minus `{baseline}`"


def _words(metric: MetricInfo, effect: PairedEffect, signed: bool = True) -> str:
    mean, low, high = (number(value, metric, signed) for value in (effect.mean, effect.low, effect.high))
    return f"{metric.name} {mean} [{low}, {high}]"
