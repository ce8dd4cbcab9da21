"""Published data: small, the same bytes each time, and everything that a page reads."""

import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
from synthetic_results import append, cell_row, item_name, run_rows, score_row, sha, write_results

from blendbench.core.errors import UsageError
from blendbench.results.export import export_experiments, import_published, published_experiments
from blendbench.results.packed import same_image, stored_images
from blendbench.results.store import Results, open_results

# Hashes of cells, images and conditionings are stand-ins in published data, and values are rounded.
HASHED = "* EXCLUDE (cell_id, image_sha256, conditioning_sha256)"
VIEWS = {
    "current_cells": HASHED,
    "current_metrics": "*",
    "embedding_statistics": "*",
    "expected_cells": "*",
    "no_effect_cells": "* EXCLUDE (cell_id, conditioning_sha256)",
    "failures": "* EXCLUDE (cell_id)",
    "unit_scores": "* EXCLUDE (cell_id, value)",
    "paired_effects": "experiment, label, item, seed, metric, metric_version, baseline_label",
    "image_pairs": "experiment, label, item, metric, prompt, left(image, 22), left(baseline_image, 22)",
}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    folder = tmp_path_factory.mktemp("results")
    write_results(folder, items=2, images=False)
    cell = cell_row("canary", item_name(0), 0, sha("p"), cell_id=sha("x"), run_id="run2", experiment="other")
    append(folder, "run2", *run_rows("run2", "other"), cell, score_row(cell, "grid_energy", 0.5))
    return open_results(folder)


def test_pages_read_the_same_from_published_data(results: Results, tmp_path: Path) -> None:
    export_experiments(results, ["core", "other"], tmp_path)
    with import_published(tmp_path) as published:
        for view, columns in VIEWS.items():
            query = f"SELECT {columns} FROM {view} ORDER BY ALL"
            assert published.rows(query) == results.rows(query) != [], view
        assert published.rows("FROM orphans") == []
        with pytest.raises(UsageError, match="published data hold no images; open the results folder"):
            published.image(str(published.rows("SELECT cell_id FROM cells WHERE status = 'ok'")[0][0]))
        database = published.database
    assert not database.exists()
    assert published_experiments(tmp_path) == ["core", "other"]


def test_no_value_is_off_by_more_than_a_200th_of_the_margin(results: Results, tmp_path: Path) -> None:
    query = """
        SELECT experiment, label, item, seed, metric, value, coalesce(nullif(margin, 0), 1) AS margin
        FROM unit_scores JOIN current_metrics USING (experiment, metric) WHERE status = 'ok' ORDER BY ALL
    """
    export_experiments(results, ["core", "other"], tmp_path)
    with import_published(tmp_path) as published:
        rows = list(zip(results.rows(query), published.rows(query), strict=True))
    assert all(row[:5] == stored[:5] for row, stored in rows)
    errors = [abs(row[5] - stored[5]) / row[6] for row, stored in rows]
    assert 0 < max(errors) <= 1 / 200 + 1e-9


def test_a_metric_with_values_beyond_the_steps_is_stored_as_it_is(tmp_path: Path) -> None:
    write_results(tmp_path / "results", items=1, images=False)
    cell = cell_row("canary", item_name(0), 0, sha("p"), cell_id=sha("x"), run_id="run2", experiment="other")
    row = score_row(cell, "grid_energy", 1e12 / 3)
    append(tmp_path / "results", "run2", *run_rows("run2", "other"), cell, row)
    export_experiments(open_results(tmp_path / "results"), ["core", "other"], tmp_path / "out")
    with import_published(tmp_path / "out") as published:
        query = "SELECT value FROM unit_scores WHERE experiment = ? AND metric = 'grid_energy' AND status = 'ok'"
        assert published.rows(query, ["other"]) == [(1e12 / 3,)]
        rows = sorted(published.rows(query, ["core"]))
    assert rows == sorted(open_results(tmp_path / "results").rows(query, ["core"])) != []


def test_images_are_found_again_by_what_stands_for_them(results: Results, tmp_path: Path) -> None:
    export_experiments(results, ["core"], tmp_path)
    query = "SELECT label, item, seed, image_sha256 FROM current_cells WHERE experiment = 'core' AND status = 'ok'"
    own = {tuple(place): sha256 for *place, sha256 in results.rows(query)}
    with import_published(tmp_path) as published:
        found = {tuple(place): sha256 for *place, sha256 in published.rows(query)}
    names = stored_images(results, "core")
    assert {place: names[sha256] for place, sha256 in found.items()} == own
    assert all(same_image(found[place], own[place]) for place in own)
    assert not same_image(sha("a"), sha("b"))


def test_the_same_results_give_the_same_bytes(results: Results, tmp_path: Path) -> None:
    for name in ("a", "b"):
        export_experiments(results, ["core", "other"], tmp_path / name)
    export_experiments(results, ["core"], tmp_path / "b")  # once more in the place of what is there
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert files == sorted(path.name for path in (tmp_path / "b").iterdir()) and "scores.parquet" in files
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_publishing_one_experiment_leaves_the_others_as_they_were(results: Results, tmp_path: Path) -> None:
    export_experiments(results, ["other"], tmp_path)
    assert published_experiments(tmp_path) == ["other"]
    export_experiments(results, ["core"], tmp_path)
    with import_published(tmp_path) as published:
        found = published.rows("SELECT experiment, count(*) FROM current_scores GROUP BY ALL ORDER BY 1")
    assert found == results.rows("SELECT experiment, count(*) FROM current_scores GROUP BY ALL ORDER BY 1")


def test_what_is_replaced_is_gone(results: Results, tmp_path: Path) -> None:
    export_experiments(results, ["core"], tmp_path / "out")
    write_results(tmp_path / "fewer", items=1, images=False)
    export_experiments(open_results(tmp_path / "fewer"), ["core"], tmp_path / "out")
    with import_published(tmp_path / "out") as published:
        assert published.rows("SELECT DISTINCT item FROM cells") == [(item_name(0),)]
        assert published.rows("FROM orphans") == []
        with pytest.raises(UsageError, match="published data hold no images; open the results folder"):
            published.image(str(published.rows("SELECT cell_id FROM cells WHERE status = 'ok'")[0][0]))


def test_the_files_are_plain_parquet(results: Results, tmp_path: Path) -> None:
    export_experiments(results, ["core"], tmp_path)
    with duckdb.connect() as connection:
        path = str(tmp_path / "scores.parquet")
        assert connection.execute("SELECT count(*) FROM read_parquet(?)", [path]).fetchall()[0][0] > 50
        codecs = connection.execute("SELECT DISTINCT compression FROM parquet_metadata(?)", [path]).fetchall()
    assert codecs == [("ZSTD",)]


def test_what_is_no_published_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no stored data"):
        import_published(tmp_path)
    assert published_experiments(tmp_path) == []
    with duckdb.connect() as connection:
        connection.execute(f"COPY (SELECT 1 AS x) TO '{tmp_path / 'runs.parquet'}'")
    with pytest.raises(UsageError, match=r"runs\.parquet: not published data"):
        import_published(tmp_path)


FULL = """
import resource, signal, sys
from pathlib import Path
from blendbench.core.errors import UsageError
from blendbench.results.export import export_experiments
from blendbench.results.store import open_results
results = open_results(sys.argv[1])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (500, resource.RLIM_INFINITY))
try:
    export_experiments(results, ["core"], Path(sys.argv[2]))
except UsageError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux")
def test_a_full_disk_is_reported_in_one_line(tmp_path: Path) -> None:
    write_results(tmp_path / "r", items=1, images=False)
    open_results(tmp_path / "r")
    command = [sys.executable, "-c", FULL, str(tmp_path / "r"), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "parquet: cannot be written: File too large; raise the limit" in done.stdout, done
    assert not list((tmp_path / "out").glob("*.partial"))


FULL_FOR_DATABASES = """
import resource, signal, sys
from pathlib import Path
from blendbench.core.errors import UsageError
from blendbench.results.export import import_published
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
for limit in map(int, sys.argv[2:]):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        with import_published(Path(sys.argv[1])) as results:
            print(len(results.rows("FROM leaderboard")) > 0)
    except UsageError as error:
        print(error)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux")
def test_published_data_are_read_whole_or_refused_in_one_line_where_the_disk_is_full(
    results: Results, tmp_path: Path
) -> None:
    export_experiments(results, ["core"], tmp_path)
    limits = ["100", "500", "20000", "300000", "1000000", "2000000", "1000000000"]
    command = [sys.executable, "-c", FULL_FOR_DATABASES, str(tmp_path), *limits]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    *refused, last = done.stdout.splitlines()
    assert last == "True"
    assert all("File too large" in line or line == "True" for line in refused)
    assert len(refused) == len(limits) - 1 and "File too large" in refused[0]
