"""The verdict over all metrics of a candidate: failures first, then the canary, then no-ops, then the metrics."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from blendbench.core.errors import UsageError
from blendbench.results.store import Results
from blendbench.statistics import cluster_means, holm
from blendbench.verdict.decide import (
    ALPHA,
    Effect,
    MetricVerdict,
    badness,
    decide,
    is_gated,
    items_for_a_regression,
    measure_effect,
)
from blendbench.verdict.pairing import Comparison, choose_experiment, labels_of, pair, resolve_label

CANARY = "canary"
REFERENCE = "text_only"  # what the canary must be worse than, whatever the candidate is compared with
CANARY_KINDS = ("artifact", "adherence")
WORST = 5
# The words of a verdict, and the exit code of `blendbench gate` for each.
EXIT_CODES = {
    "pass": 0,
    "no-op": 0,
    "regression": 1,
    "inconclusive": 3,
    "canary not detected": 4,
    "cells failed": 5,
}


@dataclass(frozen=True)
class Canary:
    """Whether the known-bad blend was found to be worse than text_only, and by which metrics (or why not)."""

    detected: bool
    evidence: str


@dataclass(frozen=True)
class WorstItem:
    """An item on which the candidate is worse than the baseline; `worse` is `change` in the bad direction over `scale`
    (the margin of the metric). Images are paths relative to the results folder; `link` is the address of the two in
    a gallery.
    """

    item: str
    seed: int
    prompt: str
    metric: str
    change: float
    worse: float
    candidate_image: str
    baseline_image: str
    link: str | None = None


@dataclass(frozen=True)
class Verdict:
    """What the gate says of one candidate. `metrics`: the gated ones first; none is decided on if cells failed or the
    canary was not detected. `notes`: what a reader should know.
    """

    experiment: str
    candidate: str
    baseline: str
    verdict: str
    reason: str
    metrics: tuple[MetricVerdict, ...]
    left_out: dict[str, str]
    worst: tuple[WorstItem, ...]
    canary: Canary
    failed: tuple[str, ...]
    notes: tuple[str, ...]
    units: int
    items: int
    provenance: dict[str, str]
    alpha: float = ALPHA

    @property
    def exit_code(self) -> int:
        """0 pass or no-op, 1 regression, 3 inconclusive, 4 canary not detected, 5 some cells failed."""
        return EXIT_CODES[self.verdict]

    def of(self, decision: str) -> list[MetricVerdict]:
        """The gated metrics with this decision."""
        return [entry for entry in self.metrics if entry.decision == decision]


def gate(
    results: Results,
    candidate: str,
    baseline: str,
    experiment: str | None = None,
    cell_ids: Collection[str] | None = None,
    candidates: int = 1,
    alpha: float = ALPHA,
) -> Verdict:
    """Say whether `candidate` is worse than `baseline`; both are labels, or strategies with one configuration.

    `experiment`: default: the latest that has both. `cell_ids`: the only cells to look at; default: all planned ones.
    `candidates`: how many are judged together; p-values are corrected for all of them. `alpha`: the risk of each
    decision (see `sequential` for what to give when looking more than once). A pure function of the database:
    the same cells give the same verdict. Errors: UsageError if the two cannot be compared or a pair is missing.
    """
    experiment = choose_experiment(results, experiment, candidate, baseline)
    labels = labels_of(results, experiment)
    comparison = pair(
        results, experiment, resolve_label(candidate, labels), resolve_label(baseline, labels), cell_ids=cell_ids
    )
    canary = find_canary(results, comparison)
    return judge(comparison, canary, _prompts(results, comparison), _provenance(results, comparison), candidates, alpha)


def judge(
    comparison: Comparison,
    canary: Canary,
    prompts: dict[str, str],
    provenance: dict[str, str],
    candidates: int = 1,
    alpha: float = ALPHA,
) -> Verdict:
    """The verdict on pairs that are already there; no file is read. Errors: UsageError if nothing can be gated."""
    effects = [measure_effect(pairs, alpha=alpha) for pairs in comparison.pairs.values()]
    # Without all pairs, or with metrics that are blind, the effects are shown and nothing is concluded from them.
    silent = bool(comparison.failed) or not canary.detected
    metrics = [decide(effect, None) for effect in effects] if silent else decide_all(effects, candidates)
    gated = [entry for entry in metrics if entry.decision is not None]
    if not comparison.failed and not any(effect.gated for effect in effects):
        raise UsageError(
            f"{comparison.experiment}: no adherence, artifact or drift metric was measured; nothing to gate"
        )
    verdict, reason = _overall(comparison, gated, canary)
    return Verdict(
        experiment=comparison.experiment,
        candidate=comparison.candidate,
        baseline=comparison.baseline,
        verdict=verdict,
        reason=reason,
        metrics=tuple(metrics),
        left_out=comparison.left_out,
        worst=worst_items(comparison, prompts),
        canary=canary,
        failed=comparison.failed,
        notes=(*comparison.notes, *_notes(comparison, gated, candidates, alpha)),
        units=len(comparison.units),
        items=comparison.units["item"].nunique(),
        provenance=provenance,
        alpha=alpha,
    )


def decide_all(effects: list[Effect], candidates: int = 1) -> list[MetricVerdict]:
    """Decide on every metric, gated ones first: Holm over the gated metrics, Bonferroni over the candidates."""
    gated = [effect for effect in effects if effect.gated]
    adjusted = np.minimum(holm([effect.p for effect in gated]) * candidates, 1.0)
    tests = len(gated) * candidates
    judged = [decide(effect, float(p), tests) for effect, p in zip(gated, adjusted, strict=True)]
    return judged + [decide(effect, None) for effect in effects if not effect.gated]


def find_canary(results: Results, comparison: Comparison) -> Canary:
    """Compare the canary with text_only in the setting of a comparison, where the most pairs of the two are.

    The canary tests suite, models and metrics, not the candidate: a quick look may lean on the canary of a longer run.
    """
    refusal = f"{CANARY} and {REFERENCE} were not both measured in {comparison.experiment}; run it with the controls"
    for experiment in _experiments_with_canary(results, comparison):
        try:
            return judge_canary(pair(results, experiment, CANARY, REFERENCE, comparison.setting))
        except UsageError as error:
            refusal = str(error)
    return Canary(False, refusal)


def _experiments_with_canary(results: Results, comparison: Comparison) -> list[str]:
    setting = comparison.setting
    rows = results.query(
        """
        SELECT experiment FROM cells
        WHERE label IN (?, ?) AND suite_sha256 = ? AND model_set_sha256 = ? AND dtype = ? AND sampler_sha256 = ?
        GROUP BY experiment HAVING count(DISTINCT label) = 2
        ORDER BY count(*) DESC, experiment = ? DESC, experiment
        """,
        [
            CANARY,
            REFERENCE,
            setting.suite_sha256,
            setting.model_set_sha256,
            setting.dtype,
            setting.sampler_sha256,
            comparison.experiment,
        ],
    )
    return [str(name) for name in rows["experiment"]]


def judge_canary(against: Comparison) -> Canary:
    """Detected: of each kind that was measured (artifact, adherence) at least one metric is worse, Holm p <= 5 %.

    Holm runs within a kind: that both kinds must find it needs no correction (an intersection-union test).
    """
    if against.failed:
        return Canary(False, f"{len(against.failed)} cells or scores failed, the first: {against.failed[0]}")
    effects = [measure_effect(pairs) for pairs in against.pairs.values()]
    told, detected = [], True
    for kind in CANARY_KINDS:
        judged = [effect for effect in effects if effect.gated and effect.metric.kind == kind]
        if not judged:
            continue
        p_values = dict(zip([effect.metric.name for effect in judged], holm([e.p for e in judged]), strict=True))
        found = [name for name, p in p_values.items() if p <= ALPHA]
        detected &= bool(found)
        shown = found or [min(p_values, key=lambda name: p_values[name])]
        words = ", ".join(f"{name} (p = {p_values[name]:.2g})" for name in shown)
        told.append(f"{kind}: {'worse in' if found else 'not worse, nearest is'} {words}")
        least = items_for_a_regression(len(judged))
        if not found and max(effect.items for effect in judged) < least:
            told[-1] += f", which fewer than {least} items cannot show"
    if not told:
        return Canary(False, "no artifact or adherence metric was measured")
    extent = f"{len(against.units)} pairs with {against.baseline} in {against.experiment}"
    return Canary(detected, f"{extent}; {'; '.join(told)}")


def worst_items(comparison: Comparison, prompts: dict[str, str], count: int = WORST) -> tuple[WorstItem, ...]:
    """The items on which the candidate is most margins worse in any gated metric, with the seed that shows it best."""
    images = {(row.item, row.seed): row for row in comparison.units.itertuples()}
    found: dict[str, WorstItem] = {}
    for name, pairs in comparison.pairs.items():
        if not is_gated(pairs.metric):
            continue
        change = pairs.candidate - pairs.baseline
        worse = badness(pairs.metric, change)
        scale = pairs.metric.margin or float(np.abs(change).max()) or 1.0
        for item, mean in zip(sorted(set(pairs.items)), cluster_means(worse, pairs.items), strict=True):
            unit = max((i for i, other in enumerate(pairs.items) if other == item), key=lambda i: float(worse[i]))
            row = images[item, pairs.seeds[unit]]
            # The same image, measured twice, differs by rounding.
            harmed = mean > 0 and row.candidate_image != row.baseline_image
            if harmed and (item not in found or mean / scale > found[item].worse):
                found[item] = WorstItem(
                    item,
                    int(pairs.seeds[unit]),
                    prompts.get(item, ""),
                    name,
                    float(change[unit]),
                    float(mean / scale),
                    image_name(str(row.candidate_image)),
                    image_name(str(row.baseline_image)),
                )
    return tuple(sorted(found.values(), key=lambda entry: (-entry.worse, entry.item))[:count])


def image_name(sha256: str) -> str:
    """An image's path relative to its results folder."""
    return f"images/{sha256[:2]}/{sha256}.png"


def _overall(comparison: Comparison, gated: list[MetricVerdict], canary: Canary) -> tuple[str, str]:
    if comparison.failed:
        return "cells failed", f"{len(comparison.failed)} cells or scores failed; no verdict without their pairs"
    if not canary.detected:
        return (
            "canary not detected",
            f"the metrics do not tell a known-bad blend here, so they clear nobody: {canary.evidence}",
        )
    if comparison.same_conditioning == len(comparison.units):
        return "no-op", f"in all {len(comparison.units)} pairs its conditioning is the baseline's, bit for bit"
    by_decision = {
        decision: [entry.effect.metric.name for entry in gated if entry.decision == decision]
        for decision in ("regression", "inconclusive")
    }
    if by_decision["regression"]:
        return "regression", f"worse in {', '.join(by_decision['regression'])}"
    if by_decision["inconclusive"]:
        return "inconclusive", f"cannot tell for {', '.join(by_decision['inconclusive'])}"
    return "pass", f"within the margin in all {len(gated)} gated metrics"


def _notes(comparison: Comparison, gated: list[MetricVerdict], candidates: int, alpha: float) -> list[str]:
    notes = []
    units = len(comparison.units)
    if 0 < comparison.same_conditioning < units:
        notes.append(f"same conditioning as the baseline in {comparison.same_conditioning} of {units} pairs")
    if comparison.same_images == units > comparison.same_conditioning:
        notes.append("every image is the baseline's, bit for bit, though the conditioning differs")
    needed = items_for_a_regression(len(gated) * candidates, alpha)
    short = [entry.effect.metric.name for entry in gated if entry.effect.items < needed]
    if short:
        notes.append(
            f"with fewer than {needed} items no single metric can be called a regression, for"
            f" {len(gated) * candidates} tests are corrected for: too few for {', '.join(short)}"
        )
    harmless = [
        entry.effect.metric.name
        for entry in gated
        if entry.decision == "pass" and entry.p_adjusted is not None and entry.p_adjusted <= alpha
    ]
    if harmless:
        notes.append(f"measurably worse, but within the margin: {', '.join(harmless)}")
    return notes


def _prompts(results: Results, comparison: Comparison) -> dict[str, str]:
    rows = results.query("SELECT item, prompt FROM items WHERE suite_sha256 = ?", [comparison.setting.suite_sha256])
    return dict(zip(rows["item"], rows["prompt"], strict=True))


def _provenance(results: Results, comparison: Comparison) -> dict[str, str]:
    """Where the numbers come from; nothing of it changes from one reading to the next."""
    setting = comparison.setting
    run = results.query(
        """
        SELECT model_set, suite, started_at, blendbench_version FROM runs
        WHERE experiment = ? AND suite_sha256 = ? AND model_set_sha256 = ? AND dtype = ?
        ORDER BY sequence DESC, run_id DESC LIMIT 1
        """,
        [comparison.experiment, setting.suite_sha256, setting.model_set_sha256, setting.dtype],
    ).iloc[0]
    return {
        "suite": str(run["suite"]),
        "suite_sha256": setting.suite_sha256,
        "model_set": str(run["model_set"]),
        "model_set_sha256": setting.model_set_sha256,
        "dtype": setting.dtype,
        "sampler_sha256": setting.sampler_sha256,
        "date": str(run["started_at"]),
        "blendbench_version": str(run["blendbench_version"]),
    }
