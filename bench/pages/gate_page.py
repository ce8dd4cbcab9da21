"""`python bench/pages/gate_page.py`: false-positive rate and power of the gate, measured on generated images."""

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from gate_calibration import SEEDS, Calibration, Scenario, calibrate, interval
from gate_pool import GRID_LEVELS, SATURATION, Pool, measure_pool

from blendbench.reports.formats import markdown_table
from blendbench.results.store import open_results
from blendbench.stats.decide import least_items
from blendbench.verdict.sequential import LOOKS

EXPERIMENT = "calibration"
FALSE_ALARMS, POWER = 0.05, 0.8
NULL = Scenario("the baseline against itself, other seeds")
SAME = Scenario("the baseline's own images", fraction=0.0, fresh=False)
CLEARANCE = Scenario("worse by exactly the margin", shift=1.0)
_GRID = f"grid of {GRID_LEVELS:g} grey levels in 20 % of the images"
_CAST = f"saturation x {SATURATION:g} in all images"
DEFECTS = (
    Scenario(_GRID, "grid", 0.2, fresh=False),
    Scenario(_GRID, "grid", 0.2, fresh=True),
    Scenario(_CAST, "cast", fresh=False),
    Scenario(_CAST, "cast", fresh=True),
    Scenario("another item's prompt in all images", "swapped", fresh=False),
    Scenario("another item's prompt in all images", "swapped", fresh=True),
    Scenario("another item's prompt in 20 % of the images", "swapped", 0.2, fresh=False),
    Scenario("another item's prompt in 20 % of the images", "swapped", 0.2, fresh=True),
)
# What the gate promises to detect: candidates share the baseline's noise.
PROMISED = (_GRID, _CAST, "another item's prompt in all images")


def gate_page(pool: Pool, null_trials: int, trials: int) -> str:
    """Render the page, a pure function of the pool. It says no where a promise is broken."""
    null = calibrate(pool, NULL, null_trials)
    clearance = calibrate(pool, CLEARANCE, trials)
    outcomes = [calibrate(pool, scenario, trials) for scenario in DEFECTS]
    once = [null, calibrate(pool, SAME, trials), *outcomes]
    twice = [calibrate(pool, outcome.scenario, outcome.trials, sequential=True) for outcome in once]
    lines = [
        "# The gate, measured",
        "",
        _answer_line(null, outcomes),
        "",
        *_introduction(pool),
        "",
        "## Promises",
        "",
        *_promises(null, outcomes),
    ]
    lines += ["", "## False alarms", "", *_false_alarms(null, pool)]
    lines += ["", "## Power", "", *_power(outcomes, pool)]
    lines += ["", "## False clearance", "", *_clearance(clearance, pool)]
    lines += ["", "## Looking twice", "", *_sequential(once, twice), "", f"<sub>{_source(pool)}</sub>", ""]
    return "\n".join(lines)


def _answer_line(null: Calibration, outcomes: Sequence[Calibration]) -> str:
    promised = [o for o in outcomes if o.scenario.name in PROMISED and not o.scenario.fresh]
    least = min(promised, key=lambda outcome: outcome.rate("regression"))
    return (
        f"The gate calls the baseline worse than itself in {_percent(null.verdicts['regression'], null.trials)} of"
        f" resamples, and detects each promised defect in at least"
        f" {_percent(least.verdicts['regression'], least.trials)} ({least.scenario.name})."
    )


def _introduction(pool: Pool) -> list[str]:
    return [
        f"Resamples of {len(pool.items) * pool.seeds} `text_only` images of the {pool.source['model_set']}"
        f" ({len(pool.items)} items, {pool.seeds} seeds), each of the size of the core suite: {len(pool.items)} items x"
        f" {SEEDS} seeds. Every resample deals the seeds of every item anew: {SEEDS} to the candidate, {SEEDS} to the"
        f" baseline, {SEEDS} to the images that drift is measured from; then it is judged as `blendbench gate` judges"
        f" ([how](../docs/gate.md)), on {len(pool.metrics)} gated metrics. Intervals are exact 95 % ones for the"
        " resamples; the images behind them stay the same.",
    ]


def _promises(null: Calibration, outcomes: Sequence[Calibration]) -> list[str]:
    rows = [
        [
            "false alarms, baseline against itself",
            "at most 5 %",
            _fraction(null, "regression"),
            _answer(null.rate("regression") <= FALSE_ALARMS),
        ]
    ]
    for outcome in outcomes:
        if outcome.scenario.name in PROMISED and not outcome.scenario.fresh:
            rate = outcome.rate("regression")
            rows.append(
                [
                    f"detected: {outcome.scenario.name}",
                    "at least 80 %",
                    _fraction(outcome, "regression"),
                    _answer(rate >= POWER),
                ]
            )
    return markdown_table(("promise", "wanted", "measured", "kept"), rows)


def _false_alarms(null: Calibration, pool: Pool) -> list[str]:
    text = (
        f"{null.trials} resamples. Nothing differs but the initial noise, so every regression is a false alarm. That"
        " many are inconclusive is as it should be: other noise makes other images, and two seeds an item cannot"
        " average that out to within the margins. A real candidate shares the baseline's noise."
    )
    rows = [["all metrics together", *(_fraction(null, verdict) for verdict in ("regression", "inconclusive", "pass"))]]
    rows += [_metric_row(metric.name, null) for metric in pool.metrics]
    return [text, "", *markdown_table(("metric", "regression", "inconclusive", "pass"), rows, right=(1, 2, 3))]


def _power(outcomes: Sequence[Calibration], pool: Pool) -> list[str]:
    families = Counter(metric.role for metric in pool.metrics)
    least = min(map(least_items, families.values()))
    text = (
        f"{outcomes[0].trials} resamples each; detected means verdict regression. Same noise: the images without the"
        " defect are the baseline's, as for a candidate that changes little. Other noise: every image differs from"
        " the baseline's anyway, and the defect comes on top; the false alarms above are then part of what is detected."
        f" With the same noise only the items with the defect differ, and fewer than {least} of them cannot bring the"
        " corrected p to 5 %, however plain each is."
    )
    rows = [
        [
            o.scenario.name,
            "other" if o.scenario.fresh else "same",
            _fraction(o, "regression"),
            _fraction(o, "pass"),
            _finders(o),
        ]
        for o in outcomes
    ]
    return [
        text,
        "",
        *markdown_table(("defect", "noise", "detected", "passed", "by (fraction of resamples)"), rows, right=(2, 3)),
    ]


def _clearance(clearance: Calibration, pool: Pool) -> list[str]:
    text = (
        f"{clearance.trials} resamples with other noise and every value worse by exactly the margin: how often each"
        " metric passes all the same. Nominal: at most 5 %."
    )
    rows = [_metric_row(metric.name, clearance) for metric in pool.metrics]
    return [text, "", *markdown_table(("metric", "regression", "inconclusive", "pass"), rows, right=(1, 2, 3))]


def _sequential(once: Sequence[Calibration], twice: Sequence[Calibration]) -> list[str]:
    first, last = (f"{100 * alpha:.2f} %" for _, alpha in LOOKS)
    text = (
        f"`blendbench check --sequential` judges after half of the items at a risk of {first}, and only what is then"
        f" inconclusive on all items at {last}. Saved is the fraction of a candidate's images that are not needed."
    )
    rows = [
        [
            a.scenario.name,
            "other" if a.scenario.fresh else "same",
            *(_fraction(o, "regression") for o in (a, b)),
            *(_percent(o.verdicts["pass"], o.trials) for o in (a, b)),
            f"{100 * (1 - b.used):.0f} %",
        ]
        for a, b in zip(once, twice, strict=True)
    ]
    header = ("candidate", "noise", "regression, one look", "two looks", "pass, one look", "two looks", "saved")
    return [text, "", *markdown_table(header, rows, right=(2, 3, 4, 5, 6))]


def _metric_row(name: str, outcome: Calibration) -> list[str]:
    counts = outcome.outcomes[name]
    return [name, *(_percent(counts[d], outcome.trials) for d in ("regression", "inconclusive", "pass"))]


def _finders(outcome: Calibration) -> str:
    rates = {name: counts["regression"] / outcome.trials for name, counts in outcome.outcomes.items()}
    found = sorted((name for name in rates if rates[name] >= 0.1), key=lambda name: (-rates[name], name))
    return ", ".join(f"{name} {100 * rates[name]:.0f} %" for name in found) or "none in 10 % or more"


def _fraction(outcome: Calibration, verdict: str) -> str:
    low, high = interval(outcome.verdicts[verdict], outcome.trials)
    return f"{_percent(outcome.verdicts[verdict], outcome.trials)} ({100 * low:.1f} to {100 * high:.1f})"


def _percent(count: int, trials: int) -> str:
    return f"{100 * count / trials:.1f} %"


def _answer(kept: bool) -> str:
    return "yes" if kept else "**NO**"


def _source(pool: Pool) -> str:
    where = pool.source
    versions = ", ".join(f"{metric.name} v{metric.version}" for metric in pool.metrics)
    return (
        f"{where['experiment']}; suite {where['suite']} {where['suite_sha256'][:12]}; model set {where['model_set']}"
        f" {where['model_set_sha256'][:12]}; {where['dtype']}; seeds {', '.join(map(str, json.loads(where['seeds'])))};"
        f" {versions}; run of {where['date'][:19]}. Made by `blendbench run bench/calibration/calibration.toml`, then"
        " `python bench/pages/gate_page.py`."
    )


def main() -> None:
    """Measure the pool of a results folder and write the page."""
    from blendbench.models.sets import load_model_set

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of the calibration run")
    parser.add_argument("--out", type=Path, default=Path("reports/gate.md"))
    parser.add_argument("--models", default="miniature", help="model set whose scorers judge the images")
    parser.add_argument("--trials", type=int, default=500, help="resamples of each defect")
    parser.add_argument("--null-trials", type=int, default=2000, help="resamples of the baseline against itself")
    options = parser.parse_args()
    pool = measure_pool(open_results(options.results), options.results, EXPERIMENT, load_model_set(options.models))
    options.out.write_text(gate_page(pool, options.null_trials, options.trials), encoding="utf-8")


if __name__ == "__main__":
    main()
