"""Records and shards: round trip, crashes, bad lines."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from synthetic_results import cell_record, run_record, sha

from blendbench.core.errors import UsageError
from blendbench.results.records import ConditioningRecord, RecordError, ScoreRecord, from_line, to_line
from blendbench.results.shards import ShardWriter, read_shards

CELL = cell_record("canary", "item-00", 0, sha("image"))
SCORE = ScoreRecord("c1", "grid_energy", 1, 0.25, "ok")


def test_records_survive_the_round_trip() -> None:
    for record in (run_record(), CELL, SCORE, ConditioningRecord("c", 3, 4, 0.0, 1.0, 1.0)):
        assert from_line(to_line(record)) == record
        assert json.loads(to_line(record))["record"] == record.record


@pytest.mark.parametrize(
    ("status", "value"), [("ok", None), ("failed", 0.0), ("ok", float("nan")), ("ok", float("inf")), ("fine", 1.0)]
)
def test_scores_with_status_and_value_at_odds_are_refused(status: str, value: float | None) -> None:
    with pytest.raises(RecordError, match=r"status|value"):
        ScoreRecord("c1", "m", 1, value, status)


def test_cells_must_say_why_they_failed_and_where_their_image_is() -> None:
    with pytest.raises(RecordError, match="image_sha256"):
        replace(CELL, image_sha256=None)
    with pytest.raises(RecordError, match="error"):
        replace(CELL, status="failed")


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{", "not JSON"),
        ("[]", "not a JSON object"),
        ('{"record": "sell"}', "record: not one of"),
        (to_line(SCORE).replace('"metric":', '"metrik":'), "unknown field 'metrik'"),
        ('{"record": "score", "cell_id": "c"}', "field 'metric' is missing"),
        (to_line(SCORE).replace("0.25", "NaN"), "NaN is not a finite number"),
    ],
)
def test_a_bad_line_is_an_error_naming_shard_and_line(tmp_path: Path, line: str, complaint: str) -> None:
    shard = tmp_path / "shards" / "run1.jsonl"
    shard.parent.mkdir()
    shard.write_text(f"{to_line(SCORE)}\n{line}\n")
    with pytest.raises(UsageError, match=complaint) as caught:
        read_shards(tmp_path)
    assert f"{shard}:2:" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_torn_last_line_is_counted_and_then_replaced(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, "run1") as writer:
        writer.append([SCORE])
    shard = tmp_path / "shards" / "run1.jsonl"
    whole = shard.read_bytes()
    shard.write_bytes(whole + whole[: len(whole) // 2])
    assert (read_shards(tmp_path).records, read_shards(tmp_path).torn_lines) == ((SCORE,), 1)
    with ShardWriter(tmp_path, "run1") as writer:
        writer.append([CELL])
    assert (read_shards(tmp_path).records, read_shards(tmp_path).torn_lines) == ((SCORE, CELL), 0)


def test_an_invalid_batch_writes_nothing(tmp_path: Path) -> None:
    broken = ConditioningRecord("c", 3, 4, float("nan"), 1.0, 1.0)
    with ShardWriter(tmp_path, "run1") as writer, pytest.raises(RecordError, match="conditioning"):
        writer.append([SCORE, broken])
    assert read_shards(tmp_path).records == ()


def test_what_was_appended_survives_kill_9(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys\n"
        "from blendbench.results.records import ScoreRecord\n"
        "from blendbench.results.shards import ShardWriter\n"
        f"writer = ShardWriter({str(tmp_path)!r}, 'run1')\n"
        "writer.append([ScoreRecord('c1', 'grid_energy', 1, 0.25, 'ok')])\n"
        'writer._file.write(b\'{"record": "sco\')\n'
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -9
    assert read_shards(tmp_path).records == (SCORE,)


def test_an_empty_folder_has_nothing_and_stays_empty(tmp_path: Path) -> None:
    assert read_shards(tmp_path).records == ()
    assert list(tmp_path.iterdir()) == []
