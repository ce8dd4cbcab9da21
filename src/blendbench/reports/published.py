"""Publish pages together with the data that they are made from.

`reports/data/` holds the current rows of every published experiment, the latest analysis of hidden states, and the
hypotheses that the findings answer. Pages are written from these data, not from the folder of a run, which may hold
more.
"""

from pathlib import Path

from blendbench.core.config import suggest
from blendbench.core.errors import UsageError
from blendbench.core.files import write_atomically
from blendbench.reports.board import read_board
from blendbench.reports.embedding_study import read_study
from blendbench.reports.embeddings import render_embeddings, write_embeddings
from blendbench.reports.findings import judge
from blendbench.reports.findings_page import render_findings, write_findings
from blendbench.reports.folders import make_folder
from blendbench.reports.gallery.data import image_hashes
from blendbench.reports.hypotheses import shipped_hypotheses
from blendbench.reports.leaderboard import gallery_beside, images_there, render, write_page
from blendbench.reports.standings import read_standings
from blendbench.results.export import DATA, export_experiments, import_published, published_experiments
from blendbench.results.images import ImageStore
from blendbench.results.packed import stored_images
from blendbench.results.store import Results, open_results
from blendbench.verdict.comparison import experiments_of

HYPOTHESES = "hypotheses.toml"  # as they were when the findings were written


def publish(results_dir: Path, out: Path, experiments: list[str] | None = None) -> list[Path]:
    """Write data of `experiments` (default: all) to `out`/data, and pages.

    Returns the pages. Errors: UsageError if there are no results, none of an experiment, or if some of its images are
    damaged or missing.
    """
    results = open_results(results_dir)
    known = sorted(experiments_of(results))
    chosen = experiments or known
    _check_known(chosen, known)
    store = ImageStore(results_dir)
    with_images = {name for name in chosen if _has_images(results, store, name)}
    export_experiments(results, chosen, make_folder(out / DATA))
    pages = []
    for name in published_experiments(out / DATA):
        # One experiment at a time: every query would read the scores of all.
        with import_published(out / DATA, name) as own, own.held():
            board = read_board(own, name)
            standings, stored = read_standings(own, board), stored_images(results, name)
            # Sheets need images; those of experiments that were run elsewhere stay as they are.
            pages.append(write_page(own, results_dir, out, board, standings, name not in with_images, stored))
    hypotheses = out / DATA / HYPOTHESES
    write_atomically(hypotheses, shipped_hypotheses().read_bytes())
    with import_published(out / DATA) as published, published.held():
        if _has_analysis(published):
            pages.append(write_embeddings(published, out)[1])
        return [*pages, write_findings(published, out, hypotheses)[1]]


def differing(out: Path, experiments: list[str] | None = None) -> list[str]:
    """Return the pages in `out` whose text is not what their stored data give.

    `experiments`: only look at their pages; default: all pages. Errors: UsageError without data.
    """
    known = published_experiments(out / DATA)
    _check_known(experiments or [], known)
    wrong = []
    for name in experiments or known:
        with import_published(out / DATA, name) as own, own.held():
            board = read_board(own, name)
            standings = read_standings(own, board)
            text = render(own, board, standings, images_there(out / name), gallery_beside(out, name))
        wrong += [name] if _text(out / f"{name}.md") != text else []
    if not experiments:
        with import_published(out / DATA) as published, published.held():
            texts = {"findings": render_findings(published, judge(published, out / DATA / HYPOTHESES))}
            if _has_analysis(published):
                texts["embeddings"] = render_embeddings(read_study(published))
        wrong += [name for name, text in texts.items() if _text(out / f"{name}.md") != text]
    return sorted(wrong)


def _check_known(names: list[str], known: list[str]) -> None:
    for unknown in sorted(set(names) - set(known)):
        raise UsageError(f"{unknown}: no results of this experiment{suggest(unknown, known)}")


def _has_images(results: Results, store: ImageStore, experiment: str) -> bool:
    """Return whether an experiment's images exist. Errors: UsageError if some."""
    hashes = image_hashes(results, experiment)
    missing = len(hashes) - len(store.present(hashes))
    if 0 < missing < len(hashes):
        raise UsageError(
            f"{experiment}: {missing} of {len(hashes)} images are damaged or missing;"
            f" `blendbench run {experiment}` generates them again"
        )
    return missing == 0


def _has_analysis(results: Results) -> bool:
    return bool(results.rows("SELECT 1 FROM embedding_analyses LIMIT 1"))


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""
