"""The verbs `leaderboard` and `sql` as a user calls them."""

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import pandas as pd
import pytest
from synthetic_results import NO_OP, write_results

from blendbench.cli import main
from blendbench.results.export import export_experiments
from blendbench.results.query import SECONDS
from blendbench.results.store import open_results

Cli = Callable[..., subprocess.CompletedProcess[str]]
ITEMS = 5


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    write_results(folder, items=ITEMS)
    return folder


def _process(*arguments: object) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, "-m", "blendbench", *map(str, arguments)], capture_output=True, check=False)


def test_leaderboard_prints_and_writes(folder: Path, tmp_path: Path) -> None:
    done = _process("leaderboard", "core", "--all", "--results", folder, "--out", tmp_path)
    printed = done.stdout.decode()
    assert (done.returncode, done.stderr) == (0, b"")
    assert (tmp_path / "core.md").is_file() and (tmp_path / "core" / "front.webp").is_file()
    assert printed.startswith("No blend can be recommended here: its items have no development and test part")
    assert "All checks of the benchmark itself hold." in printed
    assert next(line for line in printed.splitlines() if NO_OP[:11] in line).count("no-op") == 1
    assert "incomplete" in printed


@pytest.mark.parametrize("arguments", [("nope",), ("--results", "nowhere")])
def test_leaderboard_of_nothing_is_one_line_and_exit_code_2(
    folder: Path, tmp_path: Path, arguments: tuple[str], cli: Cli
) -> None:
    results = () if "--results" in arguments else ("--results", folder)
    done = cli("leaderboard", *arguments, *results, "--out", tmp_path / "out")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert list(tmp_path.iterdir()) == []


QUERY = "SELECT cell_id, value, error FROM scores WHERE value IS NULL OR metric = 'grid_energy' ORDER BY ALL"


def test_formats_hold_the_same_rows(folder: Path, tmp_path: Path, cli: Cli) -> None:
    query = ("sql", QUERY, "--results", folder, "--format")
    csv, rows, parquet = cli(*query, "csv"), cli(*query, "json"), _process(*query, "parquet")
    assert csv.returncode == rows.returncode == parquet.returncode == 0
    from_csv = pd.read_csv(io.StringIO(csv.stdout))
    from_json = pd.DataFrame(json.loads(rows.stdout))
    (tmp_path / "rows.parquet").write_bytes(parquet.stdout)
    with duckdb.connect() as connection:
        from_parquet = connection.execute("FROM read_parquet(?)", [str(tmp_path / "rows.parquet")]).df()
    assert len(from_csv) > 2 * ITEMS
    for other in (from_json, from_parquet):
        assert other["cell_id"].tolist() == from_csv["cell_id"].tolist()
        assert other["value"].astype(float).round(12).equals(from_csv["value"].round(12))


def test_tables_print_null_and_count_rows_beside_the_output(folder: Path, cli: Cli) -> None:
    done = cli("sql", "SELECT NULL AS nothing, 1 AS one", "--results", folder)
    assert "NULL" in done.stdout and "1 row" in done.stderr


def test_published_data_are_queried_as_the_results_are(folder: Path, tmp_path: Path, cli: Cli) -> None:
    export_experiments(open_results(folder), ["core"], tmp_path / "data")
    query = "SELECT label, round(mean, 3) FROM leaderboard WHERE metric = 'grid_energy' ORDER BY label"
    wanted = cli("sql", query, "--results", folder, "--format", "csv").stdout
    for place in (tmp_path, tmp_path / "data"):
        assert cli("sql", query, "--results", place, "--format", "csv").stdout == wanted
    assert "canary" in wanted and not list(tmp_path.glob("*.duckdb"))


def test_rows_are_not_folded_where_there_is_no_terminal(folder: Path, cli: Cli) -> None:
    lines = cli("sql", "FROM current_cells LIMIT 2", "--results", folder).stdout.splitlines()
    assert len(lines) == 3 and len(lines[0]) > 300


@pytest.mark.parametrize("query", ["SELEC 1", "DROP TABLE cells", "SELECT 1; SELECT 2", "SELECT nope FROM cells"])
@pytest.mark.parametrize("name", ["table", "csv"])
def test_a_bad_query_is_one_line_and_exit_code_2(folder: Path, query: str, name: str, cli: Cli) -> None:
    done = cli("sql", query, "--results", folder, "--format", name)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert done.stderr.startswith("blendbench: query: ")


def test_sql_without_results_makes_no_folder(tmp_path: Path, cli: Cli) -> None:
    done = cli("sql", "SELECT 1", "--results", tmp_path / "results")
    assert done.returncode == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("default_signals")
def test_a_signal_during_a_query_ends_the_command_in_one_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop() -> None:
        while signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            time.sleep(0.01)
        time.sleep(1)  # the query takes hours
        os.kill(os.getpid(), signal.SIGTERM)

    query = "SELECT count(*) FROM range(1000000000) a, range(1000000) b WHERE hash(a.range) < hash(b.range)"
    monkeypatch.setattr(sys, "argv", ["blendbench", "sql", query, "--results", str(folder)])
    threading.Thread(target=stop).start()
    started = time.monotonic()
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 143
    assert time.monotonic() - started < SECONDS / 5  # not because the query has used up its time
    assert capsys.readouterr().err == "blendbench: stopped; the same command goes on where it was\n"
