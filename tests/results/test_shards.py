"""Shards: what is written and survives, and what is refused with its shard and line."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from synthetic_results import Row, append, append_to, cell_row, run_rows, score_row, sha, shard_rows, write_results

from blendbench.core.errors import UsageError
from blendbench.results.ingest import ingest
from blendbench.results.query import read_only_bytes
from blendbench.results.schema import RowError
from blendbench.results.shards import ShardWriter, next_sequence, shard_paths
from blendbench.results.store import open_results

TORN = "SELECT count(*) FROM shards WHERE torn"

FUZZ = sorted((Path(__file__).parents[1] / "data" / "shards").glob("*.bin"))
CELL = cell_row("canary", "item-00", 0, sha("image"))
SCORE = score_row(CELL, "grid_energy", 0.25)
HEADER = '{"format":2,"run_id":"x","sequence":1}'
ODD = 'a "quoted"\n\tline, \\ tab\u2028 \u00e9 \U0001f600 ; -- \' {} [] \x01'


def line(row: Row, **changes: Any) -> str:
    """A shard's line."""
    return json.dumps(row | changes)


def write_shard(folder: Path, *lines: str | bytes, name: str = "run1") -> Path:
    """Write lines as they are, each ended."""
    path = folder / "shards" / f"{name}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join((text if isinstance(text, bytes) else text.encode()) + b"\n" for text in lines))
    return path


def test_rows_survive_the_round_trip(tmp_path: Path) -> None:
    cell = CELL.changed(params={"x": [0.1, None, True, ODD]}, label=ODD, tokens=None)
    append(tmp_path, "run1", cell, *(SCORE.changed(metric=f"m{i}", value=v) for i, v in enumerate((-1e-300, 1e99, 5))))
    results = open_results(tmp_path)
    label, params, tokens, seed = results.rows("SELECT label, params, tokens, noise_seed FROM cells")[0]
    # What would move a terminal's cursor is replaced in texts; JSON has it escaped.
    assert (label, json.loads(params), tokens, seed) == (ODD.replace("\1", "\ufffd"), cell.params, None, 2**63)
    assert results.rows("SELECT value FROM scores ORDER BY metric") == [(-1e-300,), (1e99,), (5.0,)]


def test_every_shard_begins_with_the_next_sequence(tmp_path: Path) -> None:
    for number, name in enumerate(("z", "a", "m"), start=1):
        assert next_sequence(tmp_path) == number
        with ShardWriter(tmp_path, name) as writer:
            assert writer.sequence == number
        first = json.loads((tmp_path / "shards" / f"{name}.jsonl").read_text().splitlines()[0])
        assert first == {"format": 2, "sequence": number, "run_id": name}


def test_writers_at_once_get_different_sequences(tmp_path: Path) -> None:
    found: list[int] = []

    def write(name: str) -> None:
        with ShardWriter(tmp_path, name) as writer:
            found.append(writer.sequence)

    threads = [threading.Thread(target=write, args=[f"run{i}"]) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == list(range(1, 9))


def test_a_shard_is_never_written_by_two_runs(tmp_path: Path) -> None:
    append(tmp_path, "run1", SCORE)
    with pytest.raises(UsageError, match="there already"):
        ShardWriter(tmp_path, "run1")
    assert len(shard_rows(tmp_path)) == 1


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "a b"])
def test_names_that_are_no_file_names_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="not the name of a run"):
        ShardWriter(tmp_path, name)


BAD_ROWS: list[tuple[Row, str]] = [
    (SCORE.changed(value=None), "CHECK"),
    (SCORE.changed(status="failed", error="x"), "CHECK"),
    (SCORE.changed(value=float("nan")), "value is nan"),
    (SCORE.changed(value=float("inf")), "value is inf"),
    (SCORE.changed(value=-1e100), "CHECK"),
    (SCORE.changed(value=10**400), "integer that is too large"),
    (SCORE.changed(value=[True]), "value is"),
    (SCORE.changed(value=True), "value is True"),
    (SCORE.changed(status="fine"), "status is 'fine', not one of 'ok'"),
    (SCORE.changed(cell_id="c1"), "CHECK"),
    (SCORE.changed(image_sha256=""), "CHECK"),
    (SCORE.changed(metric_version=1.5), "metric_version is 1.5"),
    (SCORE.changed(metric_version=2**40), "metric_version is"),
    (SCORE.changed(metric=None), "metric is null"),
    (SCORE.changed(metric="a\0b"), "metric is"),
    (SCORE.changed(colour="red"), "unknown column 'colour'"),
    (Row({k: v for k, v in SCORE.items() if k != "metric"}), "metric is missing"),
    (CELL.changed(image_sha256=None), "CHECK"),
    (CELL.changed(image_sha256="../" * 21 + "x"), "CHECK"),
    (CELL.changed(status="failed"), "CHECK"),
    (CELL.changed(seed=2**63), "seed is"),
    (CELL.changed(noise_seed=-1), "noise_seed is -1"),
    (CELL.changed(params=5), "params is 5"),
    (CELL.changed(control="no"), "control is 'no'"),
]


@pytest.mark.parametrize(("row", "message"), BAD_ROWS)
def test_a_bad_row_is_not_written_and_nothing_with_it(tmp_path: Path, row: Row, message: str) -> None:
    with ShardWriter(tmp_path, "run1") as writer, pytest.raises(RowError, match=message) as caught:
        writer.append_all({"cells": [{k: v for k, v in CELL.items() if k != "table"}], "scores": []})
        append_to(writer, [row])
    assert "\n" not in str(caught.value)
    assert shard_rows(tmp_path) == [CELL | {"split": "", "environment_sha256": "", "imported": None}]


@pytest.mark.parametrize(("row", "message"), [(row, message) for row, message in BAD_ROWS if "nan" not in message])
def test_a_bad_row_in_a_shard_is_named_with_its_line(tmp_path: Path, row: Row, message: str) -> None:
    good = [line(CELL), *(line(SCORE, metric=f"m{i}") for i in range(20))]
    path = write_shard(tmp_path, HEADER, *good, line(row), line(SCORE, metric="other"), line(CELL, experiment="other"))
    with pytest.raises(UsageError) as caught:
        ingest(tmp_path)
    text = str(caught.value)
    assert text.startswith(f"{path}:{len(good) + 2}: ") and "\n" not in text and len(text) < 400
    if message not in ("CHECK", "value is inf"):
        assert message.split(" is ", maxsplit=1)[0] in text
    assert not (tmp_path / "blendbench.duckdb").exists() and not (tmp_path / ".ingest").exists()


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("{", "not JSON"),
        ("", "not JSON"),
        ("[]", "not a JSON object"),
        ("5", "not a JSON object"),
        ("nonsense", "not JSON"),
        ('{"table": "sells"}', "table is 'sells', not one of"),
        ('{"table": ["scores"]}', "table is"),
        ('{"no": 1}', "table is None"),
        (line(SCORE).replace("0.25", "NaN"), "NaN is not a finite number"),
        (line(SCORE).replace("0.25", "-Infinity"), "-Infinity is not a finite number"),
        (line(SCORE).replace("0.25", "1e999"), "value is inf|CHECK"),
        (line(SCORE).replace("0.25", "9" * 5000), "not JSON|too large"),
        (line(SCORE)[:-1] + ', "metric": "again"}', "a name comes twice"),
        (line(CELL, params={}).replace("{}", "[" * 100_000 + "]" * 100_000), "more than 1000 brackets"),
        (line(CELL, params={}).replace("{}", "[" * 400 + "]" * 400), ""),
        (line(SCORE).encode().replace(b"grid_energy", b"grid\xff"), "not UTF-8|not JSON"),
        (line(SCORE).replace("grid_energy", "\\ud800"), "cannot|not JSON|metric is|surrogate"),
        (line(SCORE) + line(SCORE), "not JSON"),
    ],
)
def test_what_is_no_row_is_named_with_its_line(tmp_path: Path, bad: str | bytes, message: str) -> None:
    path = write_shard(tmp_path, HEADER, line(SCORE), bad, line(SCORE, metric="other"))
    if not message:
        assert ingest(tmp_path) == 3
        return
    with pytest.raises(UsageError, match=message) as caught:
        ingest(tmp_path)
    assert str(caught.value).startswith(f"{path}:3: ") and len(str(caught.value)) < 700


@pytest.mark.parametrize("file", FUZZ, ids=lambda file: file.stem)
@pytest.mark.parametrize("with_header", [True, False])
def test_fuzzed_shards_give_one_line(tmp_path: Path, file: Path, with_header: bool) -> None:
    path = write_shard(tmp_path)
    path.write_bytes((HEADER.encode() + b"\n" if with_header else b"") + file.read_bytes().rstrip(b"\n") + b"\n")
    with pytest.raises(UsageError) as caught:
        ingest(tmp_path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 700 and "run1.jsonl" in str(caught.value)


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ('{"record": "run", "run_id": "x"}', r"format 1\); convert the folder once with `blendbench convert"),
        ('{"format": 3, "sequence": 1, "run_id": "x"}', "written by a newer blendbench"),
        ('{"format": 2, "sequence": 0, "run_id": "x"}', "not the header"),
        ('{"format": 2, "sequence": true, "run_id": "x"}', "not the header"),
        ('{"format": 2, "run_id": "x"}', "not the header"),
        ('{"format": 2, "sequence": 1, "run_id": 5}', "not the header"),
        (line(SCORE), "not the header"),
        ("[" * 70_000, "not the header"),
        ("x", "not JSON"),
    ],
)
def test_a_shard_without_its_header_is_refused(tmp_path: Path, head: str, message: str) -> None:
    write_shard(tmp_path, head, line(SCORE))
    for call in (lambda: ingest(tmp_path), lambda: next_sequence(tmp_path), lambda: ShardWriter(tmp_path, "run2")):
        with pytest.raises(UsageError, match=message):
            call()


def test_torn_last_lines_are_counted_and_left_out(tmp_path: Path) -> None:
    whole = write_shard(tmp_path, HEADER, line(SCORE))
    whole.write_bytes(whole.read_bytes() + line(CELL).encode())  # it only lacks its newline
    (tmp_path / "shards" / "run2.jsonl").write_text(HEADER[:9])
    (tmp_path / "shards" / "run3.jsonl").write_text("")
    assert (ingest(tmp_path), open_results(tmp_path).rows(TORN)) == (1, [(2,)])
    assert open_results(tmp_path).rows("SELECT count(*) FROM cells") == [(0,)]


def test_columns_with_a_default_may_be_left_out(tmp_path: Path) -> None:
    short = {k: v for k, v in SCORE.items() if k not in ("baseline_image_sha256", "error")}
    write_shard(tmp_path, HEADER, json.dumps(short))
    assert open_results(tmp_path).rows("SELECT baseline_image_sha256, scorer_sha256, error FROM scores") == [
        ("", "", None)
    ]


def test_what_was_appended_survives_kill_9(tmp_path: Path) -> None:
    row = {k: v for k, v in SCORE.items() if k != "table"}
    program = (
        "import os, signal\n"
        "from blendbench.results.shards import ShardWriter\n"
        f"writer = ShardWriter({str(tmp_path)!r}, 'run1')\n"
        f"writer.append('scores', [{row!r}])\n"
        'writer._file.write(b\'{"table": "sco\')\n'
        "writer._file.flush()\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -9
    assert (ingest(tmp_path), open_results(tmp_path).rows(TORN)) == (1, [(1,)])
    assert next_sequence(tmp_path) == 2


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _folder(path: Path) -> None:
    path.mkdir()


def _device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _nowhere(path: Path) -> None:
    path.symlink_to("gone")


@pytest.mark.parametrize("make", [_fifo, _folder, _device, _nowhere])
def test_what_is_no_file_is_refused_and_does_not_hang(tmp_path: Path, make: Callable[[Path], None]) -> None:
    write_shard(tmp_path, HEADER, line(SCORE))
    make(tmp_path / "shards" / "odd.jsonl")
    with pytest.raises(UsageError, match=r"odd\.jsonl: "):
        ingest(tmp_path)


NAMES = [
    "a[b]",
    "q?",
    "s*",
    "**",
    "[!a]",
    "[[]]",
    "it's",
    'dq"',
    "sp ace,",
    "back\\slash",
    "{a,b}",
    "\u00e9",
    "%s",
    "$HOME",
]


@pytest.mark.parametrize("name", NAMES)
def test_names_are_never_patterns(tmp_path: Path, name: str) -> None:
    folder, neighbour = tmp_path / name, tmp_path / "ab"
    for number, place in enumerate((folder, neighbour, tmp_path / "q1", tmp_path / "s1")):
        write_shard(place, HEADER, line(SCORE, metric=f"m{number}"), name="x")
        if place == folder:
            write_shard(place, HEADER.replace("1}", "2}"), line(SCORE, metric="odd"), name=name)
    for _ in range(2):
        assert open_results(folder).rows("SELECT metric FROM scores ORDER BY 1") == [("m0",), ("odd",)]
    assert len(read_only_bytes(open_results(folder), "FROM scores", "parquet")) > 0
    assert len(shard_paths(folder)) == 2


def test_an_empty_folder_has_nothing_and_stays_empty(tmp_path: Path) -> None:
    assert shard_paths(tmp_path) == [] and next_sequence(tmp_path) == 1
    assert list(tmp_path.iterdir()) == []


def test_rows_of_a_run_are_what_was_written(tmp_path: Path) -> None:
    write_results(tmp_path, items=1, images=False)
    counts = {table: len([row for row in shard_rows(tmp_path) if row.table == table]) for table in ("cells", "scores")}
    results = open_results(tmp_path)
    assert {table: results.rows(f"SELECT count(*) FROM {table}")[0][0] for table in counts} == counts
    assert [row.run_id for row in run_rows()[:1]] == ["run1"]
