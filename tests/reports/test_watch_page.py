"""The page of `blendbench watch` in a real browser, opened from the disk: it loads itself again, and asks nobody."""

import json
from pathlib import Path
from typing import Any

import pytest
from synthetic_results import write_results
from test_gallery_browser import chromium, pytestmark  # noqa: F401

from blendbench.reports.check import write_check
from blendbench.reports.gallery.links import find_gallery
from blendbench.reports.gallery.write import write_gallery
from blendbench.reports.watch_page import WatchPage
from blendbench.results.store import open_results
from blendbench.verdict import gate

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed: pip install -e '.[dev]'")
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.support.wait import WebDriverWait  # noqa: E402


@pytest.fixture(name="folder", scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("results")
    write_results(results, items=12)
    return results / "check"


def test_the_page_loads_itself_again_and_asks_nobody(chromium: Any, folder: Path) -> None:  # noqa: F811
    results = open_results(folder.parent)
    write_gallery(results, folder.parent)
    verdict = gate(results, "lerp:alpha=0.3,align=area", "text_only", "core", tolerated=None)
    page = WatchPage(folder, "<idea>.py")

    def text() -> str:
        found: str = chromium.find_element(By.TAG_NAME, "body").text
        return found

    chromium.get(page.address)
    assert "No verdict yet" in text()
    page.state("checking <idea>.py ...")
    WebDriverWait(chromium, 10).until(lambda _: "checking <idea>.py" in text())
    write_check(results, folder.parent, [verdict], folder)
    page.show([verdict], find_gallery(folder.parent / "gallery" / "core", seen_from=folder), "36 cells generated")
    WebDriverWait(chromium, 10).until(lambda _: verdict.candidate in text())
    images = chromium.find_elements(By.TAG_NAME, "img")
    assert len(images) >= 1
    assert all(image.get_property("naturalWidth") > 0 for image in images)
    assert chromium.find_element(By.LINK_TEXT, "Compare all images").get_property("href").startswith("file://")
    page.state("idea.py:7: SyntaxError: <b>", error=True)
    WebDriverWait(chromium, 10).until(lambda _: "idea.py:7: SyntaxError: <b>" in text())
    assert verdict.candidate in text()
    page.close()
    WebDriverWait(chromium, 10).until(lambda _: "no longer watched" in text())
    assert [entry for entry in chromium.get_log("browser") if "watch.js" not in entry["message"]] == []
    messages = [json.loads(entry["message"])["message"] for entry in chromium.get_log("performance")]
    asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert asked and all(url.startswith("file://") for url in asked)
