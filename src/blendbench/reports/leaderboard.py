"""The leaderboard page, a pure function of the database and its images."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from blendbench.core.metric_info import MetricInfo
from blendbench.core.numbers import counted, number
from blendbench.reports.board import Board, Configuration, judged_headlines, read_board
from blendbench.reports.contact_sheet import caption, write_contact_sheet
from blendbench.reports.curves import plot_dose_responses
from blendbench.reports.extremes import Extreme, extremes, write_extremes
from blendbench.reports.folders import make_folder
from blendbench.reports.formats import (
    JUDGED_ROLES,
    decision_word,
    effect_text,
    estimate_text,
    label_text,
    markdown_table,
)
from blendbench.reports.gallery.links import FOLDER, Gallery, find_gallery
from blendbench.reports.gallery.write import gallery_of
from blendbench.reports.images import PageImages
from blendbench.reports.metric_tables import ARROWS, ROLE_TITLES, metric_section, provenance_section
from blendbench.reports.pareto import plot_front, trades
from blendbench.reports.residuals import CAPTION, write_residuals
from blendbench.reports.truth import LEGEND, Check, truth_checks
from blendbench.results.images import image_name
from blendbench.results.store import Results, open_results
from blendbench.stats.decide import least_items

ALPHA, FRONT, SHEET, EXTREMES = "alpha.webp", "front.webp", "images.webp", "extremes.webp"
RESIDUALS = "residuals.webp"
NAMED = 3


def write_leaderboard(
    results_dir: Path, out: Path, experiment: str | None = None, with_gallery: bool = False
) -> tuple[Board, Path]:
    """Write the page of an experiment or of the latest run, as `write_page`."""
    results = open_results(results_dir)
    board = read_board(results, experiment)
    if with_gallery:
        gallery_of(board, results, results_dir, out / FOLDER / board.experiment)
    return write_page(results, results_dir, out, board.experiment)


def write_page(
    results: Results,
    results_dir: Path,
    out: Path,
    experiment: str,
    keep_sheets: bool = False,
    stored: Mapping[str, str] | None = None,
) -> tuple[Board, Path]:
    """Write `<out>/<experiment>.md` and its images in `<out>/<experiment>/`.

    Returns the board and the page's path. The page links into the gallery of the experiment if there is one that goes
    where the page goes: beside it in `<out>/gallery/`, or in the results folder if `out` is in there too.
    `keep_sheets`: leave the sheets of images as they are. `stored`: the hashes of images in the results folder, where
    those of `results` only stand for them. Errors: UsageError when there are no results of it.
    """
    board = read_board(results, experiment)
    page = out / f"{board.experiment}.md"
    folder = make_folder(out / board.experiment)
    images = PageImages(results_dir, stored)
    plot_dose_responses(board, folder / ALPHA)
    plot_front(board, folder / FRONT)
    if not keep_sheets:
        write_contact_sheet(results, board, images, folder / SHEET)
        write_extremes(extremes(results, board), board, images, folder / EXTREMES)
        write_residuals(results, board, images, folder / RESIDUALS)
    gallery = gallery_beside(out, board.experiment, results_dir)
    page.write_text(render(results, board, images_there(folder), gallery, images.note()), encoding="utf-8")
    return board, page


def gallery_beside(out: Path, experiment: str, results_dir: Path | None = None) -> Gallery | None:
    """Return the gallery that moves with a page in `out`, for its links."""
    together = results_dir is not None and out.resolve().is_relative_to(results_dir.resolve())
    places = [out, results_dir] if results_dir is not None and together else [out]
    found = (find_gallery(place / FOLDER / experiment, seen_from=out) for place in places)
    return next((gallery for gallery in found if gallery is not None), None)


def images_there(folder: Path) -> frozenset[str]:
    """Return which of a page's plots and sheets exist."""
    return frozenset(name for name in (ALPHA, FRONT, SHEET, EXTREMES, RESIDUALS) if (folder / name).is_file())


def render(
    results: Results,
    board: Board,
    images: frozenset[str],
    gallery: Gallery | None = None,
    left_out: list[str] | None = None,
) -> str:
    """Render the page.

    `images`: the names of the plots and sheets that exist; `gallery`: what it links to; `left_out`: the lines about
    damaged images.
    """
    shown = extremes(results, board) if gallery is not None else []
    parts = [
        [*_head(board), *_gallery(gallery)],
        left_out or [],
        _overview(board, gallery),
        _incomplete(board),
        _truth(truth_checks(board)),
        _front(board) if FRONT in images else [],
        _dose_response(board) if ALPHA in images else [],
        _images(board, caption(results, board)) if SHEET in images else [],
        [*_extremes(board), *_links(board, shown, gallery)] if EXTREMES in images else [],
        _residuals(board) if RESIDUALS in images else [],
        *(metric_section(board, metric) for metric in board.of_role(*ROLE_TITLES)),
        provenance_section(board),
    ]
    return "\n".join("\n".join([*part, ""]) for part in parts if part)


def marks(board: Board, configuration: Configuration) -> str:
    """Return what a reader must know before believing a row."""
    notes = []
    if configuration.label == board.baseline:
        notes.append("baseline")
    elif configuration.control:
        notes.append("control")
    if configuration.same_conditioning:
        fraction = f"{configuration.same_conditioning}/{configuration.expected}"
        notes.append(f"no-op ({fraction})" if configuration.no_op else f"partly no-op ({fraction})")
    return "; ".join(notes)


def answer(board: Board) -> str:
    """Return the board's main result in one sentence."""
    gain, prompt = (board.metrics.get(board.headlines.get(role, "")) for role in ("gain", "prompt"))
    rows = [c for c in board.configurations if c.complete and not c.control and c.label != board.baseline]
    extent = f"Of {counted(len(rows), 'complete configuration')}"
    if prompt is None:
        return f"{extent} none can be judged: no prompt metric was measured."

    def decided(configuration: Configuration, metric: MetricInfo, *words: str) -> bool:
        effect = configuration.entries[metric.name].effect
        return effect is not None and decision_word(effect) in words

    def by_gain(configuration: Configuration) -> float:
        effect = configuration.entries[gain.name].effect if gain is not None else None
        return -effect.mean if effect is not None else 0.0

    keep = [c for c in rows if decided(c, prompt, "better", "equivalent")]
    kept = f"{len(keep)} keep{'s' if len(keep) == 1 else ''} the prompt ({prompt.name} better or equivalent)"
    if gain is None:
        return f"{extent} {kept}."
    gained = sorted((c for c in rows if decided(c, gain, "better")), key=by_gain)
    both = [c for c in gained if c in keep]
    names = ", ".join(f"{label_text(c.label)} ({number(-by_gain(c), gain, signed=True)})" for c in both[:NAMED]) + (
        f" and {len(both) - NAMED} more" if len(both) > NAMED else ""
    )
    return (
        f"{extent} {len(gained)} bring{'s' if len(gained) == 1 else ''} more of the reference ({gain.name} better),"
        f" {kept}, and {len(both) or 'none'} {'does' if len(both) == 1 else 'do' if both else 'does'} both"
        f"{f': {names}' if both else ''}."
    )


def _head(board: Board) -> list[str]:
    cells = sum(entry.expected for entry in board.configurations)
    ok = sum(entry.ok for entry in board.configurations)
    failed = sum(entry.failed for entry in board.configurations)
    missing = cells - ok - failed
    return [
        f"# Leaderboard of {board.experiment}",
        "",
        answer(board),
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
    return ["", f"The gallery shows and compares [every image]({gallery.grid()})."]


def _overview(board: Board, gallery: Gallery | None) -> list[str]:
    metrics = judged_headlines(board)
    sorting = metrics[0].name if metrics else ""
    header = ["rank", "configuration", *(f"Δ {metric.name}" for metric in metrics), "ok"]
    rows = []
    for configuration in board.configurations:
        if not configuration.complete and configuration.label != board.baseline:
            continue
        entries = [configuration.entries[metric.name] for metric in metrics]
        first = entries[0].ranking if entries else None
        cells = [
            estimate_text(entry.estimate, metric)
            if configuration.label == board.baseline
            else effect_text(entry.effect)
            for entry, metric in zip(entries, metrics, strict=True)
        ]
        link = gallery.column(configuration.label, sorting) if gallery else None
        notes = marks(board, configuration)
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
        f"Δ is the mean difference to `{board.baseline}` over the same items and seeds (the row of `{board.baseline}`"
        f" has its own means), with a 95 % interval{meanings}. **better** and **worse**: p at most .05 after Holm's"
        " correction over the metrics of the same role of the same configuration. **equivalent**: within the metric's"
        " margin on both sides, each p at most .05. **undecided**: neither. No decision depends on another row.",
        "",
        *_baseline_lacks(board),
        *_too_few_items(board),
        *_no_ops(board),
        f"Rows are in the order of {metrics[0].name if metrics else 'their names'}, controls last;"
        " `=` marks ties with the first. There is no overall score: how much of the prompt is"
        " given up for how much of the reference is a choice, not a measurement.",
    ]


def _baseline_lacks(board: Board) -> list[str]:
    baseline = board.configuration(board.baseline)
    if baseline is not None and baseline.complete:
        return []
    state = "was not run" if baseline is None else f"has {baseline.ok} of {baseline.expected} cells"
    return [f"**`{board.baseline}` {state}**: there are no differences where it has none.", ""]


def _too_few_items(board: Board) -> list[str]:
    families = Counter(metric.role for metric in board.metrics.values() if metric.role in JUDGED_ROLES)
    short = {role: least for role, tests in families.items() if (least := least_items(tests)) > board.items}
    if not short:
        return []
    needs = ", ".join(f"{role} needs {least}" for role, least in short.items())
    return [
        f"**{counted(board.items, 'item')} {'is' if board.items == 1 else 'are'} too few** for any difference to be"
        f" better or worse, however large it is ({needs}): read the intervals, or run more items.",
        "",
    ]


def _no_ops(board: Board) -> list[str]:
    lines = [
        f"- `{entry.label}`: same conditioning as `{board.baseline}` in {entry.same_conditioning} of {entry.expected}"
        " cells" + (", bit for bit: this strategy did nothing here" if entry.no_op else "")
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
    rows = [
        [check.question, f"**{check.answer}**" if check.answer == "does not hold" else check.answer, check.evidence]
        for check in checks
    ]
    return [
        "## Is the benchmark right where the truth is known?",
        "",
        "The canary is a deliberately broken blend, and the prompt alone should be followed best by its own embedding."
        " Do not order strategies by a metric alone whose expectation does not hold: it misses what is wrong here. "
        + LEGEND,
        "",
        *markdown_table(["expected", "holds", "measured"], rows),
    ]


def _front(board: Board) -> list[str]:
    labels = [f"`{trade.label}`" for trade in trades(board) if trade.on_front] or [f"`{board.baseline}` alone"]
    return [
        "## What is given up for what",
        "",
        f"![Change of adherence against change of the reference's style]({board.experiment}/{FRONT})",
        "",
        f"Not dominated by another mean: {', '.join(labels)}. Bars are 95 % intervals; the star is `{board.baseline}`.",
    ]


def _extremes(board: Board) -> list[str]:
    return [
        "## Best and worst items",
        "",
        f"![Best and worst items]({board.experiment}/{EXTREMES})",
        "",
        f"By the difference of {board.headlines['prompt']} to `{board.baseline}` at the same item and seed, which each"
        " row states; rows are the configurations on the front above, or the first of the overview.",
    ]


def _links(board: Board, shown: list[tuple[Extreme, Extreme]], gallery: Gallery | None) -> list[str]:
    """Link each configuration's best and worst pair into a gallery."""
    lines = []
    for both in shown if gallery is not None else ():
        words = []
        for word, pair in zip(("best", "worst"), both, strict=True):
            cells = (board.baseline, image_name(pair.baseline_image)), (pair.label, image_name(pair.image))
            link = gallery.comparison(pair.item, pair.seed, *cells) if gallery is not None else None
            words.append(_linked(f"{word}: {pair.item}, seed {pair.seed}", link))
        lines.append(f"- `{both[0].label}`: {'; '.join(words)}")
    return ["", *lines] if lines else []


def _linked(text: str, link: str | None) -> str:
    return f"[{text}]({link})" if link else text


def _dose_response(board: Board) -> list[str]:
    return [
        "## Dose and response",
        "",
        f"![Metrics over alpha, one line for each strategy]({board.experiment}/{ALPHA})",
        "",
        f"Means with 95 % intervals over items; the dotted line is `{board.baseline}`.",
    ]


def _images(board: Board, sheet: str) -> list[str]:
    return ["## Images", "", f"![Generated images]({board.experiment}/{SHEET})", "", sheet]


def _residuals(board: Board) -> list[str]:
    return [
        "## What the images of a strategy have in common",
        "",
        f"![Tiles]({board.experiment}/{RESIDUALS})",
        "",
        CAPTION.format(board.baseline),
    ]
