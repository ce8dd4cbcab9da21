"""Results as data frames, Arrow and images."""

import functools
from math import isnan
from pathlib import Path

import duckdb
import pytest
from synthetic_results import append, cell_row, item_name, run_rows, sha, write_results

import blendbench
from blendbench.core.errors import UsageError
from blendbench.results.export import export_experiments
from blendbench.results.images import ImageStore
from blendbench.results.store import Results
from blendbench.stats.clusters import cluster_means


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    folder = tmp_path_factory.mktemp("results")
    write_results(folder)
    return blendbench.open_results(folder)


def test_frames_are_the_views(results: Results) -> None:
    board, wide = results.leaderboard("core"), results.leaderboard("core", wide=True)
    assert set(board.label) == set(wide.label) and len(wide) == len(set(wide.label))
    for row in board[board.metric == "grid_energy"].itertuples():
        (own,) = wide[wide.label == row.label].itertuples()
        assert own.grid_energy == pytest.approx(row.mean, nan_ok=True)
        assert own.grid_energy_difference == pytest.approx(row.difference_to_baseline, nan_ok=True)
    cells = results.cells()
    assert {"prompt", "relation", "dose", "image", "grid_energy"} <= set(cells.columns)
    assert len(cells) == results.rows("SELECT count(*) FROM current_cells")[0][0]
    assert set(results.scores("core", "grid_energy").metric) == {"grid_energy"}
    assert len(results.scores()) > len(results.scores(metric="grid_energy")) > 0
    with pytest.raises(UsageError, match=r"grid_enrgy: no metric of this name; did you mean 'grid_energy'\?"):
        results.scores(metric="grid_enrgy")
    with pytest.raises(UsageError, match="the same configuration"):
        results.pairs("text_only", "text_only")
    summary = results.summary()
    assert list(summary.experiment) == ["core"] and "<td>core</td>" in results._repr_html_()


def test_intervals_of_the_view_are_those_of_student(results: Results) -> None:
    from scipy.stats import t

    checked, pairs_of = 0, functools.cache(lambda label: results.pairs(label, "text_only", "core"))
    for row in results.leaderboard("core").itertuples():
        if row.label == "text_only" or isnan(row.difference_to_baseline):
            continue
        pairs = pairs_of(row.label)
        pairs = pairs[pairs.metric == row.metric]
        means = cluster_means(pairs.difference.to_numpy(), list(pairs.item))
        half = t.ppf(0.975, len(means) - 1) * means.std(ddof=1) / len(means) ** 0.5
        assert row.difference_low == pytest.approx(means.mean() - half, abs=2e-4 * half + 1e-12)
        assert row.difference_high == pytest.approx(means.mean() + half, abs=2e-4 * half + 1e-12)
        checked += 1
    assert checked >= 4


@pytest.mark.parametrize("df", [1, 2, 3, 4, 5, 6, 10, 30, 287])
def test_the_quantile_of_the_view_is_students(df: int) -> None:
    from scipy.stats import t

    views = (Path(blendbench.__file__).parent / "results" / "views.sql").read_text()
    case = views[views.index("CASE WHEN df = 0") : views.index("END AS quantile")] + "END"
    ((quantile,),) = duckdb.execute(f"SELECT {case} FROM (SELECT {df} AS df)").fetchall()
    assert quantile == pytest.approx(t.ppf(0.975, df), rel=2e-4)


def test_pairs_and_unknown_names(results: Results) -> None:
    pairs = results.pairs("canary", "text_only")
    assert (pairs.difference == pairs.value - pairs.baseline_value).all() and len(pairs)
    reverse = results.pairs("text_only", "canary")
    assert reverse.difference.sum() == pytest.approx(-pairs.difference.sum())
    with pytest.raises(UsageError, match="canry: no configuration of this label; did you mean 'canary'"):
        results.pairs("canry", "text_only")
    with pytest.raises(UsageError, match="coer: no results of this experiment; did you mean 'core'"):
        results.leaderboard("coer")


def test_arrow_rows_can_be_read_more_than_once_and_with_parameters(results: Results) -> None:
    rows = results.arrow(
        "SELECT label, count(*) AS n FROM cells WHERE label <> ? GROUP BY ALL ORDER BY ALL", ["canary"]
    )
    expected = results.rows("SELECT label, count(*) FROM cells WHERE label <> 'canary' GROUP BY ALL ORDER BY ALL")
    for _ in range(2):
        assert duckdb.connect().from_arrow(rows).fetchall() == expected


def test_the_image_of_a_cell(tmp_path: Path) -> None:
    import numpy as np

    pixels = np.full((4, 6, 3), 90, np.uint8)
    stored = ImageStore(tmp_path).save(pixels)
    found = cell_row("canary", item_name(0), 0, stored, cell_id=sha("a"))
    failed = cell_row("canary", item_name(1), 0, None, cell_id=sha("b"))
    lost = cell_row("canary", item_name(2), 0, sha("gone"), cell_id=sha("c"))
    append(tmp_path, "run1", *run_rows(), found, failed, lost)
    results = blendbench.open_results(tmp_path)
    assert results.image(sha("a")[:10]).size == (6, 4)
    for cell, said in ((sha("b"), "has no image"), (sha("c"), "no such file"), (sha("d"), "no cells"), ("", "3 cells")):
        with pytest.raises(UsageError, match=said):
            results.image(cell)


def test_published_data_are_opened_alike(results: Results, tmp_path: Path) -> None:
    export_experiments(results, ["core"], tmp_path / "data")
    with blendbench.open_results(tmp_path) as published:
        assert published.database.parent not in (tmp_path, results.folder)
        assert published.summary().drop(columns="date").equals(results.summary().drop(columns="date"))
