"""The primary metric of each role: what headlines, budgets and fronts are made from."""

import json
from collections.abc import Iterable, Mapping

from blendbench.core.metric_info import MetricInfo, Role
from blendbench.results.pairs import read_metrics
from blendbench.results.store import Results

# Of each role the first that was measured, unless the suite names one. The probe shares no weights with the generator,
# with CLIP or with SigLIP. A grid counts by how visible it is: its energy puts an invisible grid on a flat image level
# with a destroyed image.
PREFERRED: dict[Role, tuple[str, ...]] = {
    "prompt": ("attribute_adherence", "facts_siglip", "siglip_cosine", "clip_cosine"),
    "gain": ("reference_style", "siglip_style_gain", "style_gain"),
    "artifact": ("grid_severity", "grid_energy"),
    "drift": ("color_elsewhere",),
}


def choose_primaries(metrics: Iterable[MetricInfo], named: Mapping[str, str]) -> dict[Role, MetricInfo]:
    """Return the primary metric of each role; `named`: those of the suite.

    It may name a metric of another role, as a palette for the gain.
    """
    by_name = {metric.name: metric for metric in metrics}
    found: dict[Role, MetricInfo] = {}
    for role, preferred in PREFERRED.items():
        of_role = sorted(name for name, metric in by_name.items() if metric.role == role and metric.direction != "none")
        chosen = next((name for name in (named.get(role), *preferred, *of_role) if name in by_name), None)
        if chosen is not None:
            found[role] = by_name[chosen]
    return found


def read_primaries(results: Results, experiment: str) -> dict[Role, MetricInfo]:
    """Return the primary metrics of an experiment that were measured."""
    infos = read_metrics(results)
    measured = results.rows(
        "SELECT DISTINCT metric, metric_version FROM current_scores WHERE experiment = ? AND status = 'ok'",
        [experiment],
    )
    named = results.rows(
        "SELECT primaries FROM suites JOIN current_sets USING (suite_sha256) WHERE experiment = ?", [experiment]
    )
    return choose_primaries((infos[key] for key in measured), json.loads(named[0][0] or "{}") if named else {})
