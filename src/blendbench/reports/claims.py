"""Claims that data can support or refute.

A claim gives p-values, one for each verdict that it may get. A verdict counts when its p is at most .05 after Holm's
correction over all tests of all claims of a file. p-values are exact sign-flip ones over items, and no random seed
enters them; the intervals beside them are for display.
"""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from blendbench.core.config import Strict
from blendbench.core.errors import UsageError
from blendbench.core.metric_info import MetricInfo
from blendbench.core.numbers import fixed, number
from blendbench.reports.evidence import CannotOccurError, Evidence
from blendbench.reports.formats import label_text
from blendbench.results.pairs import Pairs
from blendbench.stats.agreement import rank_agreement
from blendbench.stats.clusters import Array, cluster_means
from blendbench.stats.decide import ALPHA
from blendbench.stats.intervals import bootstrap_t
from blendbench.stats.sign_flip import sign_flip_p
from blendbench.verdict.primaries import PREFERRED

Verdict = Literal["supported", "refuted", "undecided", "cannot occur here", "not run"]
_LABELS = ("candidate", "baseline", "harmed", "clean")
# Where several tests of one claim reject, the first decides: a difference below the margin is none that matters.
_ORDER: tuple[Verdict, ...] = ("refuted", "cannot occur here", "supported")


@dataclass(frozen=True)
class Outcome:
    """The result of a claim.

    `tests` holds p by verdict; without any the verdict is no matter of chance. `p` is that of the verdict. `effect` is
    mean, low and high in margins of the metric, positive as the claim has it.
    """

    verdict: Verdict
    figure: str
    what: str = ""
    n: int = 0
    tests: Mapping[Verdict, float] = field(default_factory=dict)
    p: float | None = None
    effect: tuple[float, float, float] | None = None

    def corrected(self, tests: Mapping[Verdict, float]) -> "Outcome":
        """Return the outcome at corrected p-values of its tests."""
        if not tests:
            return self
        undecided: Verdict = "undecided"
        verdict = next((v for v in _ORDER if tests.get(v, 1.0) <= ALPHA), undecided)
        p = tests[verdict] if verdict in tests else min(tests.values())
        return replace(self, verdict=verdict, tests=tests, p=p)


class _Claim(Strict):
    experiment: str

    @property
    def labels(self) -> tuple[str, ...]:
        """Return the configurations that it compares."""
        return tuple(str(getattr(self, name)) for name in _LABELS if hasattr(self, name))

    def judge(self, evidence: Evidence) -> Outcome:
        """Return the outcome before any correction for many tests."""
        try:
            outcome = self._judged(evidence)
        except CannotOccurError as error:
            return Outcome("cannot occur here", str(error))
        except UsageError as error:
            return Outcome("not run", str(error))
        return outcome.corrected(outcome.tests)

    @abstractmethod
    def _judged(self, evidence: Evidence) -> Outcome:
        """Return the outcome. Errors: CannotOccurError; UsageError where results are missing."""


class _Pair(_Claim):
    candidate: str
    baseline: str = "text_only"

    @model_validator(mode="after")
    def _two(self) -> "_Pair":
        if self.candidate == self.baseline:
            raise ValueError(f"candidate and baseline are both {self.candidate}; name two")
        return self

    def judge(self, evidence: Evidence) -> Outcome:
        """Return the outcome, with the images that show nothing where the claim is about artifacts."""
        outcome, metric = super().judge(evidence), getattr(self, "metric", None)
        if metric is None or not outcome.tests:
            return outcome
        nothing = evidence.collapsed(self.experiment, metric, self.candidate, self.baseline)
        return replace(outcome, figure=outcome.figure + nothing)

    @property
    def difference(self) -> str:
        """Return the two labels as a difference."""
        return f"{label_text(self.candidate)} minus {label_text(self.baseline)}"

    @property
    def both(self) -> str:
        """Return the two labels side by side."""
        return f"{label_text(self.candidate)} against {label_text(self.baseline)}"


class Differs(_Pair):
    """`candidate` is higher or lower, better or worse than `baseline`.

    Supported: above 0 in that direction. Refuted: below the margin in it, on whichever side of 0.
    """

    kind: Literal["differs"]
    metric: str
    expected: Literal["higher", "lower", "better", "worse"]

    @model_validator(mode="after")
    def _side_of_a_role(self) -> "Differs":
        if self.metric in PREFERRED and self.expected in ("higher", "lower"):
            raise ValueError(f"metric = {self.metric!r} is a role: expected is 'better' or 'worse'")
        return self

    def _judged(self, evidence: Evidence) -> Outcome:
        pairs = evidence.pairs(self.experiment, self.metric, self.candidate, self.baseline)
        sign = _sign(pairs.metric, self.expected)
        found = sign * cluster_means(pairs.differences, pairs.items)
        return _tested(found, sign, self.difference, pairs, _above(found), _above(pairs.metric.margin - found))


class NotWorse(_Pair):
    """`candidate` is worse than `baseline` by less than the margin.

    Refuted: worse by more.
    """

    kind: Literal["not_worse"]
    metric: str

    def _judged(self, evidence: Evidence) -> Outcome:
        pairs = evidence.pairs(self.experiment, self.metric, self.candidate, self.baseline)
        sign, margin = _sign(pairs.metric, "better"), pairs.metric.margin
        found = sign * cluster_means(pairs.differences, pairs.items)
        return _tested(found, sign, self.difference, pairs, _above(margin + found), _above(-margin - found))


class Equivalent(_Pair):
    """`candidate` and `baseline` differ by less than the margin, either way.

    Refuted: by more.
    """

    kind: Literal["equivalent"]
    metric: str

    def _judged(self, evidence: Evidence) -> Outcome:
        pairs = evidence.pairs(self.experiment, self.metric, self.candidate, self.baseline)
        margin, found = pairs.metric.margin, cluster_means(pairs.differences, pairs.items)
        within = max(_above(margin + found), _above(margin - found))
        beyond = min(1.0, 2 * min(_above(found - margin), _above(-found - margin)))
        return _tested(found, 1, self.difference, pairs, within, beyond)


class Agreement(_Pair):
    """Items that lose more on one metric lose more on the other too.

    The rank correlation over items of what `candidate` loses on `metric` and on `other` is above or below `bound`.
    """

    kind: Literal["agreement"]
    metric: str
    other: str
    expected: Literal["above", "below"]
    bound: float = Field(gt=-1, lt=1)

    def _judged(self, evidence: Evidence) -> Outcome:
        first, second = (
            evidence.pairs(self.experiment, name, self.candidate, self.baseline) for name in (self.metric, self.other)
        )
        if first.items != second.items:
            raise UsageError(f"{first.metric.name} and {second.metric.name} were not measured on the same items")
        losses = [-_sign(p.metric, "better") * cluster_means(p.differences, p.items) for p in (first, second)]
        found = rank_agreement(losses[0], losses[1], self.bound)
        names = f"{first.metric.name} and {second.metric.name}"
        if found is None:
            return Outcome("undecided", f"{names}: too few items, or none differ", self.difference, len(first.items))
        tests: dict[Verdict, float] = {"supported": found.p_above, "refuted": found.p_below}
        if self.expected == "below":
            tests = {"supported": found.p_below, "refuted": found.p_above}
        figure = (
            f"rank correlation of {names} {fixed(found.value, 2, signed=True)} [{fixed(found.low, 2, signed=True)},"
            f" {fixed(found.high, 2, signed=True)}], expected {self.expected} {self.bound:g}"
        )
        return Outcome("undecided", figure, self.difference, len(first.items), tests)


class Apart(_Pair):
    """The mean |candidate - baseline| is above or below the margin.

    On effect_size, a mean absolute difference from text_only, this is the least that two images differ by: the
    triangle's inequality.
    """

    kind: Literal["apart"]
    metric: str
    expected: Literal["above", "below"]

    def _judged(self, evidence: Evidence) -> Outcome:
        pairs = evidence.pairs(self.experiment, self.metric, self.candidate, self.baseline)
        found, margin = cluster_means(np.abs(pairs.differences), pairs.items), pairs.metric.margin
        above, below = _above(found - margin), _above(margin - found)
        p = (above, below) if self.expected == "above" else (below, above)
        return _tested(found, 1, f"|{self.difference}|", pairs, *p, bounds=(0.0, pairs.metric.changes[1]))


class Undoes(_Claim):
    """Removing a cause undoes over half of the harm that it does.

    `candidate` against the middle of `harmed` and `clean`. It cannot occur where there is no harm beyond the margin.
    """

    kind: Literal["undoes"]
    metric: str
    candidate: str
    harmed: str
    clean: str = "text_only"

    def _judged(self, evidence: Evidence) -> Outcome:
        after = evidence.pairs(self.experiment, self.metric, self.candidate, self.clean)
        before = evidence.pairs(self.experiment, self.metric, self.harmed, self.clean)
        if (after.items, after.seeds) != (before.items, before.seeds):
            raise UsageError(f"{self.candidate} and {self.harmed} have not the same items in {self.experiment}")
        metric, sign = before.metric, _sign(before.metric, "better")
        harm = cluster_means(-sign * before.differences, before.items)
        undone = sign * cluster_means(after.values - before.values, before.items)
        past, shown = undone - harm / 2, _above(harm - metric.margin)
        labels = f"{label_text(self.candidate)} minus {label_text(self.harmed)}"
        what = f"{labels}, of a harm of {_words(metric, -sign * harm)}"
        outcome = _tested(undone, sign, what, before, max(shown, _above(past)), max(shown, _above(-past)))
        return replace(outcome, tests={**outcome.tests, "cannot occur here": _above(metric.margin - harm)})


class SameImage(_Pair):
    """`candidate` and `baseline` give the same images up to rounding.

    A rounding error may tip one image of many, so what counts is the mean of the differences, whatever their sign: at
    most a tenth of the margin on every metric. No test: it is no matter of chance.
    """

    kind: Literal["same_image"]
    fraction_of_margin: float = Field(default=0.1, gt=0)

    def _judged(self, evidence: Evidence) -> Outcome:
        compared = evidence.compare(self.experiment, self.candidate, self.baseline)
        apart = {
            name: np.abs(pairs.differences) / pairs.metric.margin
            for name, pairs in compared.pairs.items()
            if pairs.metric.margin > 0
        }
        if not apart:
            raise UsageError("no metric with a margin was measured")
        most = max(apart, key=lambda name: float(apart[name].mean()))
        n = len(compared.units)
        return Outcome(
            "supported" if apart[most].mean() <= self.fraction_of_margin else "refuted",
            f"largest mean difference {apart[most].mean():.3g} margins ({most})",
            f"{self.both}, {compared.same_images} of {n} images equal bit for bit",
            n,
        )


class SameConditioning(_Pair):
    """`candidate` gives the transformer the same bytes as `baseline`.

    It did nothing; with `same = false` it did something for every item.
    """

    kind: Literal["same_conditioning"]
    same: bool = True

    def _judged(self, evidence: Evidence) -> Outcome:
        compared = evidence.compare(self.experiment, self.candidate, self.baseline)
        n, equal = len(compared.units), compared.same_conditioning
        return Outcome(
            "supported" if equal == (n if self.same else 0) else "refuted",
            f"{equal} of {n} conditionings equal bit for bit",
            self.both,
            n,
        )


class Measured(_Claim):
    """A statistic of hidden states is above or below a bound.

    `blendbench embeddings` writes it, of the models that `experiment` ran on last, at the layer of conditionings.
    Several joined by + are added up, as counts may be.
    """

    kind: Literal["measured"]
    statistic: str
    tokens: str
    expected: Literal["above", "below"]
    bound: float
    position_0: bool = False
    reference: str = ""

    def _judged(self, evidence: Evidence) -> Outcome:
        names = self.statistic.split("+")
        rows = evidence.results.rows(
            """
            SELECT s.statistic, s.value, coalesce(s.low, s.value), coalesce(s.high, s.value), s.layer, a.model_set,
                json_array_length(a.items)
            FROM embedding_statistics s JOIN embedding_analyses a USING (analysis_id)
            WHERE s.layer = a.text_layer AND list_contains(?, statistic) AND tokens = ? AND position_0 = ?
                AND reference = ? AND s.value IS NOT NULL
                AND a.model_set_sha256 IN (SELECT model_set_sha256 FROM current_sets WHERE experiment = ?)
            ORDER BY a.sequence DESC LIMIT ?
            """,
            [names, self.tokens, self.position_0, self.reference, self.experiment, len(names)],
        )
        if {row[0] for row in rows} != set(names):
            raise UsageError(
                f"{self.statistic} of {self.tokens} was not measured on the models of {self.experiment};"
                " `blendbench embeddings` does it"
            )
        value, low, high = (sum(row[index] for row in rows) for index in (1, 2, 3))
        layer, model_set, items = rows[0][4:]
        over, under = low > self.bound, high < self.bound
        wanted, unwanted = (over, under) if self.expected == "above" else (under, over)
        interval = "" if low == high else f" [{low:.3g}, {high:.3g}]"
        return Outcome(
            "supported" if wanted else "refuted" if unwanted else "undecided",
            f"{self.statistic} {value:.3g}{interval}, expected {self.expected} {self.bound:g}",
            f"{self.tokens} of {model_set}, layer {layer}, {'with' if self.position_0 else 'without'} position 0",
            int(items),
        )


Claim = Annotated[
    Differs | NotWorse | Equivalent | Agreement | Apart | Undoes | SameImage | SameConditioning | Measured,
    Field(discriminator="kind"),
]


def _sign(metric: MetricInfo, expected: str) -> int:
    if expected in ("higher", "lower"):
        return 1 if expected == "higher" else -1
    if metric.direction == "none":
        raise UsageError(f"{metric.name} has no better side; expect it higher or lower")
    return 1 if (metric.direction == "higher") == (expected == "better") else -1


def _above(differences: Array) -> float:
    return sign_flip_p(differences, "greater")


def _tested(
    found: Array,
    sign: int,
    what: str,
    pairs: Pairs,
    supported: float,
    refuted: float,
    bounds: tuple[float, float] | None = None,
) -> Outcome:
    """Return the outcome of the p-values of cluster differences that are positive as claimed."""
    metric = pairs.metric
    estimate = bootstrap_t(sign * found, bounds=bounds or metric.changes)
    ends = sorted(sign * end for end in (estimate.low, estimate.high))
    effect = None
    if metric.margin > 0 and not np.isnan(ends).any():
        effect = (sign * estimate.mean / metric.margin, ends[0] / metric.margin, ends[1] / metric.margin)
    figure = f"{_words(metric, sign * found, bounds)}, margin {metric.margin:g}"
    tests: dict[Verdict, float] = {"supported": supported, "refuted": refuted}
    return Outcome("undecided", figure, what, len(pairs.items), tests, effect=effect)


def _words(metric: MetricInfo, differences: Array, bounds: tuple[float, float] | None = None) -> str:
    estimate = bootstrap_t(differences, bounds=bounds or metric.changes)
    signed = bounds is None
    mean, low, high = (number(value, metric, signed) for value in (estimate.mean, estimate.low, estimate.high))
    return f"{metric.name} {mean} [{low}, {high}]"
