"""Tables of all configurations and metrics on a leaderboard page, and its data sources."""

from blendbench.core.metric_info import MetricInfo
from blendbench.core.numbers import number
from blendbench.reports.board import Board, Configuration
from blendbench.reports.formats import blocks, decision_word, difference_text, label_text, markdown_table
from blendbench.reports.gallery.links import Gallery

ROLE_TITLES = {
    "gain": "Gain from the reference",
    "prompt": "Adherence to the prompt",
    "artifact": "Artifacts",
    "drift": "Drift",
    "diagnostic": "Diagnostics",
}
ARROWS = {"lower": "lower is better", "higher": "higher is better", "none": "neither direction is better"}
METHOD = (
    "- intervals: the hull of Student's t and a bootstrap of items, wider where few items differ (Student's t alone for"
    " diagnostics), for display; decisions: sign flips of item differences without sampling, Holm within the metrics of"
    " one role of one configuration; outcomes: gain against costs, of a configuration's own decisions alone; ties: from"
    " simultaneous intervals of all pairs"
)


def configurations_section(board: Board, gallery: Gallery | None) -> list[str]:
    """Return the folded table of outcomes: what each configuration gains and costs by the primary metrics."""
    gain, prompt = (board.primaries.get(role) for role in ("gain", "prompt"))
    shown = [(noun, metric) for noun, metric in (("gain", gain), ("prompt", prompt)) if metric is not None]
    rows = []
    for row in board.configurations:
        if row.label == board.baseline or not row.complete:
            continue
        link = gallery.column(row.label, shown[0][1].name) if gallery is not None and shown else None
        name = f"[{label_text(row.label)}]({link})" if link else label_text(row.label)
        cells = [difference_text(row.entries[metric.name], metric) for _, metric in shown]
        rows.append([f"{name}<br>{_outcome(board, row)}", *cells])
    names = " and ".join(f"{noun} is `{metric.name}`" for noun, metric in shown)
    header = ["configuration, outcome", *(f"Δ {noun}" for noun, _ in shown)]
    return _folded(
        "Every configuration: its outcome, and what it gains and costs by the primary metrics",
        f"Δ is the mean difference to `{board.baseline}`, candidate minus baseline, over the same items and seeds, with"
        " a 95 % interval. **better**, **worse**: p at most .05 after Holm's correction over the metrics of the same"
        " role of the same configuration. **equivalent**: within the metric's margin on both sides, each p at most .05."
        f" **undecided**: neither. Of the primary metrics {names}; the outcome weighs all that judge.",
        markdown_table(header, rows),
    )


def _folded(summary: str, text: str, table: list[str]) -> list[str]:
    return blocks(["<details>", f"<summary>{summary}</summary>"], text, table, "</details>")


def metric_section(board: Board, metric: MetricInfo) -> list[str]:
    """Return one metric's folded table, with differences to the baseline."""
    rows = []
    for configuration in board.configurations:
        entry = configuration.entries[metric.name]
        mean = "–" if entry.mean is None else number(entry.mean, metric)
        ok = "" if entry.ok == entry.expected else f"<br>{entry.ok}/{entry.expected}"
        difference = difference_text(entry, metric)
        if configuration.label != board.baseline and not entry.complete:
            difference = "incomplete"
        rows.append([label_text(configuration.label), f"{mean}{ok}", difference])
    return _folded(
        f"{ROLE_TITLES[metric.role]}: {metric.title} ({metric.name}, {ARROWS[metric.direction]})",
        f"Unit: {metric.unit or 'none'}. Margin: {metric.margin:g}. Version {metric.version}.",
        markdown_table(["configuration", "mean", f"Δ to {board.baseline}"], rows),
    )


def provenance_section(board: Board) -> list[str]:
    """Return where the numbers of a page come from, and by which method."""
    run = board.run
    versions = ", ".join(f"{metric.name} {metric.version}" for metric in board.metrics.values())
    lines = [
        f"- suite: {run['suite']}, sha256 `{str(run['suite_sha256'])[:16]}`",
        *_making(board),
        f"- metric versions: {versions}",
    ]
    lines += [f"- not measured: {name} ({reason})" for name, reason in sorted(board.unmeasured.items())]
    if board.other_cells:
        lines.append(
            f"- {board.other_cells} cells of this experiment are left out: another suite, sampler, model set, dtype or"
            " state of a strategy's code, so not comparable"
        )
    lines += [
        METHOD,
        "- rows: views `unit_scores`, `paired_effects`, `leaderboard` and `no_effect_cells` of the database"
        f" (`blendbench sql \"FROM leaderboard WHERE experiment = '{board.experiment}'\"`)",
    ]
    return blocks("## Where these numbers come from", lines)


def _making(board: Board) -> list[str]:
    run, measured = board.run, f"on {board.run['device']} with blendbench {board.run['blendbench_version']}"
    if board.imported:
        notes = [f"- {note}" for note in board.imported]
        return [
            "- images: made elsewhere; model, sampler and conditioning are not known",
            *notes,
            f"- scores: {measured}",
        ]
    return [
        f"- model set: {run['model_set']}, sha256 `{str(run['model_set_sha256'])[:16]}`, {run['dtype']}",
        f"- sampler: sha256 `{str(run['sampler_sha256'])[:16]}`; latest run {measured}",
    ]


def outcome_notes(row: Configuration) -> list[str]:
    """Return what a reader must know beside an outcome."""
    notes = ["control"] if row.control else ["upper bound"] if row.upper_bound else []
    if row.same_conditioning and not row.no_op:
        notes.append(f"does nothing in {row.same_conditioning} of {row.expected} cells")
    return notes


def _outcome(board: Board, row: Configuration) -> str:
    costs = [
        f"{role} {word}"
        for role in ("artifact", "drift")
        if role in board.primaries and (word := decision_word(row.entries[board.primaries[role].name].effect))
    ]
    return "; ".join([f"**{row.outcome or 'not judged'}**", *costs, *outcome_notes(row)])
