"""Write the site: every page of a reports folder, and what these pages link to."""

import shutil
from functools import partial
from importlib.resources import files
from os.path import normpath, relpath
from pathlib import Path, PurePosixPath
from urllib.parse import quote, unquote, urlsplit

from blendbench.core.errors import UsageError
from blendbench.core.files import printable, write_atomically
from blendbench.reports.folders import make_folder
from blendbench.reports.gallery.links import FOLDER as GALLERY
from blendbench.reports.images import PageImages
from blendbench.reports.leaderboard import FRONT
from blendbench.reports.site.console import PAGE as CONSOLE
from blendbench.reports.site.console import write_console
from blendbench.reports.site.front import Sample, front_html, write_images
from blendbench.reports.site.html import SCRIPT, STYLE, Page, addresses, follow, parse, render
from blendbench.reports.standings import read_points
from blendbench.results.export import DATA, import_published, published_data, published_experiments
from blendbench.results.packed import stored_images
from blendbench.results.store import open_results

_COPIED = (".webp", ".png", ".jpg", ".svg", ".json")
INDEX = "index.html"


def write_site(reports: Path, out: Path, results: Path | None = None, duckdb_wasm: Path | None = None) -> Path:
    """Write the pages of `reports` and what they link to beside that folder, as HTML in `out`.

    `results`: a results folder whose images the points of the front show; without it they show figures alone.
    `duckdb_wasm`: the package that a SQL console runs; without it no console is written. Returns the first page.
    Errors: UsageError if there are no pages, results or data for a console, or `out` holds something else than a site.
    """
    reports = reports.resolve()
    named = sorted(reports.glob("*.md"))
    if not named:
        raise UsageError(f"{printable(reports)}: no pages; `blendbench publish` or `leaderboard` writes them")
    data = published_data(reports) if duckdb_wasm is not None else None
    if duckdb_wasm is not None and data is None:
        raise UsageError(f"{printable(reports)}: no data for a SQL console; `blendbench publish` writes them")
    if results is not None:
        open_results(results)  # before an earlier site is removed
    out = _emptied(out)
    # First, so that a folder in which this was interrupted is known as a site.
    for name in (STYLE, SCRIPT):
        write_atomically(out / name, files(__package__).joinpath("page", name).read_bytes())
    write_atomically(out / INDEX, b"not finished; repeat the command\n")
    root = reports.parent
    pages = _reached(root, named)
    live = _fronts(reports, out / reports.name, results)
    for path, page in pages.items():
        place = path.relative_to(root)
        _copy_images(root, path, page, out)
        follow(page, partial(_address, root, path, pages))
        up = "../" * (len(place.parts) - 1)
        text = render(page, up, _navigation(up, reports, named, data), live.get(path.stem, "") if path in named else "")
        write_atomically(_made(out / place.with_suffix(".html")), text.encode())
    if (reports / GALLERY).is_dir():
        shutil.copytree(reports / GALLERY, out / reports.name / GALLERY)
    if duckdb_wasm is not None and data is not None:
        write_console(out, data, duckdb_wasm, _navigation("", reports, named, data))
    write_atomically(out / INDEX, _index(reports, named, pages, data).encode())
    return out / INDEX


def _emptied(out: Path) -> Path:
    """Return the folder without the site that was there. Errors: UsageError for a folder of something else."""
    entries = list(out.iterdir()) if out.is_dir() else []
    names, own = {entry.name for entry in entries if entry.suffix != ".partial"}, {STYLE, SCRIPT, INDEX}
    if not (names <= own or names >= own):
        raise UsageError(f"{printable(out)}: holds something else than a site; name a new or empty folder with --out")
    for entry in entries:
        if entry.name in own:
            continue  # what a site is known by is only ever replaced
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    return make_folder(out)


def _reached(root: Path, named: list[Path]) -> dict[Path, Page]:
    """Parse pages, and the pages that they link to, as far as they are within `root`."""
    pages: dict[Path, Page] = {}
    waiting = list(named)
    while waiting:
        path = waiting.pop()
        if path not in pages:
            pages[path] = parse(path.read_text(encoding="utf-8"))
            found = (_target(root, path, address) for address in addresses(pages[path]))
            waiting += [target for target in found if target is not None and target.suffix == ".md"]
    return pages


def _target(root: Path, page: Path, address: str) -> Path | None:
    """Return the file that a page means, if it is one within `root`."""
    parts = urlsplit(address)
    if parts.scheme or parts.netloc or not parts.path:
        return None
    path = Path(normpath(page.parent / unquote(parts.path)))
    hidden = any(part.startswith(".") for part in path.relative_to(root).parts) if path.is_relative_to(root) else True
    return path if not hidden and path.is_file() and path.resolve().is_relative_to(root) else None


def _address(root: Path, page: Path, pages: dict[Path, Page], address: str) -> str | None:
    """Return what an address is in the site; None if the site does not have it."""
    parts = urlsplit(address)
    if parts.scheme in ("http", "https", "mailto") or (not parts.path and not parts.scheme):
        return address
    target = _target(root, page, address)
    if target is not None and target in pages:
        target = target.with_suffix(".html")
    elif target is None or target.suffix not in _COPIED:
        return address if parts.path.startswith(f"{GALLERY}/") else None
    way = quote(PurePosixPath(relpath(target, page.parent)).as_posix())
    return way + (f"#{parts.fragment}" if parts.fragment else "")


def _copy_images(root: Path, path: Path, page: Page, out: Path) -> None:
    for address in addresses(page):
        target = _target(root, path, address)
        if target is not None and target.suffix in _COPIED:
            shutil.copyfile(target, _made(out / target.relative_to(root)))


def _made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _fronts(reports: Path, out: Path, results_dir: Path | None) -> dict[str, str]:
    """Return the live plot of each published experiment that has a plot."""
    data = published_data(reports)
    if data is None:
        return {}
    found = {}
    for name in published_experiments(data):
        if not (reports / name / FRONT).is_file():
            continue
        with import_published(reports / DATA, name) as own, own.held():
            if (standings := read_points(own, name)) is None:
                continue
            sample: Sample | None = None
            if results_dir is not None:
                images = PageImages(results_dir, stored_images(open_results(results_dir), name))
                sample = write_images(own, name, images, out)
            found[name] = front_html(standings, sample)
    return found


def _navigation(up: str, reports: Path, named: list[Path], data: Path | None) -> str:
    links = [f'<a href="{up}{INDEX}">All pages</a>']
    links += [
        f'<a href="{up}{quote(reports.name)}/{quote(path.stem)}.html">{path.stem}</a>'
        for path in named
        if path.stem in ("core", "findings", "metrics", "embeddings")
    ]
    links += [f'<a href="{up}{CONSOLE}">SQL</a>'] if data is not None else []
    return " ".join(links)


def _index(reports: Path, named: list[Path], pages: dict[Path, Page], data: Path | None) -> str:
    text = "\n".join(
        ["# blendbench: published results", "", "| page | what it says |", "| --- | --- |"]
        + [
            f"| [{pages[path].title}]({quote(reports.name)}/{quote(path.stem)}.html) | {_first(path)} |"
            for path in named
        ]
    )
    return render(parse(text), "", _navigation("", reports, named, data))


def _first(path: Path) -> str:
    """Return the first sentence of a page, without what would break a table."""
    lines = path.read_text(encoding="utf-8").splitlines()
    start = next((n for n, line in enumerate(lines) if line and not line.startswith(("#", "!", "|", "-", "<"))), None)
    if start is None:
        return ""
    end = next((n for n, line in enumerate(lines[start:], start) if not line), len(lines))
    sentence = " ".join(lines[start:end]).partition(". ")[0].rstrip(".").replace("|", "\\|")
    return sentence if "](" not in sentence else _plain(sentence)


def _plain(text: str) -> str:
    """Return markdown text without its links."""
    page = parse(text)
    return "".join(
        f"`{part.content}`" if part.type == "code_inline" else part.content
        for token in page.tokens
        for part in token.children or ()
        if part.type in ("text", "code_inline")
    )
