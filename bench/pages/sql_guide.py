"""Write the database page: `python bench/pages/sql_guide.py FILE`.

The text comes from the comments of the .sql files.
"""

import re
import sys
from pathlib import Path

import duckdb

from blendbench.results.database import create_views
from blendbench.results.schema import schema_sql, tables, views_sql

_PARTS = Path(__file__).parent / "sql"
_TABLE = re.compile(r"((?:^--[^\n]*\n)+)CREATE TABLE (\w+) \((.*?)\n?\);", re.MULTILINE | re.DOTALL)
_VIEW = re.compile(r"((?:^--[^\n]*\n)+)CREATE VIEW (\w+) AS", re.MULTILINE)
_COLUMN = re.compile(r"^    (\w+) [^\n]*?-- ([^\n]*)$", re.MULTILINE)


def render() -> str:
    """Return the whole page; the same for the same .sql files."""
    with duckdb.connect() as connection:
        connection.execute(schema_sql())
        create_views(connection)
        described, views = _tables(), _VIEW.findall(views_sql([]))
        parts = {
            "examples": "\n\n".join(_example(path) for path in sorted(_PARTS.glob("*.sql"))),
            "tables": "\n\n".join(_table(connection, name, *described[name]) for name in sorted(described)),
            "views": "\n\n".join(_view(connection, name, comment) for comment, name in views),
        }
    page = (_PARTS / "guide.txt").read_text(encoding="utf-8")
    for name, text in parts.items():
        page = page.replace(f"{{{name}}}", text)
    return page


def _tables() -> dict[str, tuple[str, dict[str, str]]]:
    """Description and comments of the columns, by table."""
    found = _TABLE.findall(schema_sql())
    return {name: (_prose(comment), dict(_COLUMN.findall(body))) for comment, name, body in found}


def _table(connection: duckdb.DuckDBPyConnection, name: str, description: str, comments: dict[str, str]) -> str:
    keyed = tables().get(name)
    key = f" Key: {', '.join(keyed.key)}." if keyed else ""
    rows = connection.execute(f'SELECT column_name, column_type, "null" FROM (DESCRIBE {name})').fetchall()
    lines = [
        f"| {column} | {_type(kind)}{' or NULL' if null == 'YES' else ''} | {comments.get(column, '')} |"
        for column, kind, null in rows
    ]
    return "\n".join([f"### {name}", "", description + key, "", "| column | type | |", "| --- | --- | --- |", *lines])


def _view(connection: duckdb.DuckDBPyConnection, name: str, comment: str) -> str:
    columns = [column for (column,) in connection.execute(f"SELECT column_name FROM (DESCRIBE {name})").fetchall()]
    wide = {"cell_scores": "one column for every metric", "leaderboard_wide": "two columns for every metric"}
    more = f", and {wide[name]}" if name in wide else ""
    return f"### {name}\n\n{_prose(comment)}\n\nColumns: {', '.join(columns)}{more}."


def _example(path: Path) -> str:
    question, query = path.read_text(encoding="utf-8").split("\n", 1)
    return f"{_prose(question)}\n\n```sql\n{query.strip()}\n```"


def _prose(comment: str) -> str:
    return " ".join(line.removeprefix("--").strip() for line in comment.splitlines())


def _type(kind: str) -> str:
    return kind.replace("ENUM(", "ENUM (") if kind.startswith("ENUM") else kind


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python bench/pages/sql_guide.py FILE")
    Path(sys.argv[1]).write_text(render(), encoding="utf-8")
