"""Publication: pages together with the data that they are made from, so that anybody can check the one by the other.

`reports/data/<table>.parquet` holds the rows of the published experiments and of the analysis of hidden states. Pages
are written from these data and not from the folder that a run happens to have, which may hold more.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from blendbench.core.config import suggest
from blendbench.core.errors import UsageError
from blendbench.reports.board import read_board
from blendbench.reports.embeddings import write_embeddings
from blendbench.reports.findings import write_findings
from blendbench.reports.leaderboard import drawn, gallery_beside, render, write_leaderboard
from blendbench.results.export import export_experiments, import_published, published_experiments
from blendbench.results.store import open_results

DATA = "data"


def publish(results_dir: Path, out: Path, experiments: list[str] | None = None) -> list[Path]:
    """Write the data of `experiments` (default: all that were run) to `out`/data and every page that they give.

    Returns the pages. Errors: UsageError if there are no results, or none of an experiment.
    """
    with open_results(results_dir) as results:
        known = [str(name) for (name,) in results.rows("SELECT DISTINCT experiment FROM runs ORDER BY 1")]
        chosen = experiments or known
        for unknown in sorted(set(chosen) - set(known)):
            raise UsageError(f"{unknown}: no results of this experiment{suggest(unknown, known)}")
        export_experiments(results, chosen, out / DATA)
    with unpacked(out / DATA) as folder:
        (folder / "images").symlink_to((results_dir / "images").absolute(), target_is_directory=True)
        pages = [write_leaderboard(folder, out, name)[1] for name in _experiments(out)]
        if _has_analysis(out):
            pages.append(write_embeddings(folder, out)[1])
        return [*pages, write_findings(folder, out)[1]]


def differing(out: Path) -> list[str]:
    """Pages in `out` whose text is not what their stored data give. Errors: UsageError if there are no stored data."""
    wrong = []
    with unpacked(out / DATA) as folder, tempfile.TemporaryDirectory() as fresh:
        with open_results(folder) as results:
            for name in _experiments(out):
                board = read_board(results, name)
                text = render(results, board, drawn(out / name), gallery_beside(out, name))
                wrong += [name] if _text(out / f"{name}.md") != text else []
        pages = [write_findings(folder, Path(fresh))[1]]
        if _has_analysis(out):
            pages.append(write_embeddings(folder, Path(fresh))[1])
        wrong += [page.stem for page in pages if _text(out / page.name) != _text(page)]
    return sorted(wrong)


@contextmanager
def unpacked(data: Path) -> Iterator[Path]:
    """A results folder, with its database, made of the stored data; it is gone afterwards."""
    with import_published(data) as results:
        yield results.folder


def _experiments(out: Path) -> list[str]:
    return published_experiments(out / DATA)


def _has_analysis(out: Path) -> bool:
    return (out / DATA / "embedding_analyses.parquet").is_file()


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""
