"""The database: ingestion, rebuilding, migrations, constraints, views, reading while a run writes."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import duckdb
import pandas as pd
import pytest
from synthetic_results import CONFIGURATIONS, INCOMPLETE, NO_OP, cell_record, item_name, run_record, sha, write_results

import blendbench
from blendbench.core.errors import UsageError
from blendbench.results.query import read_only_bytes, read_only_rows
from blendbench.results.records import RunRecord, ScoreRecord, VoteRecord
from blendbench.results.shards import ShardWriter, read_shards
from blendbench.results.store import VIEWS, ingest, open_results

ITEMS = 3


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_results(tmp_path, items=ITEMS, images=False)
    return tmp_path


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    write_results(folder, items=ITEMS, images=False)
    cells = [sha("cell", label, item_name(1), 0) for label in ("text_only", "canary")]
    _append(folder, "votes-1", VoteRecord("v1", "core", "artifact", "me", *cells, "left", 2.0, "2026-11-22T10:00:00Z"))
    ingest(folder)
    return folder


def _append(folder: Path, run_id: str, *records: object) -> None:
    with ShardWriter(folder, run_id) as writer:
        writer.append(records)  # type: ignore[arg-type]


def _all(folder: Path) -> dict[str, pd.DataFrame]:
    results = open_results(folder)
    return {name: results.query(f"FROM {name} ORDER BY ALL") for name in ("cells", "scores", "runs", "leaderboard")}


def test_ingesting_again_reads_nothing_and_changes_nothing(folder: Path) -> None:
    assert ingest(folder).records == len(read_shards(folder).records)
    before = _all(folder)
    assert ingest(folder).records == 0
    for name, frame in _all(folder).items():
        pd.testing.assert_frame_equal(frame, before[name])


def test_a_deleted_database_comes_back_the_same(folder: Path) -> None:
    before = _all(folder)
    (folder / "blendbench.duckdb").unlink()
    for name, frame in _all(folder).items():
        pd.testing.assert_frame_equal(frame, before[name])


def test_integers_text_and_json_keep_their_values(filled: Path) -> None:
    row = open_results(filled).query("SELECT * FROM cells WHERE strategy = 'vision_only' ORDER BY seed LIMIT 1").iloc[0]
    assert (row["noise_seed"], row["tokens"], row["params"]) == (2**63, 40, '{"layer":-2}')


def test_a_later_ok_record_replaces_a_failed_one_but_not_the_other_way(folder: Path) -> None:
    mended = cell_record(INCOMPLETE, item_name(1), 0, sha("new"), run_id="run2")
    broken = cell_record("canary", item_name(0), 0, None, run_id="run2")
    lost = ScoreRecord(broken.cell_id, "grid_energy", 1, None, "failed", "boom")
    _append(folder, "run2", run_record("run2", items=ITEMS, started_at="2026-11-21T10:00:00Z"), mended, broken, lost)
    results = open_results(folder)
    cells = results.query("SELECT cell_id, status FROM cells").set_index("cell_id")["status"]
    assert (cells[mended.cell_id], cells[broken.cell_id]) == ("ok", "ok")
    kept = results.query("SELECT status FROM scores WHERE cell_id = ? AND metric = 'grid_energy'", [broken.cell_id])
    assert kept["status"].tolist() == ["ok"]


def test_runs_count_in_the_order_they_started_not_by_name(folder: Path) -> None:
    first = cell_record(INCOMPLETE, item_name(1), 0, None, run_id="z", error="early")
    later = replace(first, run_id="a", error="late")
    _append(folder, "z", run_record("z", started_at="2026-11-21T10:00:00Z"), first)
    _append(folder, "a", run_record("a", started_at="2026-11-22T10:00:00Z"), later)
    errors = open_results(folder).query("SELECT error FROM cells WHERE cell_id = ?", [first.cell_id])
    assert errors["error"].tolist() == ["late"]


def test_a_torn_line_is_ingested_once_it_is_whole(folder: Path) -> None:
    ingest(folder)
    shard = folder / "shards" / "run1.jsonl"
    line = shard.read_bytes().splitlines(keepends=True)[-1]
    shard.write_bytes(shard.read_bytes() + line[:20])
    assert ingest(folder).torn_lines == 1
    shard.write_bytes(shard.read_bytes()[:-20] + line)
    assert ingest(folder).torn_lines == 0


def test_the_database_of_a_newer_blendbench_is_refused(folder: Path) -> None:
    ingest(folder)
    with duckdb.connect(str(folder / "blendbench.duckdb")) as connection:
        connection.execute("INSERT INTO migrations VALUES ('9999_future')")
    before = (folder / "blendbench.duckdb").read_bytes()
    with pytest.raises(UsageError, match=r"newer blendbench .*9999_future"):
        ingest(folder)
    assert (folder / "blendbench.duckdb").read_bytes() == before
    assert not list(folder.glob("*.before_*"))


def test_an_older_database_gets_the_new_migrations_and_views(folder: Path) -> None:
    ingest(folder)
    with duckdb.connect(str(folder / "blendbench.duckdb")) as connection:
        expected = connection.execute("FROM leaderboard ORDER BY ALL").fetchall()
        connection.execute("DROP TABLE view_definitions")
        connection.execute("DELETE FROM migrations WHERE name = '0002_view_definitions'")
        connection.execute("CREATE OR REPLACE VIEW leaderboard AS SELECT 1 AS outdated")
    assert open_results(folder).query("FROM leaderboard ORDER BY ALL").shape[0] == len(expected)
    assert ingest(folder).records == 0
    with duckdb.connect(str(folder / "blendbench.before_0002_view_definitions.duckdb"), read_only=True) as connection:
        assert connection.execute("SELECT outdated FROM leaderboard").fetchall() == [(1,)]


def test_changed_views_replace_the_old_ones_without_new_shards(folder: Path) -> None:
    ingest(folder)
    with duckdb.connect(str(folder / "blendbench.duckdb")) as connection:
        connection.execute("CREATE OR REPLACE VIEW failures AS SELECT 1 AS outdated")
        connection.execute("UPDATE view_definitions SET sha256 = 'that of an older blendbench'")
    assert "outdated" not in open_results(folder).query("FROM failures").columns
    assert ingest(folder).records == 0


def test_a_database_that_is_none_is_refused_in_one_line(folder: Path) -> None:
    (folder / "blendbench.duckdb").write_bytes(b"this is not a block of a database" * 500)
    with pytest.raises(UsageError, match="not a database") as caught:
        ingest(folder)
    assert "\n" not in str(caught.value)


def test_a_bad_shard_leaves_the_database_as_it_was(folder: Path) -> None:
    ingest(folder)
    shard = folder / "shards" / "run2.jsonl"
    shard.write_text("{}\n")
    with pytest.raises(UsageError, match=r"run2\.jsonl:1"):
        ingest(folder)
    shard.unlink()
    assert ingest(folder).records == 0


def test_no_results_is_a_usage_error_and_makes_nothing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no results here"):
        open_results(tmp_path / "nowhere")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "values",
    [
        "'c', 'm', 1, 'nan'::DOUBLE, 'ok', NULL, NULL",
        "'c', 'm', 1, NULL, 'ok', NULL, NULL",
        "'c', 'm', 1, 0, 'failed', 'x', NULL",
    ],
)
def test_the_tables_refuse_scores_that_lie(folder: Path, values: str) -> None:
    ingest(folder)
    with duckdb.connect(str(folder / "blendbench.duckdb")) as connection, pytest.raises(duckdb.ConstraintException):
        connection.execute(f"INSERT INTO scores VALUES ({values})")


@pytest.mark.parametrize("view", [view for view in VIEWS if view != "orphans"])
def test_every_view_answers(filled: Path, view: str) -> None:
    assert len(open_results(filled).query(f"FROM {view}"))


def test_rows_that_refer_to_nothing_are_named(folder: Path) -> None:
    query = "SELECT table_name, id, lacks FROM orphans WHERE lacks NOT LIKE 'no card%'"
    assert open_results(folder).query(query).empty
    lost = cell_record("canary", "item-99", 0, sha("p"), cell_id="lost", run_id="gone")
    vote = VoteRecord("v", "core", "artifact", "", "a", sha("cell", "canary", item_name(0), 0), "left", 1.0, "")
    _append(folder, "run2", lost, ScoreRecord("nowhere", "grid_energy", 1, 0.5, "ok"), vote)
    assert sorted(open_results(folder).query(query).itertuples(index=False, name=None)) == [
        ("cells", "lost", "no such item"),
        ("cells", "lost", "no such run"),
        ("scores", "nowhere", "no such cell"),
        ("votes", "v", "no such cell"),
    ]


def test_leaderboard_view_equals_pandas(filled: Path) -> None:
    results = open_results(filled)
    wide = results.query("SELECT label, item, seed, grid_energy FROM cell_scores WHERE experiment = 'core'")
    expected = wide.groupby(["label", "item"])["grid_energy"].mean().groupby("label").mean()
    board = results.query("FROM leaderboard WHERE metric = 'grid_energy'").set_index("label")
    pd.testing.assert_series_equal(board["mean"].sort_index(), expected.sort_index(), check_names=False)
    difference = expected - expected["text_only"]
    complete = [label for label in CONFIGURATIONS if label not in (INCOMPLETE, "text_only")]
    pd.testing.assert_series_equal(
        board.loc[complete, "difference_to_text_only"], difference[complete], check_names=False
    )


def test_leaderboard_view_counts_what_is_not_ok(filled: Path) -> None:
    board = open_results(filled).query("FROM leaderboard").set_index(["label", "metric"])
    failed = board.loc[INCOMPLETE, "grid_energy"]
    assert (failed["ok"], failed["failed"], failed["expected"]) == (2 * ITEMS - 2, 2, 2 * ITEMS)
    assert board.loc["canary", "reference_style"]["unscorable"] == 2
    assert board.loc["canary", "probe_margin"]["skipped"] == 2 * ITEMS
    assert board.loc[NO_OP, "grid_energy"]["same_conditioning"] == 2 * ITEMS
    assert board.loc["canary", "grid_energy"]["same_conditioning"] == 0


def test_planned_cells_that_nobody_made_are_missing_not_absent(folder: Path) -> None:
    plan = {"items": [item_name(0), "item-99"], "seeds": [0, 1], "labels": ["text_only", "ghost"]}
    _append(folder, "run2", run_record("run2", started_at="2026-11-21T10:00:00Z", plan=plan))
    board = open_results(folder).query("FROM leaderboard WHERE metric = 'grid_energy'").set_index("label")
    assert board.loc["ghost", "missing"] == board.loc["ghost", "expected"] == 2 * (ITEMS + 1)
    assert board.loc["canary", "missing"] == 2


def test_cells_of_another_suite_or_code_are_not_averaged_with_the_current_ones(folder: Path) -> None:
    before = open_results(folder).query(
        "SELECT mean FROM leaderboard WHERE label = 'canary' AND metric = 'grid_energy'"
    )
    old: RunRecord = run_record("run0", started_at="2026-11-01T10:00:00Z", suite_sha256=sha("old suite"), plan={})
    other_suite = cell_record("canary", item_name(0), 0, "p", run_id="run0", cell_id="x", suite_sha256=sha("old suite"))
    other_code = cell_record("canary", item_name(0), 0, "p", run_id="run0", cell_id="y", source_sha256=sha("old code"))
    wild = [ScoreRecord(cell, "grid_energy", 1, 1e6, "ok") for cell in ("x", "y")]
    _append(folder, "run0", old, other_suite, other_code, *wild)
    results = open_results(folder)
    after = results.query("SELECT mean FROM leaderboard WHERE label = 'canary' AND metric = 'grid_energy'")
    assert after["mean"].tolist() == before["mean"].tolist()
    assert results.query("SELECT count(*) AS n FROM cells WHERE cell_id IN ('x', 'y')")["n"].tolist() == [2]


def test_one_cell_may_belong_to_two_experiments(folder: Path) -> None:
    cell = cell_record("canary", item_name(0), 0, sha("p"), run_id="run2", experiment="smoke")
    _append(folder, "run2", run_record("run2", "smoke", started_at="2026-11-21T10:00:00Z", plan={}), cell)
    found = open_results(folder).query(
        "SELECT experiment, grid_energy IS NOT NULL AS scored FROM cell_scores WHERE cell_id = ? ORDER BY 1",
        [cell.cell_id],
    )
    assert found.values.tolist() == [["core", True], ["smoke", True]]


def test_metric_names_that_are_no_identifiers_become_columns(folder: Path) -> None:
    cell = cell_record("canary", item_name(0), 0, sha("p"))
    _append(folder, "run1", ScoreRecord(cell.cell_id, 'it\'s "odd"', 1, 2.5, "ok"))
    frame = open_results(folder).query("FROM cell_scores")
    assert frame['it\'s "odd"'].max() == 2.5


def test_reading_goes_on_while_a_run_writes(folder: Path) -> None:
    results = open_results(folder)
    before = results.query("SELECT count(*) AS n FROM scores")["n"][0]
    with ShardWriter(folder, "run9") as writer:
        for index in range(3):
            writer.append([ScoreRecord(f"live{index}", "grid_energy", 1, 0.5, "ok")])
            # Another process ingests and reads, as `blendbench sql` does, while this one still writes.
            program = (
                "import blendbench\n"
                f"frame = blendbench.open_results({str(folder)!r}).query('SELECT count(*) AS n FROM scores')\n"
                "print(frame['n'][0])\n"
            )
            seen = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
            assert int(seen.stdout) == before + index + 1
    assert results.query("SELECT count(*) AS n FROM scores")["n"][0] == before + 3


@pytest.mark.parametrize(
    "query",
    [
        "DROP TABLE cells",
        "INSERT INTO cells FROM cells",
        "COPY cells TO 'x.csv'",
        "ATTACH 'x.db'",
        "SET threads = 1",
        "SELECT 1; SELECT 2",
        "",
        "SELEC 1",
        "SELECT nope FROM cells",
        "FROM nowhere",
        "PRAGMA version; DROP TABLE cells",
        "WITH x AS (SELECT 1) DELETE FROM cells",
        "WITH x AS (DELETE FROM cells RETURNING *) FROM x",
    ],
)
def test_queries_that_are_wrong_or_write_get_one_line(filled: Path, query: str) -> None:
    results = open_results(filled)
    for run in (lambda: read_only_rows(results, query), lambda: read_only_bytes(results, query, "csv")):
        with pytest.raises(UsageError, match=r"^query: ") as caught:
            run()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "query",
    [
        "FROM read_text('{file}')",
        "FROM '{file}'",
        "FROM glob('{folder}/*')",
        "FROM read_csv('https://example.org/x.csv')",
        "COPY cells TO '{folder}/x.csv'",
        "ATTACH '{folder}/x.db'",
        "INSTALL httpfs",
        "SET enable_external_access = true",
    ],
)
def test_a_query_touches_nothing_but_the_database(filled: Path, tmp_path: Path, query: str) -> None:
    (tmp_path / "other.csv").write_text("secret\n1\n")
    text = query.format(file=tmp_path / "other.csv", folder=tmp_path)
    with pytest.raises(duckdb.Error):
        open_results(filled).query(text)
    assert [path.name for path in tmp_path.iterdir()] == ["other.csv"]
    with pytest.raises(UsageError, match=r"^query: "):
        read_only_bytes(open_results(filled), text, "csv")


def test_import_and_open_results_are_lazy() -> None:
    program = (
        "import sys, blendbench\n"
        "heavy = {'duckdb', 'pandas', 'numpy', 'torch', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "blendbench.open_results\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
    assert blendbench.open_results is open_results
    with pytest.raises(AttributeError, match="no attribute 'nope'"):
        _ = blendbench.nope  # type: ignore[attr-defined]
