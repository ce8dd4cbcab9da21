"""What must not depend on interruptions: tables, images and pages."""

import hashlib
import re
from pathlib import Path
from typing import Any

from blendbench.results.store import open_results

# Columns that name a run, its time or its machine.
OF_RUNS = re.compile(r"run_id|sequence|shard|.*_at|seconds|times|count|environment|peak.*|name|sha256|bytes|torn")
RUNS_ONLY = ("stage_times", "stage_memory", "shards", "runs")
# Files that may differ, but not half-written ones.
RECORDS = r"results/(shards|embeddings|.*\.lock|blendbench|images/verified)(?!.*\.partial)"


def contents(folder: Path) -> dict[str, Any]:
    """Return all that must not depend on interruptions."""
    found: dict[str, Any] = {}
    results = open_results(folder / "results")
    with results.connect() as connection:
        for (table,) in connection.execute("SELECT table_name FROM duckdb_tables() ORDER BY 1").fetchall():
            frame = connection.execute(f'FROM "{table}"').df()
            kept = [column for column in frame.columns if not OF_RUNS.fullmatch(column) or table == "metrics"]
            kept = [column for column in kept if table != "metrics" or column not in ("run_id", "sequence")]
            if table not in RUNS_ONLY:
                found[table] = sorted(map(repr, frame[kept].drop_duplicates().itertuples(index=False)))
    runs = set(results.query("SELECT run_id FROM runs")["run_id"])
    for path in sorted(folder.rglob("*")):
        place = path.relative_to(folder).as_posix()
        if path.is_file() and not re.match(RECORDS, place):
            found[place] = hashlib.sha256(_without_runs(path, runs)).hexdigest()
    return found


def _without_runs(path: Path, runs: set[str]) -> bytes:
    """Return a page without the names of its runs and their times."""
    data = path.read_bytes()
    for name in runs:
        data = data.replace(name.encode(), b"RUN")
    return re.sub(rb"20\d\d-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(\.\d+)?(Z|[+]00:00)?", b"TIME", data)


def generated(folder: Path) -> list[str]:
    """Return the cells of all rows of shards that hold an image, with repetitions."""
    rows = [
        line
        for path in sorted((folder / "results" / "shards").glob("*.jsonl"))
        for line in path.read_bytes().splitlines()
        if b'"table":"cell_batches"' in line
    ]
    return [re.findall(rb'"cell_id":"(\w+)"', line)[0].decode() for line in rows]
