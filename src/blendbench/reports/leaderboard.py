"""The leaderboard page, a pure function of the database and its images."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from blendbench.core.files import write_atomically
from blendbench.core.metric_info import Role
from blendbench.core.numbers import counted
from blendbench.reports.board import Board, read_board
from blendbench.reports.contact_sheet import Extreme, caption, extremes, write_contact_sheet, write_extremes
from blendbench.reports.folders import make_folder
from blendbench.reports.formats import blocks, label_text, plain_text
from blendbench.reports.front_plot import plot_doses, plot_front
from blendbench.reports.gallery.links import FOLDER, Gallery, find_gallery
from blendbench.reports.gallery.write import gallery_of
from blendbench.reports.images import PageImages
from blendbench.reports.metric_tables import configurations_section, metric_section, provenance_section
from blendbench.reports.residuals import CAPTION, write_residuals
from blendbench.reports.standings import Standings, read_standings
from blendbench.reports.summary import MEANINGS, answer, board_table, meanings, strata_table
from blendbench.reports.truth import LEGEND, Check, truth_checks
from blendbench.results.images import image_name
from blendbench.results.repeats import Repeats
from blendbench.results.store import Results, open_results
from blendbench.stats.decide import least_items
from blendbench.verdict.decide import JUDGED_ROLES, is_judged

DOSES, FRONT, SHEET, EXTREMES = "doses.webp", "front.webp", "images.webp", "extremes.webp"
RESIDUALS = "residuals.webp"
_FRONT_TEXT = (
    "Up is better, left is better. Each point is a configuration on all items; a thin line joins the doses of a"
    " family, the thick one what no other mean beats in both (bars: 95 % intervals). Dashed: losses of 10 and 25 %."
    " Triangles: controls, among them the canary, which is broken on purpose."
)
_DOSES_TEXT = "Means on all items; bands are 95 % intervals, the dashed line is a loss of 10 %."
_RESIDUALS_TITLE = "## What the images of a strategy have in common"
_ROLES: tuple[Role, ...] = ("gain", "prompt", "artifact", "drift", "diagnostic")


def write_leaderboard(
    results_dir: Path, out: Path, experiment: str | None = None, with_gallery: bool = False
) -> tuple[Board, Standings | None, Path]:
    """Write the page of an experiment or of the latest run, as `write_page`."""
    with open_results(results_dir).held() as results:
        board = read_board(results, experiment)
        if with_gallery:
            gallery_of(board, results, results_dir, out / FOLDER / board.experiment)
        standings = read_standings(results, board)
        return board, standings, write_page(results, results_dir, out, board, standings)


def write_page(
    results: Results,
    results_dir: Path,
    out: Path,
    board: Board,
    standings: Standings | None,
    keep_sheets: bool = False,
    stored: Mapping[str, str] | None = None,
) -> Path:
    """Write `<out>/<experiment>.md` and its images in `<out>/<experiment>/`.

    Returns the page's path. The page links into the gallery of the experiment if there is one that goes where the page
    goes: beside it in `<out>/gallery/`, or in the results folder if `out` is in there too. `keep_sheets`: leave the
    sheets of images as they are. `stored`: the hashes of images in the results folder, where those of `results` only
    stand for them.
    """
    page = make_folder(out) / f"{board.experiment}.md"
    folder = make_folder(out / board.experiment)
    images = PageImages(results_dir, stored)
    for plot, name in ((plot_front, FRONT), (plot_doses, DOSES)):
        (folder / name).unlink(missing_ok=True)
        if standings is not None:
            plot(standings, folder / name)
    if not keep_sheets:
        write_contact_sheet(results, board, standings, images, folder / SHEET)
        write_extremes(extremes(results, board, standings), board, images, folder / EXTREMES)
        write_residuals(results, board, images, folder / RESIDUALS)
    gallery = gallery_beside(out, board.experiment, results_dir)
    text = render(results, board, standings, images_there(folder), gallery, images.note())
    write_atomically(page, text.encode())
    return page


def gallery_beside(out: Path, experiment: str, results_dir: Path | None = None) -> Gallery | None:
    """Return the gallery that moves with a page in `out`, for its links."""
    together = results_dir is not None and out.resolve().is_relative_to(results_dir.resolve())
    places = [out, results_dir] if results_dir is not None and together else [out]
    found = (find_gallery(place / FOLDER / experiment, seen_from=out) for place in places)
    return next((gallery for gallery in found if gallery is not None), None)


def images_there(folder: Path) -> frozenset[str]:
    """Return which of a page's plots and sheets exist."""
    return frozenset(name for name in (DOSES, FRONT, SHEET, EXTREMES, RESIDUALS) if (folder / name).is_file())


def render(
    results: Results,
    board: Board,
    standings: Standings | None,
    images: frozenset[str],
    gallery: Gallery | None = None,
    left_out: str = "",
) -> str:
    """Render the page.

    `images`: the names of the plots and sheets that exist; `gallery`: what it links to; `left_out`: a note on
    damaged images.
    """
    pairs = extremes(results, board, standings) if gallery is not None else []

    def shown(name: str, title: str, alternative: str, *text: str | list[str]) -> list[str]:
        image = f"![{alternative}]({board.experiment}/{name})"
        return blocks(title, image, *text) if name in images else []

    return "\n".join(
        [
            *_head(board, standings),
            *([f"The gallery shows and compares [every image]({gallery.grid()}).", ""] if gallery is not None else []),
            *blocks(left_out),
            *shown(FRONT, "", "What each blend gains against what it costs", _FRONT_TEXT),
            *_board(standings),
            *_strata(standings),
            *shown(DOSES, "## Dose curves", "Gain and loss over the dose", _DOSES_TEXT),
            *shown(SHEET, "## Images", "Generated images", caption(results, board, standings)),
            *shown(EXTREMES, "## Best and worst items", "Best and worst items", *_extremes(board, pairs, gallery)),
            *shown(RESIDUALS, _RESIDUALS_TITLE, "Tiles", CAPTION.format(board.baseline)),
            *blocks("## Every configuration and metric"),
            *configurations_section(board, gallery),
            *(line for metric in board.of_role(*_ROLES) for line in metric_section(board, metric)),
            *_truth(truth_checks(board), board.repeats),
            *_incomplete(board),
            *_trials(board),
            *provenance_section(board),
        ]
    )


def _head(board: Board, standings: Standings | None) -> list[str]:
    cells = sum(entry.expected for entry in board.configurations)
    ok = sum(entry.ok for entry in board.configurations)
    failed = sum(entry.failed for entry in board.configurations)
    missing = cells - ok - failed
    gaps = f" Cells: {ok} ok, {failed} failed, {missing} missing, {cells} expected." if ok < cells else ""
    return blocks(
        f"# Leaderboard of {board.experiment}",
        answer(board, standings),
        meanings(board, standings),
        f"{counted(len(board.configurations), 'configuration')} on {counted(board.items, 'item')} x"
        f" {counted(board.seeds, 'seed')} of suite `{board.run['suite']}`;"
        f" brackets are 95 % intervals over items. Data of {str(board.run['data_date'])[:10]},"
        f" from {board.run['device']}.{gaps}",
        [f"- {note}" for note in board.imported],
        _baseline_lacks(board),
        _too_few_items(board),
    )


def _baseline_lacks(board: Board) -> str:
    baseline = board.configuration(board.baseline)
    if baseline is not None and baseline.complete:
        return ""
    state = "was not run" if baseline is None else f"has {baseline.ok} of {baseline.expected} cells"
    return f"**`{board.baseline}` {state}**: there are no differences where it has none."


def _too_few_items(board: Board) -> str:
    families = Counter(metric.role for metric in board.metrics.values() if is_judged(metric))
    short = {role: least for role in JUDGED_ROLES if (least := least_items(families[role] or 1)) > board.items}
    if not short:
        return ""
    needs = ", ".join(f"{role} needs {least}" for role, least in short.items())
    return (
        f"**{counted(board.items, 'item')} {'is' if board.items == 1 else 'are'} too few** for any difference to be"
        f" better or worse, however large it is ({needs}): read the intervals, or run more items."
    )


def _board(standings: Standings | None) -> list[str]:
    if standings is None or not standings.rows:
        return []
    tied = " `=`: gains that a simultaneous 95 % interval does not separate from the best one's. "
    return blocks(
        "## Board",
        board_table(standings),
        "One row a family: a strategy with all settings but its dose. The dose is the one that gains most on"
        " development items before the loss passes the budget; figures are from test items, so that the choice does"
        f" not flatter them.{tied if standings.tied else ' '}{MEANINGS}",
    )


def _strata(standings: Standings | None) -> list[str]:
    table = strata_table(standings) if standings is not None and standings.rows else []
    return blocks("## Where it holds", "The same doses, by kind of item (test items only).", table) if table else []


def _extremes(board: Board, shown: list[tuple[Extreme, Extreme]], gallery: Gallery | None) -> list[str | list[str]]:
    metric = board.primaries.get("prompt")
    if metric is None:
        return []
    text = f"By the difference of {metric.name} to `{board.baseline}` at the same item and seed, which each row states."
    return [text, [] if gallery is None else [_links(board, both, gallery) for both in shown]]


def _links(board: Board, both: tuple[Extreme, Extreme], gallery: Gallery) -> str:
    words = []
    for word, pair in zip(("best", "worst"), both, strict=True):
        cells = (board.baseline, image_name(pair.baseline_image)), (pair.label, image_name(pair.image))
        link = gallery.comparison(pair.item, pair.seed, *cells)
        text = f"{word}: {pair.item}, seed {pair.seed}"
        words.append(f"[{text}]({link})" if link else text)
    return f"- `{both[0].label}`: {'; '.join(words)}"


def _truth(checks: list[Check], repeats: Repeats) -> list[str]:
    if not checks:
        return []
    open_ = [check for check in checks if not check.answer.startswith("holds")]
    again = f"{repeats.sentence}." if repeats.repeated else ""
    head = "## Is the benchmark right where the truth is known?"
    if not open_:
        return blocks(
            head,
            f"Yes: all {len(checks)} checks hold. The canary is worst on every metric that judges, the text alone"
            " follows the prompt best, and the judges order the configurations as the truth does.",
            again,
        )
    return blocks(
        head,
        f"{len(checks) - len(open_)} of {len(checks)} checks hold. Do not order strategies by a metric alone that"
        " is among these: it misses what is wrong here.",
        [
            f"- {check.question}: {f'**{check.answer}**' if check.answer == 'does not hold' else check.answer}"
            f" ({check.evidence})"
            for check in open_
        ],
        LEGEND,
        again,
    )


def _incomplete(board: Board) -> list[str]:
    lines = []
    for configuration in board.configurations:
        if not configuration.complete:
            reasons = [f"{text} ({count})" for label, text, count in board.errors if label == configuration.label]
            missing = configuration.expected - configuration.ok - configuration.failed
            counts = f"{configuration.ok} ok, {configuration.failed} failed, {missing} missing"
            lines.append(f"- {label_text(configuration.label)}: {'; '.join([counts, *map(plain_text, reasons)])}")
    if not lines:
        return []
    return blocks(
        "## Not judged: incomplete",
        "The cells that failed may be the hard ones, so means over the rest are not compared with complete ones.",
        lines,
    )


def _trials(board: Board) -> list[str]:
    few = [row for row in board.configurations if row.complete and row.items < board.items]
    if not few:
        return []
    return blocks(
        "## Measured on fewer items",
        f"Trials, compared with `{board.baseline}` on the items that they have. `blendbench forget LABEL` removes one.",
        [f"- {label_text(row.label)}: {counted(row.items, 'item')}, {row.outcome or 'not judged'}" for row in few],
    )
