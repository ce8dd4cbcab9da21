"""Links into the gallery lead to what they name, and pages without a gallery have none."""

import json
import re
import shutil
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlparse

import pytest
from rich.console import Console
from synthetic_results import CONFIGURATIONS, item_name, white_plots, write_results

from blendbench.core.errors import UsageError
from blendbench.reports import leaderboard
from blendbench.reports.gallery.links import find_gallery, named_gallery
from blendbench.reports.gallery.write import write_gallery
from blendbench.reports.gate_formats import FORMS, as_terminal, with_links
from blendbench.reports.leaderboard import write_leaderboard
from blendbench.reports.published import differing, publish
from blendbench.results.store import open_results
from blendbench.verdict import gate

REPOSITORY = Path(__file__).parents[2]
LINK = re.compile(r"\]\(([^()\s]+)\)")


def links(page: Path) -> list[str]:
    """Return the targets of links and images of a markdown page, without what is in code blocks."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return LINK.findall(text)


def check_leads_to_something(link: str, folder: Path) -> None:
    """The file is there, and if it is a gallery's, so is what the part after # names."""
    address = urlparse(link)
    target = folder / unquote(address.path) if not address.scheme else Path(unquote(address.path))
    assert target.exists(), link
    if target.name != "index.html":
        return
    text = target.with_name("data.js").read_text(encoding="utf-8")
    data = json.loads(text.removeprefix("gallery.setData(").removesuffix(");\n"))
    state = {key: values[0] for key, values in parse_qs(address.fragment).items()}
    labels = [entry["label"] for entry in data["configurations"]]
    items = [entry["id"] for entry in data["items"]]
    assert {state[key] for key in ("a", "b", "columns", "sort") if key in state} <= set(labels), link
    assert "metric" not in state or state["metric"] in [metric["name"] for metric in data["metrics"]], link
    if "item" in state:
        wanted = (items.index(state["item"]), data["seeds"].index(int(state["seed"])))
        shown = {cell[0] for cell in data["cells"] if (cell[1], cell[2]) == wanted and cell[4] >= 0}
        assert {labels.index(state["a"]), labels.index(state["b"])} <= shown, link


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    write_results(folder, items=6)
    return folder


@pytest.fixture(autouse=True)
def _empty_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write empty files for the plots that pages link to, which take most of a page's time."""
    for name in ("plot_front", "plot_doses", "write_residuals"):
        monkeypatch.setattr(leaderboard, name, lambda *arguments: arguments[-1].touch())


def gallery_links(page: Path) -> list[str]:
    return [link for link in links(page) if "index.html" in link]


def test_a_leaderboard_with_its_gallery_links_to_every_configuration_and_to_the_extremes(
    folder: Path, tmp_path: Path
) -> None:
    board, _, page = write_leaderboard(folder, tmp_path, with_gallery=True)
    found = gallery_links(page)
    complete = sum(entry.complete and entry.label != board.baseline for entry in board.configurations)
    assert sum("columns=" in link for link in found) == complete == len(CONFIGURATIONS) - 2
    assert sum("item=" in link for link in found) >= 2
    assert all(link.startswith("gallery/core/index.html") for link in found)
    for link in links(page):
        check_leads_to_something(link, tmp_path)


def test_a_page_links_only_to_a_gallery_that_goes_where_it_goes(folder: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    shutil.copytree(folder, results)
    write_gallery(open_results(results), results)
    _, _, elsewhere = write_leaderboard(results, tmp_path / "reports")
    assert gallery_links(elsewhere) == []
    _, _, inside = write_leaderboard(results, results / "reports")
    assert gallery_links(inside)[0] == "../gallery/core/index.html"
    for link in links(inside):
        check_leads_to_something(link, inside.parent)


@white_plots()
def test_a_published_page_whose_gallery_is_gone_is_found_out(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "reports"
    write_gallery(open_results(folder), folder, out / "gallery" / "core")
    publish(folder, out, ["core"])
    assert differing(out, ["core"]) == []
    for link in (found := links(out / "core.md")):
        check_leads_to_something(link, out)
    assert any("item=" in link for link in found)
    shutil.rmtree(out / "gallery")
    assert differing(out, ["core"]) == ["core"]


def test_a_gallery_that_is_older_than_the_images_is_not_linked_to(folder: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    shutil.copytree(folder, results)
    write_gallery(open_results(results), results)
    gallery = find_gallery(results / "gallery" / "core")
    assert gallery is not None and gallery.images is not None
    label, baseline = "canary", "text_only"
    cells = [(name, gallery.images[name, item_name(0), 1]) for name in (label, baseline)]
    link = gallery.comparison(item_name(0), 1, *cells)
    assert link is not None
    check_leads_to_something(link, results)
    assert gallery.comparison(item_name(0), 1, (label, "images/00/other.png"), cells[1]) is None
    assert gallery.comparison(item_name(0), 2, *cells) is None
    assert gallery.comparison("item-99", 1, *cells) is None
    assert gallery.column("lrep", "grid_energy") is None
    assert find_gallery(results) is None


def test_the_worst_items_of_a_verdict_are_linked(folder: Path, tmp_path: Path) -> None:
    results = open_results(folder)
    write_gallery(results, folder, tmp_path / "a gallery")
    verdict = gate(results, "canary", "text_only")
    linked = with_links(verdict, named_gallery(str(tmp_path / "a gallery")))
    assert len(linked.worst) == 5
    console = Console(force_terminal=True, width=80)
    with console.capture() as captured:
        console.print(as_terminal(linked))
    text = captured.get()
    for entry in linked.worst:
        assert entry.link is not None and entry.link in text
        check_leads_to_something(entry.link, tmp_path)
    assert [entry["link"] for entry in json.loads(FORMS["json"](linked))["worst_items"]] == [
        entry.link for entry in linked.worst
    ]
    assert "](" not in FORMS["markdown"](verdict)


@pytest.mark.parametrize("place", ["https://pages.example/core", "https://pages.example/core/index.html"])
def test_a_gallery_on_the_web_is_taken_at_its_word(folder: Path, place: str) -> None:
    linked = with_links(gate(open_results(folder), "canary", "text_only"), named_gallery(place))
    assert f"](https://pages.example/core/index.html#item={linked.worst[0].item}&seed=" in FORMS["markdown"](linked)


def test_a_folder_without_a_gallery_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no gallery there"):
        named_gallery(str(tmp_path))


PAGES = [REPOSITORY / "README.md"] + [
    page
    for folder in ("docs", "metrics", "reports", "bench", "prompts")
    for page in (REPOSITORY / folder).rglob("*.md")
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(REPOSITORY).as_posix())
def test_no_page_of_this_repository_has_a_dead_link(page: Path) -> None:
    for link in links(page):
        if not link.startswith(("http://", "https://", "#", "mailto:")):
            check_leads_to_something(link, page.parent)
