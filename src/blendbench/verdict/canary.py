"""The canary: a blend that is broken on purpose, which the metrics must detect."""

from dataclasses import dataclass

from blendbench.core.errors import UsageError
from blendbench.results.imported import are_imported
from blendbench.results.store import Results
from blendbench.stats.decide import least_items
from blendbench.verdict.comparison import Comparison, compare
from blendbench.verdict.decide import decide_effects, measure_effects

CANARY = "canary"
REFERENCE = "text_only"  # what the canary must be worse than, whatever the candidate is compared with
CANARY_ROLES = ("artifact", "prompt")


@dataclass(frozen=True)
class Canary:
    """Result of the canary: found worse than text_only, by which metrics.

    If it was not found, the reason why. `detected` is None where no canary can be generated: for imported images.
    """

    detected: bool | None
    evidence: str


def find_canary(results: Results, experiment: str) -> Canary:
    """Compare the canary with text_only in a matching experiment.

    It is the one of the same setting with the most pairs of the two. The canary tests suite, models and metrics, not
    the candidate: a quick look may lean on the canary of a longer run.
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
    if not rows and are_imported(results, experiment):
        return Canary(None, "these images were imported, so nothing shows that the metrics see a broken one")
    for (name,) in rows:
        try:
            return judge_canary(compare(results, str(name), CANARY, REFERENCE))
        except UsageError as error:
            refusal = str(error)
    return Canary(False, refusal)


def judge_canary(against: Comparison) -> Canary:
    """Detect the canary: a metric of each measured role must be worse.

    The roles are artifact and prompt. Holm's correction runs within a role: that both must find it needs no other (an
    intersection-union test). A metric with scores that failed finds nothing, and keeps no other one from it.
    """
    pairs = [pair for pair in against.pairs.values() if pair.metric.role in CANARY_ROLES]
    effects = decide_effects(measure_effects(pairs))
    failed = f"{len(against.failed)} cells or scores failed, the first: {(*against.failed, '')[0]}"
    if any(None in unit.images for unit in against.units):
        return Canary(False, failed)
    reports, detected = [], True
    for role in CANARY_ROLES:
        judged = [effect for effect in effects if effect.judged and effect.metric.role == role]
        if not judged and against.failed:
            return Canary(False, failed)
        if not judged:
            continue
        found = [effect for effect in judged if effect.decision == "worse"]
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
    return Canary(detected, "; ".join([extent, *reports, *([failed] if against.failed else [])]))
