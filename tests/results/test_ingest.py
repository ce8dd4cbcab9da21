"""Ingestion: what is read again, what is not, and that both ways end in the same rows."""

import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pandas as pd
import pytest
from synthetic_results import (
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

from blendbench.core.errors import UsageError
from blendbench.results import ingest as ingesting
from blendbench.results import shards
from blendbench.results.database import DATABASE
from blendbench.results.ingest import ingest
from blendbench.results.schema import RowError, tables
from blendbench.results.store import open_results


def rows(folder: Path) -> dict[str, pd.DataFrame]:
    """All tables that are made from shards."""
    results = open_results(folder)
    return {table: results.query(f"FROM {table} ORDER BY ALL") for table in tables()}


def random_rows(rng: random.Random, count: int = 60) -> list[Row]:
    """Cells and scores that come again with other values and statuses."""
    made: list[Row] = []
    for _ in range(count):
        label, item = rng.choice(["canary", "text_only", "vision_only"]), item_name(rng.randrange(2))
        ok = rng.random() < 0.6
        cell = cell_row(label, item, 0, sha(rng.random()) if ok else None, tokens=rng.choice([None, 1, 2]))
        image = cell.image_sha256 or sha("an image of before")
        status = rng.choice(["ok", "failed", "skipped", "unscorable"])
        value = rng.choice([0.1, -1e-300, 1e99, rng.random()]) if status == "ok" else None
        made += [cell, score_row(cell, rng.choice("ab"), value, status=status, image_sha256=image)]
    return made


@pytest.mark.parametrize("seed", range(3))
def test_step_by_step_gives_the_rows_of_a_rebuild(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    write_results(tmp_path, items=2, images=False)
    ingest(tmp_path)
    for number in range(4):
        fresh = random_rows(rng)
        append(tmp_path, f"run-{rng.random()}", *run_rows(f"r{number}"), *fresh)
        shard = max((tmp_path / "shards").iterdir(), key=lambda path: path.stat().st_mtime_ns)
        if number % 2:  # a run that goes on
            whole = shard.read_bytes()
            shard.write_bytes(whole[: len(whole) // 2])
            ingest(tmp_path)
            shard.write_bytes(whole)
        ingest(tmp_path)
    step_by_step = rows(tmp_path)
    (tmp_path / DATABASE).unlink()
    assert ingest(tmp_path) == len(shard_rows(tmp_path))
    for table, frame in rows(tmp_path).items():
        pd.testing.assert_frame_equal(frame, step_by_step[table])
    assert len(step_by_step["cells"]) > 0


def test_only_new_shards_are_read(tmp_path: Path) -> None:
    write_results(tmp_path, items=2, images=False)
    ingest(tmp_path)
    append(tmp_path, "run2", *run_rows("run2"))
    assert ingest(tmp_path) == len(run_rows("run2"))


@pytest.mark.parametrize("keep_times", [False, True])
def test_a_change_of_equal_length_is_noticed(tmp_path: Path, keep_times: bool) -> None:
    append(tmp_path, "run1", score_row(cell_row("canary", item_name(0), 0, sha("p")), "m", 0.25))
    assert open_results(tmp_path).rows("SELECT value FROM scores") == [(0.25,)]
    shard = tmp_path / "shards" / "run1.jsonl"
    before = shard.stat()
    shard.write_text(shard.read_text().replace("0.25", "0.75"))
    if keep_times:
        os.utime(shard, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert open_results(tmp_path).rows("SELECT value FROM scores") == [(0.75,)]


def test_shards_are_hashed_again_only_when_they_look_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_results(tmp_path, items=1, images=False)
    ingest(tmp_path)
    hashed: list[Path] = []
    read = shards.read_shard

    def counted(path: Path, prefix: int = 0) -> object:
        hashed.append(path)
        return read(path, prefix)

    monkeypatch.setattr(ingesting, "read_shard", counted)
    ingest(tmp_path)
    assert len(hashed) == 1  # too fresh to be trusted
    later = time.time_ns() + 10 * ingesting._FRESH_NS
    monkeypatch.setattr(time, "time_ns", lambda: later)
    for _ in range(3):
        assert ingest(tmp_path) == 0
    assert len(hashed) == 2  # once more, and from now on its times are known


def test_a_copied_folder_is_not_read_again(tmp_path: Path) -> None:
    write_results(tmp_path / "a", items=1, images=False)
    ingest(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert ingest(tmp_path / "b") == 0


def test_a_shard_that_goes_takes_its_rows_along(tmp_path: Path) -> None:
    write_results(tmp_path, items=1, images=False)
    append(tmp_path, "run2", *run_rows("run2"))
    ingest(tmp_path)
    (tmp_path / "shards" / "run2.jsonl").unlink()
    assert open_results(tmp_path).rows("SELECT run_id FROM runs") == [("run1",)]


def test_an_older_shard_that_comes_late_does_not_win(tmp_path: Path) -> None:
    cell = cell_row("canary", item_name(0), 0, sha("p"))
    for name, value in (("run1", 1.0), ("run2", 2.0)):
        append(tmp_path, name, score_row(cell, "m", value))
    (tmp_path / "shards" / "run1.jsonl").rename(tmp_path / "kept")
    ingest(tmp_path)
    (tmp_path / "kept").rename(tmp_path / "shards" / "run1.jsonl")
    assert open_results(tmp_path).rows("SELECT value FROM scores") == [(2.0,)]


def test_what_a_killed_ingestion_left_is_swept_away(tmp_path: Path) -> None:
    write_results(tmp_path, items=1, images=False)
    (tmp_path / ".ingest").mkdir()
    (tmp_path / ".ingest" / DATABASE).write_bytes(b"half")
    ingest(tmp_path)
    assert not (tmp_path / ".ingest").exists()
    assert open_results(tmp_path).rows("SELECT count(*) > 0 FROM cells") == [(True,)]


def test_a_full_disk_is_called_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_results(tmp_path, items=1, images=False)

    def full(*_: object) -> None:
        raise duckdb.IOException('IO Error: Could not write file "x": No space left on device')

    monkeypatch.setattr(ingesting, "_fill", full)
    with pytest.raises(UsageError, match="cannot be written: No space left on device; free some disk space"):
        ingest(tmp_path)
    assert not (tmp_path / ".ingest").exists()


PROGRAM = """
import os, sys
from blendbench.core.errors import UsageError
from blendbench.results.store import open_results
open_results(sys.argv[2]).rows("SELECT 1")  # everything is imported while that may be read
os.setgid(65534); os.setuid(65534)
try:
    results = open_results(sys.argv[1])
    print(results.rows("SELECT count(*) FROM cells")[0][0], results.database.parent == results.folder)
except UsageError as error:
    print(error)
"""


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="becoming another user needs root")
@pytest.mark.parametrize("database", ["none", "current", "outdated"])
def test_a_folder_that_cannot_be_written_is_read_all_the_same(database: str, tmp_path: Path) -> None:
    write_results(tmp_path, items=1, images=False)
    # Not below the temporary folder of the tests, which other users cannot enter.
    folder = Path(f"/var/tmp/blendbench-test-{os.getpid()}-{database}")
    write_results(folder, items=1, images=False)
    try:
        if database != "none":
            ingest(folder)
        if database == "outdated":
            append(folder, "run2", cell_row("canary", item_name(9), 0, sha("p"), cell_id=sha("n")))
        for path in (folder, folder / "shards"):
            path.chmod(0o555)
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(folder), str(tmp_path)], capture_output=True, text=True, check=True
        )
        assert done.stdout.split() == [str(16 * 2 + (database == "outdated")), str(database == "current")]
    finally:
        folder.chmod(0o755)
        (folder / "shards").chmod(0o755)
        shutil.rmtree(folder)


def test_texts_cannot_move_a_cursor(tmp_path: Path) -> None:
    metrics = [
        row | {"title": "a\x1b[2J\r\x9b\u202e\tb\nc\u00e9\\u001b"} for row in run_rows("a") if row.table == "metrics"
    ]
    append(tmp_path, "a", *map(Row, metrics))
    titles = open_results(tmp_path).rows("SELECT DISTINCT title FROM metrics")
    assert titles == [("a\ufffd[2J\ufffd\ufffd\ufffd\tb\nc\u00e9\\u001b",)]


@pytest.mark.parametrize("name", ["../up", "/etc/x", "a/b", "", "A", "a" * 101, "a\n"])
def test_an_experiment_that_could_leave_its_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(RowError, match="CHECK"), shards.ShardWriter(tmp_path, "a") as writer:
        append_to(writer, run_rows("a", experiment=name, items=1))


FULL = """
import resource, signal, sys
from blendbench.core.errors import UsageError
from blendbench.results.ingest import ingest
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
for limit in (20_000, 300_000, 1_000_000, 2_000_000, 4_000_000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        ingest(sys.argv[1])
    except UsageError as error:
        print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux")
def test_a_database_that_does_not_fit_on_the_disk_leaves_the_old_one(tmp_path: Path) -> None:
    write_results(tmp_path, items=1, images=False)
    ingest(tmp_path)
    before = (tmp_path / DATABASE).read_bytes()
    append(tmp_path, "run9", *run_rows("run9", items=1))
    (tmp_path / "shards" / "run1.jsonl").touch()
    text = (tmp_path / "shards" / "run1.jsonl").read_text().replace('"cpu"', '"gpu"')
    (tmp_path / "shards" / "run1.jsonl").write_text(text)  # all of it has to be made again
    done = subprocess.run([sys.executable, "-c", FULL, tmp_path], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert len(lines) == 5 and all("cannot be written: File too large" in line for line in lines), done
    assert (tmp_path / DATABASE).read_bytes() == before
    assert not (tmp_path / ".ingest").exists()
