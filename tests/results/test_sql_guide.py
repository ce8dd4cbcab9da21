"""docs/sql.md: it is what the .sql files say, and its queries run."""

import re
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
from sql_guide import render
from synthetic_results import Row, append, item_name, sha, write_results

from blendbench.results.database import create_views
from blendbench.results.query import read_only_rows
from blendbench.results.schema import schema_sql
from blendbench.results.store import open_results

GUIDE = Path(__file__).parents[2] / "docs" / "sql.md"
QUERIES = re.findall(r"```sql\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    write_results(folder, items=3, images=False)
    cells = [sha("cell", label, item_name(1), 0) for label in ("text_only", "canary")]
    vote = Row(
        table="votes",
        vote_id="v1",
        experiment="core",
        question="artifact",
        voter="me",
        left_cell=cells[0],
        right_cell=cells[1],
        choice="left",
        seconds=2.0,
        voted_at="2026-11-22T10:00:00Z",
    )
    append(folder, "votes-1", vote)
    return folder


def test_the_page_is_what_the_command_writes(tmp_path: Path) -> None:
    command = [sys.executable, str(GUIDE.parents[1] / "bench" / "pages" / "sql_guide.py"), str(tmp_path / "sql.md")]
    subprocess.run(command, check=True, capture_output=True)
    written = (tmp_path / "sql.md").read_text(encoding="utf-8")
    assert written == GUIDE.read_text(encoding="utf-8"), "python bench/pages/sql_guide.py docs/sql.md"


def test_every_table_and_view_is_described() -> None:
    page = render()
    with duckdb.connect() as connection:
        connection.execute(schema_sql())
        create_views(connection)
        names = connection.execute(
            "SELECT table_name FROM duckdb_tables() UNION SELECT view_name FROM duckdb_views() WHERE NOT internal"
        ).fetchall()
    assert len(names) > 30
    for (name,) in names:
        section = page.partition(f"\n### {name}\n\n")[2].partition("\n### ")[0]
        assert len(section.splitlines()[0].split()) >= 4, name


def test_there_are_ten_worked_queries() -> None:
    assert len(QUERIES) >= 10


@pytest.mark.parametrize("query", QUERIES)
def test_the_queries_of_the_guide_find_rows(filled: Path, query: str) -> None:
    assert len(read_only_rows(open_results(filled), query)) > 0


def test_no_effects_of_the_guide_are_the_known_ones(filled: Path) -> None:
    rows = read_only_rows(open_results(filled), QUERIES[0])
    assert rows.values.tolist() == [["adain_token:alpha=0.3", 6]]


def test_the_dose_response_of_the_guide_falls(filled: Path) -> None:
    rows = read_only_rows(open_results(filled), QUERIES[2])
    assert rows["alpha"].tolist() == [0.1, 0.3, 0.5, 0.8]
    assert rows["adherence"].is_monotonic_decreasing
