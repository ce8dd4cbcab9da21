"""Writing the folder: the page as it is shipped, the data of one experiment, and its images."""

from importlib.resources import files
from pathlib import Path

from blendbench.core.errors import UsageError
from blendbench.reports.board import Board, read_board
from blendbench.reports.folders import made
from blendbench.reports.gallery.data import gallery_data, image_sources
from blendbench.reports.gallery.files import place_images, thumbnail_name
from blendbench.reports.gallery.links import DATA, FOLDER, PAGE, data_text
from blendbench.results.store import Results


def write_gallery(
    results: Results, results_dir: Path, out: Path | None = None, experiment: str | None = None
) -> tuple[Path, int]:
    """Write the gallery of `experiment` (default: that of the latest run) to `out` (default: gallery/EXPERIMENT in the
    results folder); the page's path and the number of images.

    Written again, it keeps what has not changed. Errors: UsageError for an unknown experiment, one without images,
    and a folder that holds something else.
    """
    board = read_board(results, experiment)
    return gallery_of(board, results, results_dir, out or results_dir / FOLDER / board.experiment)


def gallery_of(board: Board, results: Results, results_dir: Path, out: Path) -> tuple[Path, int]:
    """The same for a board that has been read."""
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / "gallery.js").is_file())):
        raise UsageError(f"{out}: exists and is no gallery; name a new folder with --out")
    sources = image_sources(results, board.experiment)
    if not any((results_dir / path).is_file() for path in sources.values()):
        raise UsageError(f"{results_dir / 'images'}: none of the images of {board.experiment} is there")
    made(out)
    for shipped in files("blendbench.reports.gallery").joinpath("page").iterdir():
        (out / shipped.name).write_bytes(shipped.read_bytes())
    placed = place_images(sources, results_dir, out)
    data = gallery_data(results, board, placed.names)
    data["thumbnails"] = [thumbnail_name(sha256) if sha256 in placed.small else "" for sha256 in placed.names]
    # All of it or nothing: other pages look in here before they link.
    fresh = out / f"{DATA}.new"
    fresh.write_text(data_text(data), encoding="utf-8")
    fresh.replace(out / DATA)
    return out / PAGE, len(placed.names)
