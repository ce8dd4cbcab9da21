"""The gallery in a real browser, opened from the disk: it loads, filters, compares, takes keys, and asks nobody."""

import io
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from synthetic_results import CONFIGURATIONS, INCOMPLETE, NO_OP, item_name, write_results

from blendbench.reports.gallery.links import comparison_link, grid_link
from blendbench.reports.gallery.write import write_gallery
from blendbench.results.store import open_results
from blendbench.results.votes import take_in_votes

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed: pip install -e '.[dev]'")
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.select import Select  # noqa: E402
from selenium.webdriver.support.wait import WebDriverWait  # noqa: E402

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="no Chromium here: apt-get install chromium chromium-driver"
)
ITEMS, SEEDS = 12, 2
WORST = "canary"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    write_results(folder, items=ITEMS)
    write_gallery(open_results(folder), folder)
    return folder


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    downloads = str(tmp_path_factory.mktemp("downloads"))
    options.add_experimental_option("prefs", {"download.default_directory": downloads})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    driver.set_window_size(1300, 900)
    driver.downloads = Path(downloads)
    yield driver
    driver.quit()


@pytest.fixture
def page(chromium: Any, results: Path) -> Iterator[Callable[[str], Any]]:
    """Opens an address within the gallery; afterwards the console must be empty and nothing fetched from outside."""

    def opened(link: str = grid_link()) -> Any:
        chromium.get("about:blank")  # an address that differs after # alone would not load anew
        chromium.get((results / "gallery" / "core").as_uri() + "/" + link)
        return chromium

    yield opened
    assert chromium.get_log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in chromium.get_log("performance")]
    asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    inside = (results / "gallery" / "core").as_uri()
    assert asked
    assert [url for url in asked if not url.startswith((inside, "data:", "about:", "blob:"))] == []


def until(driver: Any, condition: Callable[[], object]) -> None:
    """Wait until a condition holds; the page renders when the browser has time."""
    WebDriverWait(driver, 10, 0.05).until(lambda _: condition())


def press(driver: Any, *keys: str) -> None:
    """Keys to whatever has the focus."""
    for key in keys:
        driver.switch_to.active_element.send_keys(key)


def one(driver: Any, selector: str) -> Any:
    return driver.find_element(By.CSS_SELECTOR, selector)


def state(driver: Any) -> dict[str, str]:
    """Return the address's state."""
    return driver.execute_script("return gallery.state()")  # type: ignore[no-any-return]


def shown(driver: Any) -> int:
    """Return the number of images that pass the filters."""
    return int(one(driver, "#shown").get_attribute("textContent").split()[0])


TOTAL = len(CONFIGURATIONS) * ITEMS * SEEDS


def test_the_grid_loads_and_far_rows_wait(page: Callable[..., Any]) -> None:
    driver = page()
    assert "core" in driver.title
    assert one(driver, "nav [aria-current=page]").text == "All images"
    assert shown(driver) == TOTAL
    until(driver, lambda: driver.find_elements(By.CSS_SELECTOR, "#grid td img"))
    filled = "return document.querySelectorAll('#grid tbody tr > th').length"
    before = driver.execute_script(filled)
    assert 0 < before < ITEMS * SEEDS
    driver.execute_script("document.querySelector('#scroller').scrollTop = 1e6")
    until(driver, lambda: driver.execute_script(filled) > before)
    loaded = "return [...document.querySelectorAll('#grid td img')].some((i) => i.complete && i.naturalWidth === 128)"
    until(driver, lambda: driver.execute_script(loaded))


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"show": "no-ops"}, ITEMS * SEEDS),
        ({"show": "controls"}, 2 * ITEMS * SEEDS),
        ({"show": "failed"}, SEEDS),
        (
            {"metric": "grid_energy", "min": 0.25},
            2 * ITEMS * SEEDS,
        ),  # canary .31, lerp with damage .8 * .8, vision .235
        ({"columns": "lerp"}, 8 * ITEMS * SEEDS),
        ({"seed": 1}, TOTAL // 2),
        ({"find": item_name(3)}, len(CONFIGURATIONS) * SEEDS),
        ({"find": "nothing like it"}, 0),
    ],
)
def test_filters_in_the_address(page: Callable[..., Any], filters: dict[str, Any], expected: int) -> None:
    driver = page(grid_link(**filters))
    if "min" in filters:
        values = driver.execute_script("return gallery.data.cells.map((c) => c[7][arguments[0]])", _metric(driver))
        expected = sum(isinstance(value, float) and value >= filters["min"] for value in values)
        assert 0 < expected < TOTAL
    assert shown(driver) == expected
    assert one(driver, "#nothing").is_displayed() == (expected == 0)


def _metric(driver: Any) -> int:
    return int(driver.execute_script("return gallery.data.metrics.findIndex((m) => m.name === 'grid_energy')"))


def test_filters_by_hand_change_the_address_and_back(page: Callable[..., Any]) -> None:
    driver = page()
    one(driver, "#filters [name=find]").send_keys(item_name(3))
    until(driver, lambda: shown(driver) == len(CONFIGURATIONS) * SEEDS)
    assert state(driver)["find"] == item_name(3)
    one(driver, "#filters [type=reset]").click()
    until(driver, lambda: shown(driver) == TOTAL)


def test_rows_are_ordered_by_a_column_worst_first(page: Callable[..., Any]) -> None:
    driver = page(grid_link(metric="grid_energy", sort="text_only"))
    until(driver, lambda: len(driver.find_elements(By.CSS_SELECTOR, "#grid tbody tr:first-child a.cell")) > 0)
    script = "return [...document.querySelectorAll('#grid tbody tr')].map((l) => l.cells[1]).filter(Boolean)"
    values = [float(cell.find_element(By.CSS_SELECTOR, ".value").text) for cell in driver.execute_script(script)]
    assert values == sorted(values, reverse=True)
    assert len(set(values)) > 1


def test_a_whole_label_shows_that_configuration_beside_the_baseline(page: Callable[..., Any]) -> None:
    # Both words of this label, by themselves, are in other labels too.
    driver = page(
        grid_link(columns="lerp:alpha=0.1,align=area", metric="grid_energy", sort="lerp:alpha=0.1,align=area")
    )
    heads = driver.find_elements(By.CSS_SELECTOR, "#grid thead th a")
    names = [head.get_attribute("textContent").replace("\u200b", "").removesuffix(" ↓") for head in heads]
    assert names == ["text_only", "lerp:alpha=0.1,align=area"]


def test_failures_and_no_ops_are_reported_in_words(page: Callable[..., Any]) -> None:
    driver = page(grid_link(show="failed"))
    until(driver, lambda: "conditioning has NaN" in one(driver, "#grid tbody").text)
    driver = page(grid_link(show="no-ops"))
    until(driver, lambda: "no-op" in one(driver, "#grid tbody").text)
    assert NO_OP.split(":")[0] in one(driver, "#grid thead").text.replace("\u200b", "").replace("\n", "")


LINK = comparison_link(item_name(2), 1, "text_only", WORST)


def test_the_slider_uncovers_b(page: Callable[..., Any]) -> None:
    driver = page(LINK)
    until(driver, lambda: one(driver, "#stage .split img"))
    top = one(driver, "#stage .split img:nth-child(2)")
    assert "50%" in top.value_of_css_property("clip-path")
    one(driver, "#split").send_keys(Keys.HOME)
    until(driver, lambda: "0%" in top.value_of_css_property("clip-path"))
    press(driver, Keys.ESCAPE, ".", ".")  # out of the input, then the page's own keys
    until(driver, lambda: "10%" in top.value_of_css_property("clip-path"))
    frame = one(driver, "#stage .split")
    webdriver.ActionChains(driver).move_to_element(frame).click_and_hold().move_by_offset(20, 0).release().perform()
    until(driver, lambda: 50 < float(one(driver, "#split").get_attribute("value")) < 60)


def test_a_deep_link_shows_both_numbers_and_their_difference(page: Callable[..., Any], results: Path) -> None:
    driver = page(LINK)
    rows = open_results(results).query(
        "SELECT label, grid_energy FROM cell_scores WHERE item = ? AND seed = 1 ORDER BY label", [item_name(2)]
    )
    values = rows.set_index("label")["grid_energy"]
    line = next(row for row in one(driver, "#numbers").text.splitlines() if row.startswith("Grid energy"))
    difference = values[WORST] - values["text_only"]
    assert line == f"Grid energy {values['text_only']:.4f} {values[WORST]:.4f} +{difference:.4f} worse"


def test_a_link_to_what_is_not_there_says_so(page: Callable[..., Any]) -> None:
    assert "no lrep" in one(page(comparison_link(item_name(2), 1, "text_only", "lrep")), "#stage").text
    assert "no item gone" in one(page(comparison_link("gone", 1, "text_only", WORST)), "#stage").text


def test_keys_walk_through_items_configurations_and_views(page: Callable[..., Any]) -> None:
    driver = page(LINK)
    press(driver, Keys.ARROW_RIGHT)
    until(driver, lambda: (state(driver)["item"], state(driver)["seed"]) == (item_name(3), "0"))
    press(driver, Keys.ARROW_LEFT, Keys.ARROW_LEFT)
    until(driver, lambda: (state(driver)["item"], state(driver)["seed"]) == (item_name(2), "0"))
    press(driver, Keys.ARROW_UP)
    until(driver, lambda: state(driver)["b"] != WORST)
    press(driver, "s")
    until(driver, lambda: state(driver)["b"] == "text_only")
    for key, view in zip("13452", ("side", "flicker", "difference", "patch_grid", "slider"), strict=True):
        press(driver, key)
        until(driver, lambda view=view: one(driver, "#stage").get_attribute("data-view") == view)  # type: ignore[misc]
    press(driver, Keys.ESCAPE)
    until(driver, lambda: one(driver, "#grid").is_displayed())


def test_keys_walk_through_the_grid_and_open_an_image(page: Callable[..., Any]) -> None:
    driver = page()
    until(driver, lambda: driver.find_elements(By.CSS_SELECTOR, "#grid td img"))
    body = one(driver, "body")
    body.send_keys(Keys.ARROW_RIGHT)
    press(driver, Keys.ARROW_RIGHT, Keys.ARROW_DOWN, Keys.ENTER)
    until(driver, lambda: one(driver, "#compare").is_displayed())
    columns = driver.execute_script("return gallery.labels")
    assert (state(driver)["item"], state(driver)["seed"], state(driver)["b"]) == (item_name(0), "1", columns[1])


def test_the_flicker_alternates_and_stops(page: Callable[..., Any]) -> None:
    driver = page(comparison_link(item_name(0), 0, "text_only", WORST, "flicker"))
    captions = set()

    def both() -> bool:
        captions.add(one(driver, "#stage figcaption").text)
        return len(captions) == 2

    until(driver, both)
    assert captions == {"A: text_only", f"B: {WORST}"}
    press(driver, " ")
    assert not one(driver, "#running").is_selected()
    held = one(driver, "#stage figcaption").text
    press(driver, " ")
    assert one(driver, "#stage figcaption").text != held


def test_the_difference_is_exact_though_the_canvas_cannot_be_read(page: Callable[..., Any], results: Path) -> None:
    driver = page(comparison_link(item_name(0), 0, "text_only", WORST, "difference"))
    until(driver, lambda: one(driver, "#stage canvas").get_property("width") == 128)
    Select(one(driver, "#zoom")).select_by_visible_text("100 %")
    Select(one(driver, "#gain")).select_by_visible_text("×4")
    until(driver, lambda: one(driver, "#stage canvas").size["width"] == 128)
    with Image.open(io.BytesIO(one(driver, "#stage canvas").screenshot_as_png)) as image:
        seen = np.asarray(image.convert("RGB"), int)
    rows = open_results(results).query(
        "SELECT image_sha256 AS name FROM cells WHERE item = ? AND seed = 0 AND label IN (?, 'text_only')",
        [item_name(0), WORST],
    )
    a, b = (
        np.asarray(Image.open(results / "images" / name[:2] / f"{name}.png").convert("RGB"), int)
        for name in rows["name"]
    )
    assert np.array_equal(seen, np.minimum(4 * abs(a - b), 255))
    assert seen.max() > 100


def test_the_patch_grid_view_measures_a_grid(page: Callable[..., Any]) -> None:
    driver = page(comparison_link(item_name(0), 0, "text_only", WORST, "patch_grid"))
    until(driver, lambda: len(driver.find_elements(By.CSS_SELECTOR, "#stage .measured")) == 2)
    assert "grey levels" in one(driver, "#stage .measured").text


def test_blind_votes_are_exported_and_read_back(page: Callable[..., Any], results: Path) -> None:
    driver = page("index.html#blind=1&question=artifact")
    until(driver, lambda: driver.find_elements(By.CSS_SELECTOR, "#pair img"))
    assert not any(label in one(driver, "#pair").text for label in CONFIGURATIONS)
    press(driver, Keys.ARROW_LEFT, Keys.ARROW_DOWN, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, "u")
    until(driver, lambda: one(driver, "#count").text == "3 votes")
    driver.refresh()
    until(driver, lambda: one(driver, "#count").text == "3 votes")
    one(driver, "#export").click()
    exported = driver.downloads / "votes-core.json"
    until(driver, lambda: exported.is_file() and exported.stat().st_size)  # an empty one stands for it at first
    assert [vote["choice"] for vote in json.loads(exported.read_text())["votes"]] == ["left", "equal", "right"]
    assert take_in_votes(exported, results) == (3, 3)
    assert take_in_votes(exported, results) == (0, 3)
    rows = open_results(results).query("SELECT DISTINCT vote_id, preference FROM vote_differences")
    assert sorted(rows["preference"]) == [-1, 0, 1]


@pytest.mark.parametrize("link", ["index.html", LINK, "index.html#blind=1"])
def test_a_phone_needs_no_scrolling_sideways(page: Callable[..., Any], link: str) -> None:
    driver = page(link)
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    )
    try:
        driver.refresh()
        assert driver.execute_script("return [document.documentElement.scrollWidth, innerWidth]") == [360, 360]
        main = "const main = document.querySelector('main:not([hidden])'); return [main.scrollWidth, main.clientWidth]"
        assert len(set(driver.execute_script(main))) == 1
        too_wide = "return [...document.querySelectorAll('main:not([hidden]) :is(select, input, button)')]"
        too_wide += ".filter((e) => e.getBoundingClientRect().right > innerWidth + 1).map((e) => e.outerHTML)"
        assert driver.execute_script(too_wide) == []
    finally:
        driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_an_incomplete_configuration_is_marked(page: Callable[..., Any]) -> None:
    driver = page(grid_link(columns=INCOMPLETE.split(":")[0]))
    assert f"{(ITEMS - 1) * SEEDS} of {ITEMS * SEEDS} ok" in one(driver, "#grid thead").text
