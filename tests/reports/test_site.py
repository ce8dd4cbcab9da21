"""The site: every link leads somewhere, plots say what their points are, and nothing else is overwritten."""

import json
import re
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from synthetic_results import CONFIGURATIONS, white_plots, write_results
from test_gallery_browser import chromium, one, pytestmark  # noqa: F401

from blendbench.core.errors import UsageError
from blendbench.reports.published import publish
from blendbench.reports.site.html import SCRIPT, STYLE
from blendbench.reports.site.write import INDEX, write_site
from blendbench.reports.standings import read_points
from blendbench.results.export import import_published

By = pytest.importorskip("selenium.webdriver.common.by").By
LERP = "lerp:alpha=0.1,align=area"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    write_results(folder, items=12)
    return folder


@pytest.fixture(scope="module")
def reports(results: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("root")
    with white_plots():
        publish(results, root / "reports")
    (root / "docs").mkdir()
    (root / "docs" / "how.md").write_text("# How\n\n## A *b*, `c`!\n\n[back](../reports/notes.md)\n")
    (root / ".secret.md").write_text("# Secret\n")
    (root.parent / "outside.md").write_text("# Outside\n")
    (root / "reports" / "notes.md").write_text(
        "# Notes\n\n[how](../docs/how.md#a-b-c) [secret](../.secret.md) [outside](../../outside.md) [none](none.md)"
        " [web](https://example.org/a.md)\n"
    )
    return root / "reports"


@pytest.fixture(scope="module")
def site(reports: Path, results: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site") / "out"
    assert write_site(reports, out, results) == out / "index.html"
    return out


def details(page: Path) -> list[dict[str, Any]]:
    found = re.search(r'<script type="application/json">(.*?)</script>', page.read_text())
    return list(json.loads(found[1]).values()) if found else []


def test_every_link_and_image_is_there_and_so_is_its_anchor(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert {path.relative_to(site).as_posix() for path in pages} == {
        "index.html",
        "docs/how.html",
        *(f"reports/{name}.html" for name in ("core", "embeddings", "findings", "notes")),
    }
    seen = 0
    for page in pages:
        for found in re.findall(r'(?:href|src)="([^"]*)"', page.read_text()):
            parts = urlsplit(unescape(found))
            if parts.scheme:
                continue
            target = page.parent / unquote(parts.path) if parts.path else page
            assert target.is_file(), (page, found)
            assert not parts.fragment or f'id="{parts.fragment}"' in target.read_text(), (page, found)
            seen += 1
    assert seen > 20


def test_what_is_outside_or_hidden_is_named_and_not_taken_along(site: Path) -> None:
    text = (site / "reports" / "notes.html").read_text()
    assert 'href="../docs/how.html#a-b-c"' in text
    assert 'href="https://example.org/a.md"' in text
    for word in ("secret", "outside", "none"):
        assert f"<a>{word}</a>" in text
    assert not list(site.rglob("*secret*")) + list(site.rglob("*outside*"))


def test_the_points_are_those_of_the_data(site: Path, reports: Path) -> None:
    with import_published(reports / "data", "core") as own:
        standings = read_points(own, "core")
    assert standings is not None
    points = {point["label"]: point for point in details(site / "reports" / "core.html")}
    assert points.keys() == CONFIGURATIONS.keys()
    row = standings.known.index[LERP]
    gain, loss = standings.gains[row], 100 * standings.losses[row]
    assert points[LERP]["figures"].startswith(f"{gain:z.2f} style")
    assert f" for {loss:z.1f} % of the prompt" in points[LERP]["figures"]
    for prompt, *files in points[LERP]["images"]:
        assert prompt
        assert all((site / "reports" / file).is_file() for file in files if file)
    assert len({files[-1] for files in points[LERP]["images"]}) > 1


def test_without_results_the_points_have_figures_alone(reports: Path, tmp_path: Path) -> None:
    write_site(reports, tmp_path / "site")
    points = details(tmp_path / "site" / "reports" / "core.html")
    assert len(points) == len(CONFIGURATIONS)
    assert all(point["images"] == [] for point in points)


def test_the_same_pages_give_the_same_bytes_and_replace_what_was_there(
    site: Path, reports: Path, results: Path, tmp_path: Path
) -> None:
    write_site(reports, tmp_path, results)
    (tmp_path / "old.html").write_text("of an earlier site")
    write_site(reports, tmp_path, results)
    here, there = (
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in (tmp_path, site)
    )
    assert here == there


def test_a_folder_of_something_else_is_left_alone(reports: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match="holds something else than a site"):
        write_site(reports, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    with pytest.raises(UsageError, match="no pages"):
        write_site(tmp_path, tmp_path / "site")


def test_results_that_are_not_there_leave_an_earlier_site_as_it_was(reports: Path, tmp_path: Path) -> None:
    index = write_site(reports, tmp_path / "site")
    before = index.read_bytes()
    with pytest.raises(UsageError, match="no results here"):
        write_site(reports, tmp_path / "site", tmp_path / "none")
    assert index.read_bytes() == before


def test_tables_are_sorted_and_points_answer_to_the_keyboard(site: Path, chromium: Any) -> None:  # noqa: F811
    chromium.get("about:blank")
    chromium.get_log("performance")
    chromium.get((site / "reports" / "core.html").as_uri())
    point = next(p for p in chromium.find_elements(By.CSS_SELECTOR, ".point") if LERP in p.get_attribute("innerHTML"))
    chromium.execute_script("arguments[0].focus()", point)
    assert one(chromium, ".detail code").text == LERP
    images = chromium.find_elements(By.CSS_SELECTOR, ".detail img")
    chromium.execute_async_script(
        "Promise.all([...document.images].map(i => i.decode().catch(() => 0))).then(arguments[0])"
    )
    assert images
    assert all(image.get_property("naturalWidth") > 0 for image in images)
    chromium.execute_script("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
    table = one(chromium, "table")
    head = table.find_element(By.CSS_SELECTOR, "th button")
    column = "return [...arguments[0].tBodies[0].rows].map(row => row.cells[0].textContent)"
    head.click()
    falling = chromium.execute_script(column, table)
    assert head.find_element(By.XPATH, "..").get_attribute("aria-sort") == "descending"
    head.click()
    assert chromium.execute_script(column, table) == falling[::-1]
    assert falling == sorted(falling, reverse=True)
    assert chromium.get_log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in chromium.get_log("performance")]
    asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert asked
    assert [url for url in asked if not url.startswith(site.as_uri())] == []


def test_a_phone_shows_every_page_without_scrolling_sideways(site: Path, chromium: Any) -> None:  # noqa: F811
    size = chromium.get_window_size()
    try:
        for page in site.rglob("*.html"):
            chromium.get(page.as_uri())
            chromium.execute_cdp_cmd(
                "Emulation.setDeviceMetricsOverride",
                {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True},
            )
            assert chromium.execute_script("return document.documentElement.scrollWidth") <= 390, page
        chromium.get((site / "reports" / "core.html").as_uri())
        size_of_text = "const s = document.querySelector('.live svg'); return parseFloat(getComputedStyle(s).fontSize)"
        assert chromium.execute_script(f"{size_of_text} * s.clientWidth / s.viewBox.baseVal.width") >= 10
    finally:
        chromium.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        chromium.set_window_size(size["width"], size["height"])


@pytest.mark.parametrize("left", [[], [STYLE], [STYLE, SCRIPT], [STYLE, SCRIPT, INDEX]])
def test_what_an_interruption_left_is_written_again(reports: Path, tmp_path: Path, left: list[str]) -> None:
    for name in [*left, "0.partial"]:
        (tmp_path / name).write_text("half")
    assert "half" not in write_site(reports, tmp_path).read_text()
