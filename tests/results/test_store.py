"""The database: ingestion, rebuilding, migrations, constraints, views, reading while a run writes."""

import re
import subprocess
import sys
from pathlib import Path

import duckdb
import pandas as pd
import pytest
from synthetic_results import (
    INCOMPLETE,
    Row,
    append,
    append_to,
    cell_row,
    item_name,
    run_rows,
    score_row,
    sha,
    shard_rows,
    write_results,
)

import blendbench
from blendbench.core.errors import UsageError
from blendbench.results.export import open_folder
from blendbench.results.query import read_only_bytes, read_only_rows
from blendbench.results.schema import views_sql
from blendbench.results.shards import ShardWriter
from blendbench.results.store import ingest, open_results

ITEMS = 3
VIEWS = re.findall(r"CREATE VIEW (\w+)", views_sql([]))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_results(tmp_path, items=ITEMS, images=False)
    return tmp_path


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    write_results(folder, items=ITEMS, images=False)
    cells = [sha("cell", label, item_name(1), 0) for label in ("text_only", "canary")]
    append(folder, "votes-1", _vote("v1", *cells))
    ingest(folder)
    return folder


def _vote(vote_id: str, left: str, right: str) -> Row:
    return Row(
        table="votes",
        vote_id=vote_id,
        experiment="core",
        question="artifact",
        voter="me",
        left_cell=left,
        right_cell=right,
        choice="left",
        seconds=2.0,
        voted_at="2026-11-22T10:00:00Z",
    )


def _all(folder: Path) -> dict[str, pd.DataFrame]:
    results = open_results(folder)
    return {name: results.query(f"FROM {name} ORDER BY ALL") for name in ("cells", "scores", "runs", "leaderboard")}


def test_ingesting_again_reads_nothing_and_changes_nothing(folder: Path) -> None:
    assert ingest(folder) == len(shard_rows(folder))
    before = _all(folder)
    assert ingest(folder) == 0
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


def test_the_latest_row_counts_whatever_its_status(folder: Path) -> None:
    fixed = cell_row(INCOMPLETE, item_name(1), 0, sha("new"), run_id="run2")
    broken = cell_row("canary", item_name(0), 0, None, run_id="run2")
    failed = score_row(cell_row("canary", item_name(0), 1, sha("image", "canary", 0, 1)), "grid_energy", None)
    append(folder, "run2", *run_rows("run2", items=ITEMS), fixed, broken, failed)
    results = open_results(folder)
    cells = dict(results.rows("SELECT cell_id, status FROM cells"))
    assert (cells[fixed.cell_id], cells[broken.cell_id]) == ("ok", "failed")
    failures = results.rows("SELECT cell_id, metric, error FROM failures ORDER BY ALL")
    left = cell_row(INCOMPLETE, item_name(1), 1, None)
    assert failures == sorted(
        [
            (failed.cell_id, "grid_energy", "boom"),
            (left.cell_id, None, left.error),
            (broken.cell_id, None, broken.error),
        ]
    )


def test_within_a_shard_the_last_line_counts(folder: Path) -> None:
    cell = cell_row("canary", item_name(0), 0, sha("image", "canary", 0, 0))
    append(folder, "run2", *(score_row(cell, "grid_energy", value) for value in (3.0, 2.0, 1.0)))
    found = open_results(folder).rows(
        "SELECT value FROM scores WHERE cell_id = ? AND metric = 'grid_energy'", [cell.cell_id]
    )
    assert found == [(1.0,)]


def test_runs_count_in_the_order_they_came_not_by_clock_or_name(folder: Path) -> None:
    first = cell_row(INCOMPLETE, item_name(1), 0, None, run_id="z", error="early")
    append(folder, "z", *run_rows("z", started_at="2026-11-22T10:00:00Z"), first)
    append(folder, "a", *run_rows("a", started_at="1970-01-01T00:00:00Z"), first.changed(run_id="a", error="late"))
    results = open_results(folder)
    assert results.rows("SELECT error FROM cells WHERE cell_id = ?", [first.cell_id]) == [("late",)]
    assert results.rows("SELECT run_id FROM runs ORDER BY sequence") == [("run1",), ("z",), ("a",)]


def test_a_run_with_a_clock_that_is_behind_makes_the_current_set(folder: Path) -> None:
    cell = cell_row(
        "canary", item_name(0), 0, sha("p"), cell_id=sha("n"), run_id="run2", sampler_sha256=sha("eight steps")
    )
    run = run_rows("run2", items=1, started_at="1999-01-01T00:00:00Z", sampler_sha256=sha("eight steps"))
    append(folder, "run2", *run, cell)
    results = open_results(folder)
    assert results.rows("SELECT cell_id FROM current_cells") == [(cell.cell_id,)]
    assert results.rows("SELECT sampler_sha256, run_id FROM current_sets") == [(sha("eight steps"), "run2")]


def test_a_run_that_reuses_older_code_makes_that_the_current_one(folder: Path) -> None:
    newer = cell_row("canary", item_name(0), 0, sha("p"), cell_id=sha("n"), run_id="run2", source_sha256=sha("edit"))
    append(folder, "run2", *run_rows("run2", labels=[]), newer)
    query = "SELECT DISTINCT source_sha256 FROM current_cells WHERE label = 'canary'"
    assert open_results(folder).rows(query) == [(sha("edit"),)]
    append(folder, "run3", *run_rows("run3", labels=["canary"]))  # the edit was taken back: nothing was left to do
    assert open_results(folder).rows(query) == [(sha("source", "canary"),)]


def test_a_torn_line_is_ingested_once_it_is_whole(folder: Path) -> None:
    torn = "SELECT count(*) FROM shards WHERE torn"
    ingest(folder)
    shard = folder / "shards" / "run1.jsonl"
    line = shard.read_bytes().splitlines(keepends=True)[-1]
    shard.write_bytes(shard.read_bytes() + line[:20])
    assert open_results(folder).rows(torn) == [(1,)]
    shard.write_bytes(shard.read_bytes()[:-20] + line)
    assert open_results(folder).rows(torn) == [(0,)]


def test_a_database_with_other_declarations_is_made_anew(folder: Path) -> None:
    before = _all(folder)
    with duckdb.connect(str(folder / "blendbench.duckdb")) as connection:
        connection.execute("UPDATE schema_hash SET sha256 = 'that of another blendbench'")
        connection.execute("CREATE OR REPLACE VIEW failures AS SELECT 1 AS outdated")
        connection.execute("DELETE FROM scores")
    assert ingest(folder) == len(shard_rows(folder))
    assert "outdated" not in open_results(folder).query("FROM failures").columns
    for name, frame in _all(folder).items():
        pd.testing.assert_frame_equal(frame, before[name])


def test_a_database_of_other_tables_is_made_anew_too(folder: Path) -> None:
    with duckdb.connect(str(folder / "blendbench.duckdb")) as connection:
        connection.execute("CREATE TABLE migrations (name VARCHAR)")
    assert ingest(folder) == len(shard_rows(folder))


def test_a_database_that_is_none_is_made_anew(folder: Path) -> None:
    (folder / "blendbench.duckdb").write_bytes(b"this is not a block of a database" * 500)
    assert ingest(folder) == len(shard_rows(folder))


def test_a_bad_shard_leaves_the_database_as_it_was(folder: Path) -> None:
    ingest(folder)
    shard = folder / "shards" / "run2.jsonl"
    shard.write_text("{}\n")
    with pytest.raises(UsageError, match=r"run2\.jsonl:1"):
        ingest(folder)
    shard.unlink()
    assert ingest(folder) == 0


def test_no_results_is_a_usage_error_and_makes_nothing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no results here"):
        open_results(tmp_path / "nowhere")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "change", ["value = 'nan'::DOUBLE", "value = NULL", "status = 'failed'", "cell_id = 'c'", "image_sha256 = ''"]
)
def test_the_tables_refuse_scores_that_lie(folder: Path, change: str) -> None:
    ingest(folder)
    with duckdb.connect(str(folder / "blendbench.duckdb")) as connection, pytest.raises(duckdb.ConstraintException):
        connection.execute(f"UPDATE scores SET {change} WHERE status = 'ok'")


@pytest.mark.parametrize("view", [view for view in VIEWS if view != "orphans"])
def test_every_view_answers(filled: Path, view: str) -> None:
    assert len(open_results(filled).query(f"FROM {view}"))


def test_rows_that_refer_to_nothing_are_named(folder: Path) -> None:
    query = "SELECT table_name, id, missing FROM orphans ORDER BY ALL"
    assert open_results(folder).rows(query) == []
    lost = cell_row("canary", "item-99", 0, sha("p"), cell_id=sha("lost"), run_id="gone")
    score = score_row(lost, "grid_energy", 0.5, cell_id=sha("nowhere"))
    unknown = score_row(lost, "nameless", 0.5)
    append(folder, "run2", lost, score, unknown, _vote("v", "a", sha("cell", "canary", item_name(0), 0)))
    assert open_results(folder).rows(query) == [
        ("cells", lost.cell_id, "no such item"),
        ("cells", lost.cell_id, "no such run"),
        *sorted([("scores", score.cell_id, "no such cell"), ("scores", unknown.cell_id, "no card of nameless")]),
        ("votes", "v", "no such cell"),
    ]


def test_reading_goes_on_while_a_run_writes(folder: Path) -> None:
    results = open_results(folder)
    before = results.query("SELECT count(*) AS n FROM scores")["n"][0]
    with ShardWriter(folder, "run9") as writer:
        for index in range(3):
            cell = cell_row("canary", item_name(0), 0, sha("p"), cell_id=sha("live", index))
            append_to(writer, [score_row(cell, "grid_energy", 0.5)])
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
    assert blendbench.open_results is open_folder
    with pytest.raises(AttributeError, match="no attribute 'nope'"):
        _ = blendbench.nope
