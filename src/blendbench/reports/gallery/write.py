"""Write the gallery: the shipped page, an experiment's data and images."""

from importlib.resources import files
from pathlib import Path

from blendbench.core.errors import UsageError
from blendbench.core.files import write_atomically
from blendbench.reports.board import Board, read_board
from blendbench.reports.folders import make_folder
from blendbench.reports.gallery.data import gallery_data, image_hashes
from blendbench.reports.gallery.files import place_images, thumbnail_name
from blendbench.reports.gallery.links import DATA, FOLDER, PAGE, data_text
from blendbench.results.images import ImageStore
from blendbench.results.store import Results

_MARK = "gallery.js"  # by which a gallery is known


def write_gallery(
    results: Results, results_dir: Path, out: Path | None = None, experiment: str | None = None
) -> tuple[Path, int, int]:
    """Write the gallery of `experiment` (default: that of the latest run).

    `out`: default: gallery/EXPERIMENT in the results folder. Returns the page's path, the number of images, and the
    number of those left out because they are damaged or missing. Written again, it keeps what has not changed. Errors:
    UsageError for an unknown experiment, one without images, and a folder that holds something else.
    """
    board = read_board(results, experiment)
    return gallery_of(board, results, results_dir, out or results_dir / FOLDER / board.experiment)


def gallery_of(board: Board, results: Results, results_dir: Path, out: Path) -> tuple[Path, int, int]:
    """Write the gallery of a board that has been read; as `write_gallery`."""
    if out.exists() and (not out.is_dir() or (_holds_something(out) and not (out / _MARK).is_file())):
        raise UsageError(f"{out}: exists and is no gallery; name a new folder with --out")
    store, hashes = ImageStore(results_dir), image_hashes(results, board.experiment)
    if not store.present(hashes):
        raise UsageError(f"{results_dir / 'images'}: has none of the images of {board.experiment}")
    make_folder(out)
    # First what the folder is known by, so that an interrupted one is written again.
    for shipped in sorted(
        files("blendbench.reports.gallery").joinpath("page").iterdir(), key=lambda file: file.name != _MARK
    ):
        write_atomically(out / shipped.name, shipped.read_bytes())
    placed = place_images(hashes, store, out)
    data = gallery_data(results, board, placed.names)
    data["thumbnails"] = [thumbnail_name(sha256) if sha256 in placed.small else "" for sha256 in placed.names]
    # Last: other pages look in here before they link.
    write_atomically(out / DATA, data_text(data).encode())
    return out / PAGE, len(placed.names), len(hashes) - len(placed.names)


def _holds_something(folder: Path) -> bool:
    return any(entry.suffix != ".partial" for entry in folder.iterdir())
