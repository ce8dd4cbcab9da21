"""The page of `blendbench check`: verdicts, and items side by side."""

from collections.abc import Sequence
from pathlib import Path

from blendbench.core.files import write_atomically
from blendbench.reports.contact_sheet import write_sheet
from blendbench.reports.folders import make_folder
from blendbench.reports.formats import blocks
from blendbench.reports.front_plot import plot_front
from blendbench.reports.gallery.links import FOLDER, find_gallery
from blendbench.reports.gate_formats import as_markdown, with_links
from blendbench.reports.images import PageImages
from blendbench.reports.standings import standings_of
from blendbench.results.store import Results
from blendbench.verdict.canary import CANARY
from blendbench.verdict.verdict import Verdict

PAGE, SHEET = "check.md", "check.webp"
FRONT = "front-{}.webp"  # with the place of the candidate in the file
ROWS = 24  # items of the contact sheet; the gallery has all


def write_check(results: Results, results_dir: Path, verdicts: Sequence[Verdict], out: Path) -> Path:
    """Write `out`/check.md with its contact sheet.

    It has reference, baseline, candidates and canary of each item's first seed. The worst items link into the gallery
    of the experiment where it shows the images that were judged.
    """
    make_folder(out)
    experiment = verdicts[0].experiment
    labels = [verdicts[0].baseline, *(verdict.candidate for verdict in verdicts), CANARY]
    images = PageImages(results_dir)
    write_sheet(results, images, experiment, labels, out / SHEET, lambda items: items[:ROWS])
    gallery = find_gallery(results_dir / FOLDER / experiment, seen_from=out)
    parts = ["# Check"]
    for number, verdict in enumerate(verdicts, start=1):
        parts += [as_markdown(with_links(verdict, gallery)), *_source(results, verdict)]
        parts += _front(results, verdict, out / FRONT.format(number))
    if (out / SHEET).is_file():
        parts += ["## Side by side", f"![reference, {', '.join(labels)}]({SHEET})"]
        parts += [f"Rows are the first {ROWS} items; columns share the initial noise.", images.note()]
    if gallery is not None:
        parts.append(f"The gallery shows and compares [every image]({gallery.grid()}).")
    page = out / PAGE
    write_atomically(page, "\n".join(blocks(*parts)).encode())
    return page


def _front(results: Results, verdict: Verdict, path: Path) -> list[str]:
    standings = standings_of(results, verdict.experiment, verdict.candidate)
    path.unlink(missing_ok=True)
    if standings is None:
        return []
    plot_front(standings, path, verdict.candidate)
    known = len(standings.known.points) - 1
    caption = f"Up is better, left is better: {known} configurations on these {verdict.items} items; the ring is yours."
    return [f"![Gain against cost]({path.name})", caption] if path.is_file() else []


def _source(results: Results, verdict: Verdict) -> list[str]:
    """Return the equation and the purpose that a candidate's code states."""
    rows = results.rows(
        """
        SELECT s.equation, s.doc FROM current_cells c
        JOIN strategies s ON s.strategy = c.strategy AND s.source_sha256 = c.source_sha256
        WHERE c.experiment = ? AND c.label = ? LIMIT 1
        """,
        [verdict.experiment, verdict.candidate],
    )
    return [f"`{verdict.candidate}`: `{equation}`. {doc}" for equation, doc in rows]
