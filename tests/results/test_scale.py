"""Time and memory of a folder of 20,000 cells with 23 scores each, opened by a process that has nothing to do."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from synthetic_results import Row, append, cell_row, item_name, run_rows

from blendbench.results.ingest import ingest

LABELS, ITEMS, METRICS = 500, 40, 23
# What a run with nothing left to do asks.
PROGRAM = """
import sys, time
began = time.process_time()
from blendbench.results.state import MetricKey, PlannedScore, open_state
ids = open(sys.argv[2]).read().split()
with open_state(sys.argv[1]) as state:
    cells = state.finished_cells(ids)
    plan = state.last_plan("core")
    outdated = state.outdated_members("core", plan.suite_sha256, ids)
    planned = [PlannedScore(cell_id, cells[cell_id].image_sha256, "") for cell_id in ids]
    metrics = [MetricKey(f"m{i}", 1, False, "") for i in range(23)]
    missing = list(state.missing_scores(planned, metrics))
heavy = {"numpy", "pandas", "torch"} & set(sys.modules)
# Not `ru_maxrss`, which begins with what the calling process had.
peak = next(int(line.split()[1]) / 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(len(cells), len(outdated), len(missing), plan.baseline, len(heavy), time.process_time() - began, peak)
"""


def _sha(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_nothing_to_do_takes_two_seconds_and_150_mebibytes(tmp_path: Path) -> None:
    card = next(row for row in run_rows() if row.table == "metrics")
    plan = Row(table="planned_metrics", run_id="run1", metric_version=1)
    names = [f"m{i}" for i in range(METRICS)]
    rows = [*run_rows(items=ITEMS, metrics={}), *(card.changed(metric=name) for name in names)]
    append(tmp_path, "run1", *rows, *(plan.changed(metric=name) for name in names))
    ids = []
    # Text in place of rows: what is tested is reading them.
    with (tmp_path / "shards" / "run1.jsonl").open("a") as file:
        for label in range(LABELS):
            for item in range(ITEMS):
                ids.append(_sha(label, item))
                image = _sha("image", label, item)
                cell = cell_row("canary", item_name(item), 0, image, cell_id=ids[-1]).changed(label=f"l{label}")
                file.write(json.dumps(cell) + "\n")
                score = {"table": "scores", "cell_id": ids[-1], "metric_version": 1, "image_sha256": image}
                score |= {"status": "ok", "value": 0.5}
                file.writelines(json.dumps(score | {"metric": name}) + "\n" for name in names)
    (tmp_path / "ids").write_text("\n".join(ids))
    assert ingest(tmp_path) > LABELS * ITEMS * (METRICS + 1)
    command = [sys.executable, "-c", PROGRAM, str(tmp_path), str(tmp_path / "ids")]
    for _ in range(2):  # the first looks at fresh files once more
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    *counts, seconds, peak = done.stdout.split()
    assert counts == [str(LABELS * ITEMS), "0", "0", "text_only", "0"]
    assert float(seconds) < 2  # of the processor, so that a busy machine does not count
    assert float(peak) < 150
