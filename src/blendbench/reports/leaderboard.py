"""The leaderboard page: markdown and images as a pure function of the database and the images it names."""

from pathlib import Path

from blendbench.reports.board import BASELINE, JUDGED_KINDS, Board, Configuration, MetricInfo, read_board
from blendbench.reports.contact_sheet import caption, draw_contact_sheet
from blendbench.reports.curves import draw_alpha_curves
from blendbench.reports.extremes import Extreme, draw_extremes, extremes
from blendbench.reports.folders import made
from blendbench.reports.formats import counted, effect_text, estimate_text, label_text, markdown_table, number
from blendbench.reports.gallery.links import FOLDER, Gallery, find_gallery
from blendbench.reports.gallery.write import gallery_of
from blendbench.reports.pareto import draw_front, trades
from blendbench.reports.residuals import CAPTION, draw_residuals
from blendbench.reports.truth import Check, truth_checks
from blendbench.results.store import Results, open_results
from blendbench.statistics import least_p

ALPHA, FRONT, SHEET, EXTREMES = "alpha.png", "front.png", "images.png", "extremes.png"
RESIDUALS = "residuals.png"
KIND_TITLES = {
    "adherence": "Adherence to the prompt",
    "artifact": "Artifacts",
    "reference": "What came over from the reference",
    "drift": "Drift",
    "effect": "Size of the effect",
    "diagnostic": "Diagnostics",
}
ARROWS = {"lower": "lower is better", "higher": "higher is better", "none": "neither direction is better"}


def write_leaderboard(
    results_dir: Path | str, out: Path | str, experiment: str | None = None, with_gallery: bool = False
) -> tuple[Board, Path]:
    """Write `<out>/<experiment>.md` and its images in `<out>/<experiment>/`; the board and the page's path.

    The page links into the gallery of the experiment if there is one that goes where the page goes: beside it in
    `<out>/gallery/`, which `with_gallery` writes, or in the results folder if `out` is in there too.
    Errors: UsageError when there are no results, or none of that experiment.
    """
    results = open_results(results_dir)
    board = read_board(results, experiment)
    page = Path(out) / f"{board.experiment}.md"
    images = made(Path(out) / board.experiment)
    draw_alpha_curves(board, images / ALPHA)
    draw_front(board, images / FRONT)
    draw_contact_sheet(results, board, Path(results_dir), images / SHEET)
    draw_extremes(extremes(results, board), board, Path(results_dir), images / EXTREMES)
    draw_residuals(results, board, Path(results_dir), images / RESIDUALS)
    if with_gallery:
        gallery_of(board, results, Path(results_dir), Path(out) / FOLDER / board.experiment)
    gallery = gallery_beside(Path(out), board.experiment, Path(results_dir))
    page.write_text(render(results, board, drawn(images), gallery), encoding="utf-8")
    return board, page


def gallery_beside(out: Path, experiment: str, results_dir: Path | None = None) -> Gallery | None:
    """The gallery that a page in `out` may link to: one that nobody moves, or publishes the page, without."""
    together = results_dir is not None and out.resolve().is_relative_to(results_dir.resolve())
    places = [out, results_dir] if results_dir is not None and together else [out]
    found = (find_gallery(place / FOLDER / experiment, seen_from=out) for place in places)
    return next((gallery for gallery in found if gallery is not None), None)


def drawn(images: Path) -> frozenset[str]:
    """Which of a page's plots and sheets are there."""
    return frozenset(name for name in (ALPHA, FRONT, SHEET, EXTREMES, RESIDUALS) if (images / name).is_file())


def render(results: Results, board: Board, images: frozenset[str], gallery: Gallery | None = None) -> str:
    """The page; `images`: the names of the plots and sheets that were drawn; `gallery`: what it links to."""
    shown = extremes(results, board) if gallery is not None else []
    parts = [
        [*_head(board), *_gallery(gallery)],
        _overview(board, gallery),
        _incomplete(board),
        _truth(truth_checks(board)),
        _front(board) if FRONT in images else [],
        _curves(board) if ALPHA in images else [],
        _images(board, caption(results, board)) if SHEET in images else [],
        [*_extremes(board), *_links(shown, gallery)] if EXTREMES in images else [],
        _residuals(board) if RESIDUALS in images else [],
        *(_metric(board, metric) for metric in board.of_kind(*KIND_TITLES)),
        _provenance(board),
    ]
    return "\n".join("\n".join([*part, ""]) for part in parts if part)


def marks(configuration: Configuration) -> str:
    """What a reader must know before believing a row."""
    notes = []
    if configuration.label == BASELINE:
        notes.append("baseline")
    if configuration.control and configuration.label != BASELINE:
        notes.append("control")
    if configuration.same_conditioning:
        share = f"{configuration.same_conditioning}/{configuration.expected}"
        notes.append(f"no-op ({share})" if configuration.no_op else f"partly no-op ({share})")
    return "; ".join(notes)


def headline_metrics(board: Board) -> list[MetricInfo]:
    """The metrics of the overview: one of each judged kind."""
    return [board.metrics[board.headlines[kind]] for kind in JUDGED_KINDS if kind in board.headlines]


def _head(board: Board) -> list[str]:
    cells = sum(entry.expected for entry in board.configurations)
    ok = sum(entry.ok for entry in board.configurations)
    failed = sum(entry.failed for entry in board.configurations)
    missing = cells - ok - failed
    return [
        f"# Leaderboard of {board.experiment}",
        "",
        f"{counted(len(board.configurations), 'configuration')} on {counted(board.items, 'item')} x"
        f" {counted(board.seeds, 'seed')}"
        f" ({board.run['suite']}, models: {board.run['model_set']})."
        f" Cells: {ok} ok, {failed} failed, {missing} missing, {cells} expected."
        f" Data of {str(board.run['data_date'])[:10]}.",
    ]


def _gallery(gallery: Gallery | None) -> list[str]:
    if gallery is None:
        return []
    return ["", f"[Every image]({gallery.grid()}) can be looked at and compared in the gallery."]


def _overview(board: Board, gallery: Gallery | None) -> list[str]:
    metrics = headline_metrics(board)
    sorting = metrics[0].name if metrics else ""
    header = ["rank", "configuration", *(f"Δ {metric.name}" for metric in metrics), "ok"]
    rows = []
    for configuration in board.configurations:
        if not configuration.complete and configuration.label != BASELINE:
            continue
        entries = [configuration.entries.get(metric.name) for metric in metrics]
        first = entries[0].ranking if entries and entries[0] is not None else None
        cells = [
            (estimate_text(entry, metric) if configuration.label == BASELINE else effect_text(entry, metric))
            if entry is not None
            else "–"
            for entry, metric in zip(entries, metrics, strict=True)
        ]
        link = gallery.column(configuration.label, sorting) if gallery else None
        notes = marks(configuration)
        rows.append(
            [
                f"{first.rank}{' =' if first.tied_with_best else ''}" if first is not None else "–",
                _linked(label_text(configuration.label), link) + (f"<br>{notes}" if notes else ""),
                *cells,
                f"{configuration.ok}/{configuration.expected}",
            ]
        )
    meanings = "".join(f"; {metric.name}: {metric.unit or 'no unit'}, {ARROWS[metric.direction]}" for metric in metrics)
    return [
        "## Overview",
        "",
        *markdown_table(header, rows, right=(0,)),
        "",
        f"Δ is the mean difference to `{BASELINE}` over the same items and seeds (the row of `{BASELINE}` shows its own"
        f" means), with a 95 % interval{meanings}. **better** and **worse**: p < .05 after Holm's correction over"
        " all differences of this page's adherence, artifact and reference metrics. **same**: the whole interval is"
        " within the metric's margin. **unclear**: neither.",
        "",
        *_baseline_lacks(board),
        *_too_few_items(board),
        *_no_ops(board),
        f"Rows are in the order of {metrics[0].name if metrics else 'their names'}, controls last;"
        " `=` marks what cannot be told apart from the first. There is no overall score: how much of the prompt is"
        " given up for how much of the reference is a choice, not a measurement.",
    ]


def _baseline_lacks(board: Board) -> list[str]:
    baseline = board.configuration(BASELINE)
    if baseline is not None and baseline.complete:
        return []
    told = "was not run" if baseline is None else f"has {baseline.ok} of {baseline.expected} cells"
    return [f"**`{BASELINE}` {told}**: there are no differences where it has none.", ""]


def _too_few_items(board: Board) -> list[str]:
    effects = [
        entry.effect
        for configuration in board.configurations
        for entry in configuration.entries.values()
        if entry.p_adjusted is not None and entry.effect is not None
    ]
    if not effects or len(effects) * least_p(max(effect.clusters for effect in effects)) < 0.05:
        return []
    return [
        f"**{counted(board.items, 'item')} {'is' if board.items == 1 else 'are'} too few** for any of these"
        f" {len(effects)} differences to pass the correction, however large it is: read the intervals, or run more"
        " items.",
        "",
    ]


def _no_ops(board: Board) -> list[str]:
    lines = [
        f"- `{entry.label}`: same conditioning as `{BASELINE}` in {entry.same_conditioning} of {entry.expected} cells"
        + (", bit for bit: this strategy did nothing here" if entry.no_op else "")
        for entry in board.configurations
        if entry.same_conditioning
    ]
    return [*lines, ""] if lines else []


def _incomplete(board: Board) -> list[str]:
    rows = []
    for configuration in board.configurations:
        if not configuration.complete:
            reasons = [f"{text} ({count})" for label, text, count in board.errors if label == configuration.label]
            missing = configuration.expected - configuration.ok - configuration.failed
            counts = [configuration.ok, configuration.failed, missing, configuration.expected]
            rows.append([label_text(configuration.label), *map(str, counts), "; ".join(reasons)])
    if not rows:
        return []
    header = ["configuration", "ok", "failed", "missing", "expected", "errors"]
    return [
        "## Not ranked: incomplete",
        "",
        "The cells that failed may be the hard ones, so means over the rest are not compared with complete ones.",
        "",
        *markdown_table(header, rows, right=(1, 2, 3, 4)),
    ]


def _truth(checks: list[Check]) -> list[str]:
    rows = [[check.question, check.answer.replace("NO", "**NO**"), check.evidence] for check in checks]
    return [
        "## Is the benchmark right where the truth is known?",
        "",
        "The canary is a deliberately broken blend, and the prompt alone should be followed best by its own embedding."
        " The nearest other configuration is asked, by the paired 95 % interval of the difference: yes if all of it is"
        " in the expected order; yes, within the margin if what is not stays below the difference that matters on this"
        " metric; no if all of it is in the other order and beyond that. Where an answer is no, do not order strategies"
        " by that metric alone: it misses what is wrong here. The rank correlation: yes above 0 and no below it, by its"
        " interval.",
        "",
        *markdown_table(["expected", "holds", "measured"], rows),
    ]


def _front(board: Board) -> list[str]:
    found = [trade for trade in trades(board) if trade.on_front]
    told = ", ".join(f"`{trade.label}`" for trade in found) or f"`{BASELINE}` alone"
    return [
        "## What is given up for what",
        "",
        f"![Change of adherence against change of the reference's style]({board.experiment}/{FRONT})",
        "",
        f"Not dominated by another mean: {told}. Bars are 95 % intervals; the star is `{BASELINE}`.",
    ]


def _extremes(board: Board) -> list[str]:
    return [
        "## Best and worst items",
        "",
        f"![Best and worst items]({board.experiment}/{EXTREMES})",
        "",
        f"By the difference of {board.headlines['adherence']} to `{BASELINE}` at the same item and seed, which each row"
        " states; rows are the configurations on the front above, or the first of the overview.",
    ]


def _links(shown: list[tuple[Extreme, Extreme]], gallery: Gallery | None) -> list[str]:
    """The best and the worst pair of each configuration, to be compared in a gallery that has them."""
    lines = []
    for both in shown if gallery is not None else ():
        told = []
        for word, pair in zip(("best", "worst"), both, strict=True):
            cells = (pair.label, pair.image), (BASELINE, pair.baseline_image)
            link = gallery.comparison(pair.item, pair.seed, *cells) if gallery is not None else None
            told.append(_linked(f"{word}: {pair.item}, seed {pair.seed}", link))
        lines.append(f"- `{both[0].label}`: {'; '.join(told)}")
    return ["", *lines] if lines else []


def _linked(text: str, link: str | None) -> str:
    return f"[{text}]({link})" if link else text


def _curves(board: Board) -> list[str]:
    return [
        "## Dose and response",
        "",
        f"![Metrics over alpha, one line a strategy]({board.experiment}/{ALPHA})",
        "",
        f"Means with 95 % intervals over items; the dotted line is `{BASELINE}`.",
    ]


def _images(board: Board, sheet: str) -> list[str]:
    return ["## Images", "", f"![Generated images]({board.experiment}/{SHEET})", "", sheet]


def _residuals(board: Board) -> list[str]:
    return ["## What the images of a strategy share", "", f"![Tiles]({board.experiment}/{RESIDUALS})", "", CAPTION]


def _metric(board: Board, metric: MetricInfo) -> list[str]:
    header = ["configuration", "mean", f"difference to {BASELINE}", "rank", "detectable", "ok"]
    rows = []
    for configuration in board.configurations:
        entry = configuration.entries[metric.name]
        ranking = entry.ranking
        place = "–"
        if ranking is not None:
            place = f"{ranking.rank} [{ranking.low}, {ranking.high}]{' =' if ranking.tied_with_best else ''}"
        effect = effect_text(entry, metric) if entry.complete else "incomplete"
        rows.append(
            [
                label_text(configuration.label),
                estimate_text(entry, metric),
                "–" if configuration.label == BASELINE else effect,
                place,
                number(entry.detectable, metric) if entry.detectable is not None else "–",
                f"{entry.ok}/{entry.expected}",
            ]
        )
    return [
        "<details>",
        f"<summary>{KIND_TITLES[metric.kind]}: {metric.title} ({metric.name}, {ARROWS[metric.direction]})</summary>",
        "",
        f"Unit: {metric.unit or 'none'}. Margin: {metric.margin:g}. Version {metric.version}.",
        "",
        *markdown_table(header, rows, right=(4,)),
        "",
        "</details>",
    ]


def _provenance(board: Board) -> list[str]:
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
        "- means: over items of the mean over seeds; intervals: studentised bootstrap of items (9,999 draws; Student's"
        " t below 10 items); p: sign flips of item means; rank: joint bootstrap of items, `=` by a simultaneous"
        " interval; detectable: the true difference found with power .8 by a one-sided 5 % test",
        "- rows: views `unit_scores`, `paired_effects`, `leaderboard` and `no_effect_cells` of the database"
        f" (`blendbench sql \"FROM leaderboard WHERE experiment = '{board.experiment}'\"`)",
    ]
