"""Tables of single metrics on a leaderboard page, and its data sources."""

from blendbench.core.metric_info import MetricInfo
from blendbench.core.numbers import number
from blendbench.reports.board import Board
from blendbench.reports.formats import effect_text, estimate_text, label_text, markdown_table

ROLE_TITLES = {
    "prompt": "Adherence to the prompt",
    "artifact": "Artifacts",
    "gain": "Gain from the reference",
    "drift": "Drift",
    "diagnostic": "Diagnostics",
}
ARROWS = {"lower": "lower is better", "higher": "higher is better", "none": "neither direction is better"}
METHOD = (
    "- means: over items of the mean over seeds; intervals: the hull of Student's t and a bootstrap of items, wider"
    " where few items differ, for display; decisions: sign flips of item differences without sampling, Holm within the"
    " metrics of one role of one configuration; rank: from simultaneous intervals of all pairs, `=` where none is"
    " better; detectable: the true difference found with power .8 at the level of Holm's first step"
)


def metric_section(board: Board, metric: MetricInfo) -> list[str]:
    """Return one metric's folded table, with differences to the baseline."""
    header = ["configuration", "mean", f"difference to {board.baseline}", "rank", "detectable", "ok"]
    rows = []
    for configuration in board.configurations:
        entry = configuration.entries[metric.name]
        ranking, effect = entry.ranking, entry.effect
        place = "–"
        if ranking is not None:
            place = f"{ranking.rank} [{ranking.low}, {ranking.high}]{' =' if ranking.tied_with_best else ''}"
        rows.append(
            [
                label_text(configuration.label),
                estimate_text(entry.estimate, metric),
                effect_text(effect) if entry.complete else "incomplete",
                place,
                number(effect.detectable(), metric) if effect is not None else "–",
                f"{entry.ok}/{entry.expected}",
            ]
        )
    return [
        "<details>",
        f"<summary>{ROLE_TITLES[metric.role]}: {metric.title} ({metric.name}, {ARROWS[metric.direction]})</summary>",
        "",
        f"Unit: {metric.unit or 'none'}. Margin: {metric.margin:g}. Version {metric.version}.",
        "",
        *markdown_table(header, rows, right=(4,)),
        "",
        "</details>",
    ]


def provenance_section(board: Board) -> list[str]:
    """Return where the numbers of a page come from, and by which method."""
    run = board.run
    versions = ", ".join(f"{metric.name} {metric.version}" for metric in board.metrics.values())
    lines = [
        "## Where these numbers come from",
        "",
        f"- suite: {run['suite']}, sha256 `{str(run['suite_sha256'])[:16]}`",
        f"- model set: {run['model_set']}, sha256 `{str(run['model_set_sha256'])[:16]}`, {run['dtype']}",
        f"- sampler: sha256 `{str(run['sampler_sha256'])[:16]}`; latest run on {run['device']}"
        f" with blendbench {run['blendbench_version']}",
        f"- metric versions: {versions}",
    ]
    lines += [f"- not measured: {name} ({reason})" for name, reason in sorted(board.unmeasured.items())]
    if board.other_cells:
        lines.append(
            f"- {board.other_cells} cells of this experiment are left out: another suite, sampler, model set, dtype or"
            " state of a strategy's code, so not comparable"
        )
    return [
        *lines,
        METHOD,
        "- rows: views `unit_scores`, `paired_effects`, `leaderboard` and `no_effect_cells` of the database"
        f" (`blendbench sql \"FROM leaderboard WHERE experiment = '{board.experiment}'\"`)",
    ]
