"""What users do wrong, or what a killed process leaves: one line that names it, exit code 2, no traceback."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
from synthetic_results import white_plots, write_results

from blendbench.results.store import DATABASE, ingest

Shard = Callable[[dict[str, object]], dict[str, object] | None]
CANDIDATE = "adain_dim:alpha=0.3"


def results(folder: Path, change: Shard | None = None, items: int = 2) -> Path:
    """A results folder whose records were changed, or left out where `change` gives None."""
    write_results(folder, items=items, images=False)
    if change is not None:
        shard = folder / "shards" / "run1.jsonl"
        changed = (change(json.loads(line)) for line in shard.read_text(encoding="utf-8").splitlines())
        shard.write_text("".join(f"{json.dumps(record)}\n" for record in changed if record), encoding="utf-8")
    return folder


def refused(capsys: pytest.CaptureFixture[str]) -> str:
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1
    return printed.err


def _nan(record: dict[str, object]) -> dict[str, object]:
    return record | {"value": float("nan")} if record.get("metric") == "grid_energy" else record


def _value_of_a_failure(record: dict[str, object]) -> dict[str, object]:
    return record | {"status": "failed"} if record.get("metric") == "grid_energy" else record


@pytest.mark.parametrize("change", [_nan, _value_of_a_failure])
@pytest.mark.parametrize("verb", [("gate", "--candidate", CANDIDATE), ("sql", "FROM scores")])
def test_a_score_that_breaks_the_rules_is_reported_by_shard_and_line(
    change: Shard,
    verb: tuple[str, ...],
    tmp_path: Path,
    call: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = results(tmp_path, change)
    assert call(*verb, "--results", folder) == 2
    line = int(refused(capsys).partition("run1.jsonl:")[2].partition(":")[0])
    record = json.loads((folder / "shards" / "run1.jsonl").read_text().splitlines()[line - 1])
    assert record["metric"] == "grid_energy"


def test_one_seed_that_lacks_a_pair_is_an_error_and_not_left_out(
    tmp_path: Path, call: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    lost: set[object] = set()

    def drop(record: dict[str, object]) -> dict[str, object] | None:
        if record.get("table") == "cells" and (record["label"], record["seed"]) == (CANDIDATE, 1):
            lost.add(record["cell_id"])
        return None if record.get("cell_id") in lost else record

    folder = results(tmp_path, drop)
    for verb in (("gate", "--candidate", "adain_dim"), ("compare", "adain_dim", "text_only")):
        assert call(*verb, "--results", folder) == 2
        assert "2 of 4 pairs are missing in core, the first is item item-00, seed 1" in refused(capsys)


def test_nothing_to_compare_is_reported(
    tmp_path: Path, call: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = results(tmp_path, lambda record: None if record.get("table") == "scores" else record)
    assert call("compare", "adain_dim", "text_only", "--results", folder) == 2
    assert "has no attribute_adherence; `blendbench run` measures it" in refused(capsys)


@white_plots()
def test_what_lacks_the_baseline_says_so(tmp_path: Path, call: Callable[..., int]) -> None:
    def drop(record: dict[str, object]) -> dict[str, object] | None:
        return None if record.get("table") == "cells" and record["label"] == "text_only" else record

    folder = results(tmp_path / "r", drop)
    assert call("leaderboard", "--results", folder, "--out", tmp_path / "out") == 0
    assert "**`text_only` has 0 of 4 cells**" in (tmp_path / "out" / "core.md").read_text(encoding="utf-8")


@white_plots()
def test_one_item_decides_nothing(tmp_path: Path, call: Callable[..., int]) -> None:
    folder = results(tmp_path / "r", items=1)
    assert call("leaderboard", "--results", folder, "--out", tmp_path / "out") == 0
    page = (tmp_path / "out" / "core.md").read_text(encoding="utf-8")
    outcomes = re.findall(r"<br>\*\*([^*]+)\*\*", page)
    assert len(outcomes) >= 14 and set(outcomes) == {"undecided", "no-op"}
    assert "on 1 item x 2 seeds" in page and "**1 item is too few**" in page


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("text", "not a database that can be read\n"),
        ("foreign", "not a database of this version of blendbench"),
        ("older", "not a database of this version of blendbench"),
    ],
)
def test_a_file_in_place_of_a_folder_is_distinguished_from_a_database_of_this_version(
    kind: str, expected: str, tmp_path: Path, call: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "some.duckdb"
    if kind == "text":
        file.write_text("dear diary\n" * 100)
    elif kind == "foreign":
        with duckdb.connect(str(file)) as connection:
            connection.execute("CREATE TABLE mine (a INTEGER)")
    else:
        ingest(results(tmp_path / "r"))
        (tmp_path / "r" / DATABASE).rename(file)
        with duckdb.connect(str(file)) as connection:
            connection.execute("UPDATE schema_hash SET sha256 = repeat('0', 64)")
    assert call("gate", "--candidate", CANDIDATE, "--results", file) == 2
    message = refused(capsys)
    # A file that blendbench did not make is never to be deleted.
    assert expected in message and "delete" not in message


@pytest.mark.parametrize("kept", [0, 100, 5000, 1_000_000])
def test_a_spoilt_database_beside_its_shards_is_made_again(tmp_path: Path, call: Callable[..., int], kept: int) -> None:
    folder = results(tmp_path)
    assert call("sql", "FROM scores LIMIT 1", "--results", folder) == 0
    whole = (folder / DATABASE).read_bytes()
    (folder / DATABASE).write_bytes(whole[:kept] + b"spoilt" * 1000)
    assert call("sql", "FROM scores LIMIT 1", "--results", folder) == 0


@pytest.mark.parametrize("verb", [("leaderboard",), ("publish",)])
def test_a_place_where_nothing_can_be_written_is_reported(
    verb: tuple[str, ...], tmp_path: Path, call: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, file = results(tmp_path / "r"), tmp_path / "file"
    file.write_text("")
    assert call(*verb, "--results", folder, "--out", file) == 2
    assert "name another with --out" in refused(capsys)


@pytest.mark.parametrize("verb", ["leaderboard", "gallery", "publish"])
def test_a_misspelt_experiment_gets_a_suggestion(
    verb: str, tmp_path: Path, call: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(verb, "cor", "--results", results(tmp_path / "r"), "--out", tmp_path / "o") == 2
    assert "did you mean 'core'" in refused(capsys)
    assert not (tmp_path / "o").exists()


def test_a_reader_that_stops_reading_is_no_crash(tmp_path: Path) -> None:
    folder = results(tmp_path, items=6)
    command = f"{sys.executable} -m blendbench sql 'FROM scores, range(100)' --format csv --results {folder} | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout.count("\n") == 1 and "Traceback" not in done.stderr


def test_a_folder_without_permission_is_one_line(
    monkeypatch: pytest.MonkeyPatch, call: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    def denied(name: str, arguments: list[str]) -> int:
        raise PermissionError(13, "Permission denied", "out/findings.md")

    monkeypatch.setattr("blendbench.cli._verb", denied)
    assert call("findings") == 2
    said = refused(capsys)
    assert "out/findings.md: Permission denied" in said
