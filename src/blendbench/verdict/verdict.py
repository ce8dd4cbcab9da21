"""Judge a candidate: what it gains, what it costs, and whether something known does better."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from blendbench.core.errors import UsageError
from blendbench.core.metric_info import Role
from blendbench.results.images import image_name
from blendbench.results.imported import noise_notes
from blendbench.results.store import Results, read_setting
from blendbench.stats.clusters import cluster_means
from blendbench.stats.decide import ALPHA, least_items
from blendbench.stats.lost import FALL, TOLERATED, LostItems, items_needed, lost_items
from blendbench.verdict.canary import Canary, find_canary
from blendbench.verdict.comparison import Comparison, choose_experiment, compare, labels_of, resolve_label
from blendbench.verdict.decide import COSTS, Effect, badness, decide_effects, is_judged, measure_effects
from blendbench.verdict.known import read_known
from blendbench.verdict.looks import Look, find_look
from blendbench.verdict.outcome import EXIT_CODES, Word, change_outcome, idea_outcome, of_role, states, with_losses
from blendbench.verdict.previous import compare_codes, earlier_code
from blendbench.verdict.primaries import read_primaries

WORST = 5
Form = Literal["idea", "change"]


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
class Rivals:
    """Known configurations, and the one that is shown to dominate, if any.

    `gain` and `costs` are the means of that one against the baseline, by role.
    """

    known: int
    dominating: str | None = None
    gain: float = np.nan
    costs: Mapping[Role, float] | None = None


@dataclass(frozen=True)
class Verdict:
    """The verdict on one candidate.

    `effects`: the judged metrics first. If cells failed or the canary was not detected, none has a decision.
    `primaries`: the primary metric of each role. `lost`: items lost, None where the primary metric of the prompt is no
    value between 0 and 1. `needed`: items that would settle what is undecided, None if nothing is or no number would.
    """

    experiment: str
    candidate: str
    baseline: str
    form: Form
    outcome: Word
    effects: tuple[Effect, ...]
    primaries: Mapping[Role, str]
    rivals: Rivals
    lost: LostItems | None
    needed: int | None
    left_out: dict[str, str]
    worst: tuple[WorstItem, ...]
    canary: Canary
    failed: tuple[str, ...]
    notes: tuple[str, ...]
    units: int
    items: int
    split: str
    provenance: dict[str, str]
    alpha: float = ALPHA
    look: Look | None = None

    @property
    def exit_code(self) -> int:
        """Return the exit code of the outcome."""
        return EXIT_CODES[self.outcome]

    def of_role(self, role: Role) -> list[Effect]:
        """Return the effects of a role, its primary metric first."""
        return of_role(self.effects, role, self.primaries.get(role))

    @property
    def gain(self) -> Effect | None:
        """Return the effect on the primary gain metric."""
        return next(iter(self.of_role("gain")), None)

    @property
    def costs(self) -> list[Effect]:
        """Return the effects on all costs, those of a role together."""
        return [effect for role in COSTS for effect in self.of_role(role)]


def gate(
    results: Results,
    candidate: str,
    baseline: str,
    experiment: str | None = None,
    items: Collection[str] | None = None,
    alpha: float | None = None,
    allow: Mapping[str, float] | None = None,
    tolerated: float | None = TOLERATED,
) -> Verdict:
    """Judge `candidate` against `baseline`.

    Both are labels, or strategies with one configuration. A baseline "previous" is the candidate's own previous code,
    "CANDIDATE@HASH" its code of that hash. `experiment`: default: the latest that has both. `items`: the only ones to
    read; default: the test items, or all where the suite has no test part. `alpha`: the level of each decision;
    default: that of this look (`looks`). `allow`: accepted changes by role (`decide.tolerated`). `tolerated`: the
    fraction of items that may be lost; None to not judge it. A pure function of the database: the same cells give the
    same verdict. Errors: UsageError if the two cannot be compared or a pair is missing.
    """
    with results.held():
        code = earlier_code(candidate, baseline)
        changed = code is not None
        experiment = choose_experiment(results, experiment, candidate, candidate if changed else baseline)
        labels = labels_of(results, experiment)
        label = resolve_label(candidate, labels)
        split, chosen = ("", items) if items is not None else _test_items(results, experiment, label)
        if code is not None:
            comparison, source = compare_codes(results, experiment, label, code, chosen)
            against = f"{label}@{source}"
        else:
            against = resolve_label(baseline, labels)
            comparison = compare(results, experiment, label, against, chosen)
        look = None
        if alpha is None:
            images = [sha256 for unit in comparison.units for sha256 in unit.images if sha256 is not None]
            look = find_look(results, experiment, labels[label], against, split, images, comparison.items)
            alpha = look.alpha
        return judge(
            results,
            comparison,
            "change" if changed else "idea",
            split=split,
            alpha=alpha,
            allow=allow,
            tolerated=tolerated,
            look=look,
        )


def judge(
    results: Results,
    comparison: Comparison,
    form: Form,
    *,
    split: str = "",
    alpha: float = ALPHA,
    allow: Mapping[str, float] | None = None,
    tolerated: float | None = TOLERATED,
    look: Look | None = None,
) -> Verdict:
    """Judge pairs that have been read. Errors: UsageError if nothing can be judged."""
    experiment = comparison.experiment
    canary = find_canary(results, experiment)
    primaries: dict[Role, str] = {role: metric.name for role, metric in read_primaries(results, experiment).items()}
    effects = measure_effects(comparison.pairs.values(), unscorable=comparison.unscorable, allow=allow)
    if not comparison.failed and not any(effect.judged for effect in effects):
        raise UsageError(f"{experiment}: no prompt, gain, artifact or drift metric was measured; nothing to judge")
    # Without all pairs, or with metrics that are blind, the effects are shown and nothing is concluded from them.
    sound = not comparison.failed and canary.detected is not False
    if sound:
        effects = decide_effects(effects, alpha)
    effects.sort(key=lambda effect: not effect.judged)
    lost = _lost(comparison, primaries.get("prompt"))
    rivals = _rivals(results, comparison, alpha) if sound and form == "idea" else Rivals(0)
    outcome = _outcome(comparison, effects, primaries, canary, form, rivals, lost, tolerated)
    return Verdict(
        experiment=experiment,
        candidate=comparison.candidate,
        baseline=comparison.baseline,
        form=form,
        outcome=outcome,
        effects=tuple(effects),
        primaries=primaries,
        rivals=rivals,
        lost=lost,
        needed=_needed(effects, lost, tolerated, alpha) if outcome == "undecided" else None,
        left_out=comparison.left_out,
        worst=worst_items(comparison, _prompts(results, experiment)),
        canary=canary,
        failed=comparison.failed,
        notes=(*_notes(comparison, effects, alpha), *noise_notes(results, experiment, comparison.candidate)),
        units=len(comparison.units),
        items=comparison.items,
        split=split,
        provenance=_provenance(results, experiment),
        alpha=alpha,
        look=look,
    )


def _outcome(
    comparison: Comparison,
    effects: list[Effect],
    primaries: Mapping[Role, str],
    canary: Canary,
    form: Form,
    rivals: Rivals,
    lost: LostItems | None,
    tolerated: float | None,
) -> Word:
    if canary.detected is False:
        return "canary not detected"
    if comparison.failed:
        return "cells failed"
    if comparison.same_conditioning == len(comparison.units):
        return "no-op"
    found = states(effects, primaries)
    word = idea_outcome(found, rivals.dominating is not None) if form == "idea" else change_outcome(found)
    return with_losses(word, lost, tolerated)


def _lost(comparison: Comparison, prompt: str | None) -> LostItems | None:
    pairs = comparison.pairs.get(prompt or "")
    # A fall of .5 means a lost item only on a scale from 0 to 1.
    if pairs is None or pairs.metric.range != (0.0, 1.0) or not len(pairs.differences):
        return None
    falls = cluster_means(-badness(pairs.metric, pairs.differences), pairs.items)
    return lost_items(falls, FALL)


def _rivals(results: Results, comparison: Comparison, alpha: float) -> Rivals:
    known = read_known(results, comparison.experiment).of_items({unit.item for unit in comparison.units})
    label = comparison.candidate
    if label not in known.index:
        return Rivals(0)
    count = len(known.rivals(label))
    name = known.dominating(label, alpha)
    if name is None:
        return Rivals(count)
    means = known.means_against_baseline(name)
    return Rivals(count, name, means.get("gain", np.nan), {role: means[role] for role in COSTS if role in means})


def _needed(effects: list[Effect], lost: LostItems | None, tolerated: float | None, alpha: float) -> int | None:
    """Return how many items would settle all that is undecided; None if no number would."""
    counts = [effect.needed_items(alpha) for effect in effects if effect.judged and effect.decision == "undecided"]
    if lost is not None and tolerated is not None and lost.bound > tolerated:
        # As many lost in proportion as now: at or above the tolerated fraction no number of items is enough.
        counts.append(
            items_needed(lost.lost, tolerated) if lost.lost < tolerated * lost.items or not lost.lost else None
        )
    known = [count for count in counts if count is not None]
    return max(known) if known and len(known) == len(counts) else None


def worst_items(comparison: Comparison, prompts: dict[str, str]) -> tuple[WorstItem, ...]:
    """Return the items where a cost is the most margins worse, by worst seed."""
    images = {(unit.item, unit.seed): unit.images for unit in comparison.units}
    found: dict[str, WorstItem] = {}
    for name, pairs in comparison.pairs.items():
        if not is_judged(pairs.metric) or pairs.metric.role not in COSTS:
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
    return tuple(sorted(found.values(), key=lambda entry: (-entry.worse, entry.item))[:WORST])


def _test_items(results: Results, experiment: str, label: str) -> tuple[str, list[str] | None]:
    """Return the test items of an experiment's suite.

    None where the suite has no test part. Errors: UsageError if a configuration was run on development items alone.
    """
    rows = results.rows(
        """
        SELECT item, item IN (SELECT item FROM current_cells WHERE experiment = ? AND label = ?)
        FROM items JOIN current_sets USING (suite_sha256)
        WHERE experiment = ? AND CAST(split AS VARCHAR) = 'test' ORDER BY item
        """,
        [experiment, label, experiment],
    )
    if rows and not any(there for _, there in rows):
        raise UsageError(
            f"{label}: {experiment} has no test items of it, and the gate reads nothing else;"
            f" `blendbench run {experiment} --split test` with this strategy generates them"
        )
    return ("test", [str(item) for item, _ in rows]) if rows else ("", None)


def _notes(comparison: Comparison, effects: list[Effect], alpha: float) -> list[str]:
    notes = []
    units = len(comparison.units)
    if 0 < comparison.same_conditioning < units:
        notes.append(f"same conditioning as the baseline in {comparison.same_conditioning} of {units} pairs")
    if comparison.same_images == units > comparison.same_conditioning:
        notes.append("every image is the baseline's, bit for bit, though the conditioning differs")
    judged = [effect for effect in effects if effect.judged and effect.decision is not None]
    short = [effect.metric.name for effect in judged if effect.items < least_items(effect.tests, alpha)]
    if short:
        notes.append(f"too few items for a difference to show, however large it is: {', '.join(short)}")
    harmless = [
        effect.metric.name
        for effect in judged
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
    """Return where the numbers come from, the same at each reading."""
    setting = read_setting(results, experiment)
    names = ("suite", "suite_sha256", "model_set", "model_set_sha256", "dtype", "sampler_sha256")
    shown = {name: str(setting[name]) for name in names}
    return shown | {"date": str(setting["started_at"]), "blendbench_version": str(setting["blendbench_version"])}
