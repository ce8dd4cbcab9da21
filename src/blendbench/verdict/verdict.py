"""Combine the metrics into a verdict on a candidate.

Failures come first, then the canary, then no-ops, then the metrics.
"""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from blendbench.core.errors import UsageError
from blendbench.results.images import image_name
from blendbench.results.store import Results
from blendbench.stats.clusters import cluster_means
from blendbench.stats.decide import ALPHA, least_items
from blendbench.verdict.comparison import Comparison, choose_experiment, compare, labels_of, resolve_label
from blendbench.verdict.decide import Effect, badness, decide_effects, is_gated, measure_effects

CANARY = "canary"
REFERENCE = "text_only"  # what the canary must be worse than, whatever the candidate is compared with
CANARY_ROLES = ("artifact", "prompt")
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
    """Result of the canary: found worse than text_only, by which metrics.

    If it was not found, the reason why.
    """

    detected: bool
    evidence: str


@dataclass(frozen=True)
class WorstItem:
    """An item on which the candidate is worse than the baseline.

    `change` is that of the seed shown; `worse` is the item's mean change in the bad direction, in margins of the
    metric. Images are paths relative to the results folder, `link` the address of both in a gallery.
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
    """The verdict on one candidate.

    `effects`: the gated metrics first. If cells failed or the canary was not detected, none has a decision.
    """

    experiment: str
    candidate: str
    baseline: str
    verdict: str
    reason: str
    effects: tuple[Effect, ...]
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
        """Return the exit code of a verdict.

        0 pass or no-op, 1 regression, 3 inconclusive, 4 canary not detected, 5 some cells failed.
        """
        return EXIT_CODES[self.verdict]


def gate(
    results: Results,
    candidate: str,
    baseline: str,
    experiment: str | None = None,
    cell_ids: Collection[str] | None = None,
    alpha: float = ALPHA,
) -> Verdict:
    """Decide whether `candidate` is worse than `baseline`.

    Both are labels, or strategies with one configuration. `experiment`: default: the latest that has both.
    `cell_ids`: the only cells to look at; default: all planned ones. `alpha`: the level of each decision
    (`sequential` has those for more than one look). A pure function of the database: the same cells give the same
    verdict. Errors: UsageError if the two cannot be compared or a pair is missing.
    """
    experiment = choose_experiment(results, experiment, candidate, baseline)
    labels = labels_of(results, experiment)
    comparison = compare(
        results, experiment, resolve_label(candidate, labels), resolve_label(baseline, labels), cell_ids
    )
    return judge(
        comparison,
        find_canary(results, experiment),
        _prompts(results, experiment),
        _provenance(results, experiment),
        alpha,
    )


def judge(
    comparison: Comparison, canary: Canary, prompts: dict[str, str], provenance: dict[str, str], alpha: float = ALPHA
) -> Verdict:
    """Judge pairs that have been read.

    Errors: UsageError if nothing can be gated.
    """
    # Both ends of the interval are one-sided bounds at `alpha`.
    effects = measure_effects(comparison.pairs.values(), 1 - 2 * alpha, comparison.unscorable)
    if not comparison.failed and not any(effect.gated for effect in effects):
        raise UsageError(f"{comparison.experiment}: no prompt, artifact or drift metric was measured; nothing to gate")
    # Without all pairs, or with metrics that are blind, the effects are shown and nothing is concluded from them.
    if not comparison.failed and canary.detected:
        effects = decide_effects(effects, alpha)
    effects.sort(key=lambda effect: not effect.gated)
    verdict, reason = _overall(comparison, effects, canary)
    return Verdict(
        experiment=comparison.experiment,
        candidate=comparison.candidate,
        baseline=comparison.baseline,
        verdict=verdict,
        reason=reason,
        effects=tuple(effects),
        left_out=comparison.left_out,
        worst=worst_items(comparison, prompts),
        canary=canary,
        failed=comparison.failed,
        notes=tuple(_notes(comparison, effects, alpha)),
        units=len(comparison.units),
        items=comparison.items,
        provenance=provenance,
        alpha=alpha,
    )


def find_canary(results: Results, experiment: str) -> Canary:
    """Compare the canary with text_only in a matching experiment.

    It is the one of the same setting with the most pairs of the two.

    The canary tests suite, models and metrics, not the candidate: a quick look may lean on the canary of a longer run.
    """
    refusal = f"{CANARY} and {REFERENCE} were not both measured in {experiment}; run it with the controls"
    rows = results.rows(
        """
        WITH same AS (
            SELECT s.experiment FROM current_sets s
            JOIN current_sets own USING (suite_sha256, model_set_sha256, dtype, sampler_sha256)
            WHERE own.experiment = ?
        )
        SELECT experiment FROM current_cells JOIN same USING (experiment) WHERE label IN (?, ?)
        GROUP BY experiment HAVING count(DISTINCT label) = 2
        ORDER BY count(*) DESC, experiment = ? DESC, experiment
        """,
        [experiment, CANARY, REFERENCE, experiment],
    )
    for (name,) in rows:
        try:
            return judge_canary(compare(results, str(name), CANARY, REFERENCE))
        except UsageError as error:
            refusal = str(error)
    return Canary(False, refusal)


def judge_canary(against: Comparison) -> Canary:
    """Detect the canary: a metric of each measured role must be worse.

    The roles are artifact and prompt.

    Holm's correction runs within a role: that both must find it needs no other (an intersection-union test).
    """
    if against.failed:
        return Canary(False, f"{len(against.failed)} cells or scores failed, the first: {against.failed[0]}")
    effects = decide_effects(measure_effects(against.pairs.values()))
    reports, detected = [], True
    for role in CANARY_ROLES:
        judged = [effect for effect in effects if effect.gated and effect.metric.role == role]
        if not judged:
            continue
        found = [effect for effect in judged if effect.outcome == "regression"]
        detected &= bool(found)
        shown = found or [min(judged, key=lambda effect: effect.p_adjusted or 0.0)]
        words = ", ".join(f"{effect.metric.name} (p = {effect.p_adjusted:.2g})" for effect in shown)
        reports.append(f"{role}: {'worse in' if found else 'not worse, nearest is'} {words}")
        least = least_items(len(judged))
        if not found and max(effect.items for effect in judged) < least:
            reports[-1] += f", which fewer than {least} items cannot show"
    if not reports:
        return Canary(False, "no artifact or prompt metric was measured")
    extent = f"{len(against.units)} pairs with {against.baseline} in {against.experiment}"
    return Canary(detected, f"{extent}; {'; '.join(reports)}")


def worst_items(comparison: Comparison, prompts: dict[str, str], count: int = WORST) -> tuple[WorstItem, ...]:
    """Return the items where a gated metric is the most margins worse.

    Each comes with its worst seed.
    """
    images = {(unit.item, unit.seed): unit.images for unit in comparison.units}
    found: dict[str, WorstItem] = {}
    for name, pairs in comparison.pairs.items():
        if not is_gated(pairs.metric):
            continue
        worse = badness(pairs.metric, pairs.differences)
        scale = pairs.metric.margin or float(np.abs(pairs.differences).max()) or 1.0
        for item, mean in zip(sorted(set(pairs.items)), cluster_means(worse, pairs.items), strict=True):
            unit = max((i for i, other in enumerate(pairs.items) if other == item), key=lambda i: float(worse[i]))
            candidate, baseline = images[item, pairs.seeds[unit]]
            # The same image, measured twice, differs by rounding.
            if mean <= 0 or candidate is None or baseline is None or candidate == baseline:
                continue
            if item not in found or mean / scale > found[item].worse:
                found[item] = WorstItem(
                    item,
                    pairs.seeds[unit],
                    prompts.get(item, ""),
                    name,
                    float(pairs.differences[unit]),
                    float(mean / scale),
                    image_name(candidate),
                    image_name(baseline),
                )
    return tuple(sorted(found.values(), key=lambda entry: (-entry.worse, entry.item))[:count])


def _overall(comparison: Comparison, effects: list[Effect], canary: Canary) -> tuple[str, str]:
    if comparison.failed:
        return "cells failed", f"{len(comparison.failed)} cells or scores failed; no verdict without their pairs"
    if not canary.detected:
        return (
            "canary not detected",
            f"the metrics do not detect a known-bad blend here, so they clear nothing: {canary.evidence}",
        )
    if comparison.same_conditioning == len(comparison.units):
        return "no-op", f"in all {len(comparison.units)} pairs its conditioning is the baseline's, bit for bit"
    names = {
        outcome: ", ".join(effect.metric.name for effect in effects if effect.outcome == outcome)
        for outcome in ("regression", "inconclusive")
    }
    if names["regression"]:
        return "regression", f"worse in {names['regression']}"
    if names["inconclusive"]:
        return "inconclusive", f"undecided in {names['inconclusive']}"
    return "pass", f"equivalent or better in all {sum(effect.gated for effect in effects)} gated metrics"


def _notes(comparison: Comparison, effects: list[Effect], alpha: float) -> list[str]:
    notes = []
    units = len(comparison.units)
    if 0 < comparison.same_conditioning < units:
        notes.append(f"same conditioning as the baseline in {comparison.same_conditioning} of {units} pairs")
    if comparison.same_images == units > comparison.same_conditioning:
        notes.append("every image is the baseline's, bit for bit, though the conditioning differs")
    gated = [effect for effect in effects if effect.outcome is not None]
    short = [effect.metric.name for effect in gated if effect.items < least_items(effect.tests, alpha)]
    if short:
        notes.append(f"too few items for a regression to show, however large it is: {', '.join(short)}")
    harmless = [
        effect.metric.name
        for effect in gated
        if effect.decision == "equivalent" and (effect.p_adjusted or 0.0) <= alpha and effect.worse > 0
    ]
    if harmless:
        notes.append(f"measurably worse, but within the margin: {', '.join(harmless)}")
    return notes


def _prompts(results: Results, experiment: str) -> dict[str, str]:
    return dict(
        results.rows(
            "SELECT item, prompt FROM items JOIN current_sets USING (suite_sha256) WHERE experiment = ?", [experiment]
        )
    )


def _provenance(results: Results, experiment: str) -> dict[str, str]:
    """Return where the numbers come from.

    Nothing of it changes from one reading to the next.
    """
    names = (
        "suite",
        "suite_sha256",
        "model_set",
        "model_set_sha256",
        "dtype",
        "sampler_sha256",
        "date",
        "blendbench_version",
    )
    (row,) = results.rows(
        """
        SELECT suite, r.suite_sha256, model_set, r.model_set_sha256, r.dtype, r.sampler_sha256, started_at,
            blendbench_version
        FROM current_sets JOIN runs r USING (run_id) WHERE r.experiment = ?
        """,
        [experiment],
    )
    return dict(zip(names, map(str, row), strict=True))
