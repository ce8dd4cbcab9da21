"""The SQL console in a real browser, from the disk: it answers, stops, and reaches nothing but its data."""

import hashlib
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from synthetic_results import white_plots, write_results
from test_gallery_browser import chromium, one, pytestmark, until  # noqa: F401

from blendbench.cli.site import site as write
from blendbench.core.errors import UsageError
from blendbench.core.files import cache_folder
from blendbench.reports.published import publish
from blendbench.reports.site import duckdb_wasm
from blendbench.reports.site.write import write_site
from blendbench.results.export import open_folder

By = pytest.importorskip("selenium.webdriver.common.by").By
Keys = pytest.importorskip("selenium.webdriver.common.keys").Keys
PACKAGE = cache_folder() / duckdb_wasm.ARCHIVE
needs_package = pytest.mark.skipif(not PACKAGE.is_file(), reason="no DuckDB-Wasm here: make duckdb-wasm")
GAINS = "SELECT label, metric, mean FROM leaderboard WHERE role = 'gain' ORDER BY ALL"


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("root")
    write_results(folder / "results", items=12)
    with white_plots():
        publish(folder / "results", folder / "reports")
    return folder / "reports"


@pytest.fixture(scope="module")
def site(reports: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site")
    write_site(reports, out, duckdb_wasm=PACKAGE)
    return out


@pytest.fixture
def console(site: Path, chromium: Any) -> Any:  # noqa: F811
    chromium.get("about:blank")
    chromium.get((site / "sql.html").as_uri())
    until(chromium, lambda: one(chromium, "#status").text == "Ready")
    return chromium


def answer(console: Any, query: str) -> list[list[str]]:
    """Return the cells that a query shows, or [] after what went wrong."""
    field = one(console, "#query")
    field.clear()
    field.send_keys(query, Keys.CONTROL, Keys.ENTER)
    until(console, lambda: one(console, "#status").text not in ("Running", "Ready", "Cancelled"))
    script = "return [...document.querySelectorAll('#result tr')].map(r => [...r.cells].map(c => c.textContent))"
    return list(console.execute_script(script))


@needs_package
def test_the_tables_hold_what_the_command_line_reads(console: Any, reports: Path) -> None:
    with open_folder(reports) as results:
        expected = results.rows(GAINS)
        pairs = results.rows("SELECT count(*), round(sum(difference), 6) FROM pairs")
    _, *rows = answer(console, GAINS)
    assert [row[:2] for row in rows] == [list(row[:2]) for row in expected]
    assert [float(row[2]) for row in rows] == pytest.approx([row[2] for row in expected], rel=1e-5)
    _, (count, total) = answer(console, "SELECT count(*), round(sum(difference), 6) FROM pairs")
    assert (int(count), float(total)) == pytest.approx(pairs[0], abs=1e-5)


@needs_package
def test_every_example_answers_and_values_look_as_in_duckdb(console: Any) -> None:
    for button in console.find_elements(By.CSS_SELECTOR, "button[data-query]"):
        button.click()
        until(console, lambda: " rows in " in one(console, "#status").text)
        assert one(console, "#result th button").text
    assert answer(console, "SELECT 'a,\"b' AS x, NULL AS y, '' AS z, [1, 2] AS l -- end") == [
        ["x", "y", "z", "l"],
        ['a,"b', "NULL", "", "[1, 2]"],
    ]
    assert ["leaderboard"] in answer(console, "/* all */ SHOW TABLES;")
    assert one(console, "#result").get_attribute("tabindex") == "0"


@needs_package
def test_a_query_stays_in_the_page(console: Any) -> None:
    for query in ("FROM 'https://example.org/a.csv'", "FROM read_csv('/etc/passwd')"):
        assert answer(console, query) == []
        assert "Permission Error" in one(console, "#error").text
    assert answer(console, "LOAD httpfs") == answer(console, "COPY items TO 'x.csv'") == []
    asked = "fetch('https://example.org/').then(() => 'sent', () => 'refused').then(arguments[0])"
    assert console.execute_async_script(asked) == "refused"


@needs_package
def test_a_query_is_cancelled_and_the_next_one_answers(console: Any) -> None:
    field = one(console, "#query")
    field.clear()
    field.send_keys("SELECT count(*) FROM range(10000000) a, range(100000) b WHERE a.range % 7 = b.range % 5")
    one(console, "#run").click()
    until(console, lambda: one(console, "#cancel").is_enabled())
    one(console, "#cancel").click()
    until(console, lambda: one(console, "#status").text == "Cancelled")
    assert answer(console, "SELECT 42 AS n") == [["n"], ["42"]]


@needs_package
def test_a_result_is_downloaded_whole(console: Any) -> None:
    answer(console, "SELECT range AS n, 'a,b' AS t FROM range(1200)")
    assert "the first 500 are shown" in one(console, "#status").text
    one(console, "#download").click()
    file = console.downloads / "result.csv"
    until(console, file.is_file)
    assert pd.read_csv(file).equals(pd.DataFrame({"n": range(1200), "t": "a,b"}))


@needs_package
def test_a_phone_scrolls_the_result_alone(console: Any) -> None:
    phone = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    console.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    try:
        answer(console, "FROM leaderboard")
        assert console.execute_script("return document.documentElement.scrollWidth") <= 390
        assert console.execute_script(
            "const r = arguments[0]; return r.scrollWidth > r.clientWidth", one(console, "#result")
        )
    finally:
        console.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@needs_package
def test_its_files_have_their_licence_and_the_other_pages_load_none_of_them(site: Path) -> None:
    assert "MIT License" in (site / "console" / "LICENSE.txt").read_text()
    assert 'href="sql.html"' in (site / "index.html").read_text()
    assert [page for page in site.rglob("*.html") if "console/" in page.read_text()] == [site / "sql.html"]


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(duckdb_wasm, "URL", "http://127.0.0.1:9/none")
    return tmp_path


def test_without_a_network_the_site_is_written_and_the_refusal_says_what_to_do(reports: Path, offline: Path) -> None:
    with pytest.raises(UsageError, match=r"no SQL console.*npm pack @duckdb/duckdb-wasm@") as refusal:
        write(reports, offline / "site", None, console=True)
    assert "\n" not in str(refusal.value)
    assert (offline / "site" / "reports" / "core.html").is_file()
    assert not (offline / "site" / "sql.html").exists()


def test_another_package_is_refused(reports: Path, offline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = offline / "other.tgz"
    path.write_bytes(b"other")
    monkeypatch.setattr(duckdb_wasm, "URL", path.as_uri())
    with pytest.raises(UsageError, match="not DuckDB-Wasm"):
        duckdb_wasm.archive()
    assert not list((offline / "cache").rglob("*.tgz"))
    with pytest.raises(UsageError, match="not DuckDB-Wasm"):
        write_site(reports, offline / "site", duckdb_wasm=path)


def test_the_package_is_downloaded_once(offline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duckdb_wasm, "URL", (offline / "published.tgz").as_uri())
    monkeypatch.setattr(duckdb_wasm, "SHA256", hashlib.sha256(b"package").hexdigest())
    (offline / "published.tgz").write_bytes(b"package")
    first = duckdb_wasm.archive()
    (offline / "published.tgz").unlink()
    assert duckdb_wasm.archive() == first
    assert first.read_bytes() == b"package"


def test_make_takes_the_pinned_package() -> None:
    makefile = (Path(__file__).parents[2] / "Makefile").read_text(encoding="utf-8")
    assert f"DUCKDB_WASM := {duckdb_wasm.VERSION}\n" in makefile
