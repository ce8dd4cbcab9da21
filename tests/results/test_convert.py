"""Folders of format 1: what becomes of them, and that nothing is guessed or lost."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from synthetic_results import sha

from blendbench.core.errors import UsageError
from blendbench.core.hashing import sha256_json
from blendbench.results.convert import convert
from blendbench.results.ingest import ingest
from blendbench.results.store import open_results

CARD = {"name": "grid_energy", "title": "Grid", "version": 1, "kind": "artifact", "direction": "lower"}
CARD |= {"unit": "", "margin": 0.1, "decimals": 3}
RUN: dict[str, Any] = {
    "record": "run",
    "run_id": "r1",
    "experiment": "core",
    "started_at": "2026-11-20T10:00:00Z",
    "blendbench_version": "0.1.0",
    "git_commit": None,
    "model_set": "miniature",
    "model_set_sha256": sha("m"),
    "suite": "miniature",
    "suite_sha256": sha("s"),
    "device": "cpu",
    "dtype": "float32",
    "sampler": {"steps": 9},
    "environment": {},
    "metrics": {"grid_energy": 1, "effect_size": 1},
    "metric_cards": [CARD, CARD | {"name": "effect_size", "kind": "effect", "direction": "none"}],
    "plan": {"items": ["i"], "seeds": [0], "labels": ["text_only", "canary"]},
}
ITEM = {"record": "item", "suite_sha256": sha("s"), "item": "i", "prompt": "p", "reference_sha256": sha("r")}
ITEM |= {"reference_caption": "c", "relation": "matched", "reference_picture": f"pictures/ab/{sha('r')}.png"}
VOTE: dict[str, Any] = {"record": "vote", "vote_id": "v1", "experiment": "core", "question": "reference", "voter": "me"}
VOTE |= {"left_cell": sha("c", "canary"), "right_cell": sha("c", "text_only"), "choice": "left", "seconds": 1.0}
VOTE |= {"voted_at": "2026-11-21T10:00:00Z"}


def cell(label: str, **changes: Any) -> dict[str, Any]:
    """A cell of format 1."""
    return {
        "record": "cell",
        "cell_id": sha("c", label),
        "run_id": "r1",
        "experiment": "core",
        "strategy": label,
        "params": {},
        "label": label,
        "control": False,
        "item": "i",
        "seed": 0,
        "suite_sha256": sha("s"),
        "sampler_sha256": sha256_json({"steps": 9}),
        "model_set_sha256": sha("m"),
        "dtype": "float32",
        "status": "ok",
        "error": None,
        "conditioning_sha256": sha("k", label),
        "picture_sha256": sha("p", label),
        "noise_seed": 1,
        "tokens": 4,
        "source_sha256": sha("code"),
    } | changes


def score(label: str, metric: str, value: float) -> dict[str, Any]:
    """A score of format 1."""
    return {"record": "score", "cell_id": sha("c", label), "metric": metric, "metric_version": 1, "value": value} | {
        "status": "ok",
        "error": None,
        "scorer_sha256": None,
    }


def write(folder: Path, name: str, *records: dict[str, Any], torn: str = "") -> Path:
    """Write a shard of format 1."""
    path = folder / "shards" / f"{name}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{json.dumps(record)}\n" for record in records) + torn)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    cells = [cell("text_only"), cell("canary")]
    scores = [
        score(label, metric, 0.5) for label in ("text_only", "canary") for metric in ("grid_energy", "effect_size")
    ]
    write(tmp_path, "r1", RUN, ITEM, *cells, *scores, torn='{"record"')
    write(tmp_path, "votes", VOTE)
    (tmp_path / "pictures" / "ab").mkdir(parents=True)
    (tmp_path / "pictures" / "ab" / f"{sha('r')}.png").write_bytes(b"png")
    return tmp_path


def test_a_folder_is_refused_until_it_is_converted_once(folder: Path) -> None:
    with pytest.raises(UsageError, match="blendbench convert"):
        ingest(folder)
    before = (folder / "shards" / "r1.jsonl").read_bytes()
    rows = convert(folder, {("grid_energy", 1): {"low": 0.0, "high": 1.0, "threshold": 0.4}})
    results = open_results(folder)
    assert rows == results.rows("SELECT count(*) FROM cells")[0][0] + 4 + 1 + 1 + 1 + 2 + 2 + 2
    assert results.rows("SELECT label, image_sha256 FROM current_cells ORDER BY 1") == [
        (label, sha("p", label)) for label in ("canary", "text_only")
    ]
    assert results.rows("SELECT metric, role, paired, low, threshold FROM metrics ORDER BY 1") == [
        ("effect_size", "diagnostic", True, None, None),
        ("grid_energy", "artifact", False, 0.0, 0.4),
    ]
    assert results.rows("SELECT DISTINCT reference_image FROM items") == [(f"images/ab/{sha('r')}.png",)]
    assert (folder / "images" / "ab" / f"{sha('r')}.png").is_file()
    assert results.rows("SELECT question FROM votes") == [("gain",)]
    assert results.rows("SELECT baseline, sequence FROM runs") == [("text_only", 1)]
    assert results.rows("FROM orphans") == []
    assert (folder / "shards-format-1" / "r1.jsonl").read_bytes() == before
    with pytest.raises(UsageError, match="there already"):
        convert(folder, {})
    assert open_results(folder).rows("SELECT count(*) FROM cells") == [(2,)]


def test_paired_scores_get_the_baseline_image_of_their_time(folder: Path) -> None:
    # A newer text_only has another image; only its own scores are measured again.
    newer = cell("text_only", cell_id=sha("n"), run_id="r2", picture_sha256=sha("new"), source_sha256=sha("edit"))
    again = RUN | {"run_id": "r2", "started_at": "2026-11-22T10:00:00Z"}
    write(folder, "a-later-run", again, newer, score("text_only", "effect_size", 0.0) | {"cell_id": sha("n")})
    convert(folder, {})
    results = open_results(folder)
    assert sorted(
        results.rows("SELECT cell_id, baseline_image_sha256 FROM scores WHERE metric = 'effect_size'")
    ) == sorted(
        [(sha("c", label), sha("p", "text_only")) for label in ("text_only", "canary")] + [(sha("n"), sha("new"))]
    )
    assert results.rows("SELECT label FROM current_scores WHERE metric = 'effect_size'") == [("text_only",)]


def test_the_baseline_is_the_first_label_of_the_plan(folder: Path) -> None:
    plan = {"items": ["i"], "seeds": [0], "labels": ["canary", "text_only"]}
    write(
        folder,
        "r2",
        RUN | {"run_id": "r2", "started_at": "2026-11-22", "plan": plan},
        score("text_only", "effect_size", 9),
    )
    convert(folder, {})
    found = open_results(folder).rows("SELECT value, baseline_image_sha256 FROM scores WHERE value = 9")
    assert found == [(9.0, sha("p", "canary"))]


def test_shards_are_ordered_by_their_runs(folder: Path) -> None:
    write(folder, "zz", RUN | {"run_id": "r0", "started_at": "2025-01-01"})
    convert(folder, {})
    assert open_results(folder).rows("SELECT run_id FROM runs ORDER BY sequence") == [("r0",), ("r1",)]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"record": "sell"}, "not a record of format 1"),
        ({"record": []}, "not a record of format 1"),
        (cell("canary", status="fine"), "status is 'fine'"),
        (cell("canary", picture_sha256=None), "CHECK"),
        (score("nowhere", "grid_energy", 0.5), "not a record of format 1"),
        ({"record": "score"}, "not a record of format 1"),
        (RUN | {"metrics": 5}, "not a record of format 1"),
        ({"format": 2, "sequence": 1, "run_id": "x"}, "of format 2 already"),
    ],
)
def test_a_bad_record_is_named_and_nothing_is_changed(folder: Path, record: dict[str, Any], message: str) -> None:
    write(folder, "bad", record)
    before = sorted(path.name for path in folder.rglob("*.jsonl"))
    with pytest.raises(UsageError, match=message) as caught:
        convert(folder, {})
    assert "bad.jsonl" in str(caught.value) and "\n" not in str(caught.value)
    assert sorted(path.name for path in (folder / "shards").rglob("*.jsonl")) == before
    assert not (folder / "shards-format-1").exists() and (folder / "pictures").is_dir()


def test_a_conversion_that_was_killed_between_two_renames_is_finished(folder: Path) -> None:
    convert(folder, {})
    (folder / "shards").rename(folder / "shards-format-2")
    assert convert(folder, {}) > 0
    assert open_results(folder).rows("SELECT count(*) FROM cells") == [(2,)]


def test_the_command_converts_and_says_what_it_did(folder: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "blendbench", "convert"]
    done = subprocess.run([*command, str(folder)], capture_output=True, text=True, check=True)
    assert "rows converted; the old shards are in" in done.stdout
    assert open_results(folder).rows("SELECT count(*) FROM cells") == [(2,)]
    again = subprocess.run([*command, str(tmp_path / "gone")], capture_output=True, text=True, check=False)
    assert (again.returncode, again.stderr.count("\n")) == (2, 1)
