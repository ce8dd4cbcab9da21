"""Write reports/precision.md: how far verdicts in fp8 agree with those in the weights' own precision.

Use `python bench/pages/precision_page.py [--experiment core] [--items 96] [--models miniature] [--results results]
[--out reports/precision.md]`. Runs the experiment twice, into RESULTS/own and RESULTS/fp8; what is there is kept. On a
CPU fp8 is emulated.
"""

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from blendbench.core.suites import load_suite
from blendbench.models.sets import load_model_set
from blendbench.reports.formats import markdown_table
from blendbench.results.images import ImageStore
from blendbench.results.store import Results, open_results
from blendbench.run.experiments import load_experiment
from blendbench.run.loop import run
from blendbench.run.plan import make_plan
from blendbench.run.planning import suite_on
from blendbench.run.progress import Reporter
from blendbench.verdict import Verdict, gate

OWN, FP8 = "own", "fp8"


@dataclass(frozen=True)
class Agreement:
    """Verdicts of each configuration in both precisions, and how far the images are apart in 8-bit levels."""

    verdicts: dict[str, tuple[Verdict, Verdict]]
    levels: float
    images: int

    @property
    def same(self) -> int:
        """Return how many configurations have one outcome."""
        return sum(own.outcome == other.outcome for own, other in self.verdicts.values())

    def ranks(self, role: int) -> float:
        """Return Spearman's correlation of the changes of gain (0) or of the first cost (1)."""
        pairs = [[change(verdict, role) for verdict in pair] for pair in self.verdicts.values()]
        return float(spearmanr(*np.array([pair for pair in pairs if np.isfinite(pair).all()]).T).statistic)


def change(verdict: Verdict, role: int) -> float:
    """Return the mean change of the primary gain (0) or of the first cost (1), NaN if it was not measured."""
    effects = [verdict.gain] if role == 0 else verdict.costs[:1]
    return effects[0].mean if effects and effects[0] is not None else float("nan")


def run_both(experiment: str, models: str, items: int | None, results: Path, device: str) -> str:
    """Run an experiment in both precisions. Return its baseline's label."""
    chosen = replace(load_experiment(experiment), items=items)
    for folder, sampler in ((OWN, {}), (FP8, {"precision": "fp8"})):
        loaded = load_model_set(models, device, dict(chosen.sampler) | sampler)
        plan = make_plan(chosen, load_suite(suite_on(chosen, loaded)), loaded)
        run(plan, loaded, results / folder, Reporter())
    return plan.baseline.label


def compare(experiment: str, baseline: str, results: Path) -> Agreement:
    """Judge every configuration in both folders, and compare the images of the baseline."""
    own, other = (open_results(results / folder) for folder in (OWN, FP8))
    query = "SELECT DISTINCT label FROM cells WHERE NOT control ORDER BY 1"
    labels = [label for (label,) in own.rows(query)]
    verdicts = {}
    with own.held(), other.held():
        for label in labels:
            if label != baseline:
                pair = [gate(opened, label, baseline, experiment, alpha=0.05) for opened in (own, other)]
                verdicts[label] = (pair[0], pair[1])
    gaps = [_gap(results, *pair) for pair in _pairs(own, other, baseline)]
    return Agreement(verdicts, float(np.mean(gaps)), len(gaps))


def _pairs(own: Results, other: Results, baseline: str) -> list[tuple[str, str]]:
    query = "SELECT item, seed, image_sha256 FROM current_cells WHERE label = ? AND status = 'ok'"
    ours, theirs = ({row[:2]: row[2] for row in opened.rows(query, [baseline])} for opened in (own, other))
    return [(ours[key], theirs[key]) for key in sorted(ours.keys() & theirs.keys())]


def _gap(results: Path, one: str, two: str) -> float:
    images = [ImageStore(results / folder).load(name) for folder, name in ((OWN, one), (FP8, two))]
    return float(np.abs(images[0].astype(np.int16) - images[1]).mean())


def page(found: Agreement, experiment: str, models: str) -> str:
    """Return the page."""
    total = len(found.verdicts)
    rows = [
        [f"`{label}`", own.outcome, other.outcome, *(_cell(own, other, role) for role in (0, 1))]
        for label, (own, other) in found.verdicts.items()
    ]
    header = ["configuration", "own precision", "fp8", "gain, own / fp8", "prompt, own / fp8"]
    return "\n".join(
        [
            "# Precision",
            "",
            f"{found.same} of {total} configurations of `{experiment}` on {models} have the same outcome in fp8 as in "
            f"the weights' own precision. Spearman's correlation of their mean gains is {found.ranks(0):.3f}, of their "
            f"mean changes of the prompt metric {found.ranks(1):.3f}.",
            "",
            *markdown_table(header, rows, right=(3, 4)),
            "",
            f"Images of the baseline differ by {found.levels:.2f} of 255 levels on average ({found.images} images). "
            "Both were judged by the gate on the same items; cells of different precisions are never compared with "
            "each other. Written by `python bench/pages/precision_page.py`.",
            "",
        ]
    )


def _cell(own: Verdict, other: Verdict, role: int) -> str:
    return f"{change(own, role):+.3f} / {change(other, role):+.3f}"


def main() -> None:
    """Run the experiment in both precisions and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiment", default="core")
    parser.add_argument("--items", type=int, default=96)
    parser.add_argument("--models", default="miniature")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--out", type=Path, default=Path("reports/precision.md"))
    options = parser.parse_args()
    baseline = run_both(options.experiment, options.models, options.items, options.results, options.device)
    found = compare(options.experiment, baseline, options.results)
    options.out.write_text(page(found, options.experiment, options.models), encoding="utf-8")


if __name__ == "__main__":
    main()
