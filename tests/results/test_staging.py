"""Two ways from shards to rows: DuckDB's for what this version writes, Python's for the rest. They must agree."""

import json
import random
from pathlib import Path

import duckdb
import pandas as pd
import pytest
from synthetic_results import cell_record, item_name, run_record, sha, write_results

from blendbench.core.errors import UsageError
from blendbench.results import staging
from blendbench.results.records import Record, ScoreRecord, to_line
from blendbench.results.shards import ShardWriter, read_shards, shard_paths
from blendbench.results.store import ingest, open_results

ODD = 'a "quoted"\n\tline, \\ tab\u2028 \u00e9 \U0001f600 ; -- \' {} [] \x01'


def rows(folder: Path) -> dict[str, pd.DataFrame]:
    """All tables that are made from records."""
    results = open_results(folder)
    return {table: results.query(f"FROM {table} ORDER BY ALL") for table, _ in staging.TABLES.values()}


def by_python(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, pd.DataFrame]:
    """The same tables, as if DuckDB could not read the shards themselves."""
    quick, calls = staging._stage, []

    def refuse_first(connection: duckdb.DuckDBPyConnection, paths: list[Path]) -> staging.Staged:
        calls.append(paths)
        if len(calls) == 1:
            raise staging._UnusualError
        return quick(connection, paths)

    (folder / "blendbench.duckdb").unlink()
    with monkeypatch.context() as patched:
        patched.setattr(staging, "_stage", refuse_first)
        ingest(folder)
    assert len(calls) == 2
    return rows(folder)


def random_records(rng: random.Random) -> list[Record]:
    """Cells and scores that come again with other values and statuses."""
    records: list[Record] = []
    for _ in range(200):
        label, item = rng.choice(["canary", "text_only", "vision_only"]), item_name(rng.randrange(2))
        ok = rng.random() < 0.6
        changes = {"tokens": rng.choice([None, 1, 2]), "params": {"x": [rng.random(), None, True, ODD]}}
        if not ok:
            changes["error"] = f"{ODD} {rng.random()}"
        records.append(cell_record(label, item, 0, sha(rng.random()) if ok else None, **changes))
        status = rng.choice(["ok", "failed", "skipped", "unscorable"])
        value = rng.choice([0.1, -1e-300, 1e300, 5.0, rng.random()]) if status == "ok" else None
        records.append(
            ScoreRecord(sha("cell", label, item, 0), rng.choice("ab"), 1, value, status, rng.choice([None, ODD]))
        )
    return records


@pytest.mark.parametrize("seed", range(4))
def test_both_ways_give_the_same_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    rng = random.Random(seed)
    write_results(tmp_path, items=2, images=False)
    # By name and by start the shards come in different orders, and one has no run at all.
    for name, started in (("z", "2026-11-02T00:00:00Z"), ("a", "2026-11-29T00:00:00Z"), ("votes", None)):
        with ShardWriter(tmp_path, name) as writer:
            head = [] if started is None else [run_record(name, started_at=started)]
            writer.append([*head, *random_records(rng)])
    ingested = ingest(tmp_path)
    assert ingested.records == len(read_shards(tmp_path).records)
    expected = rows(tmp_path)
    assert len(expected["cells"]) > 0
    for table, frame in by_python(tmp_path, monkeypatch).items():
        pd.testing.assert_frame_equal(frame, expected[table])


def test_a_million_lines_would_not_go_through_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_results(tmp_path, items=2, images=False)
    monkeypatch.setattr(staging, "read_shards", lambda _: pytest.fail("read line by line"))
    shard = tmp_path / "shards" / "run1.jsonl"
    shard.write_bytes(shard.read_bytes() + b'{"torn": ')
    assert ingest(tmp_path).torn_lines == 1


def test_a_line_that_only_lacks_its_newline_is_torn_too(tmp_path: Path) -> None:
    write_results(tmp_path, items=1, images=False)
    shard = tmp_path / "shards" / "run1.jsonl"
    whole = len(read_shards(tmp_path).records)
    shard.write_bytes(shard.read_bytes().removesuffix(b"\n"))
    done = ingest(tmp_path)
    assert (done.records, done.torn_lines) == (whole - 1, 1)


def test_fields_that_older_versions_did_not_write_get_their_defaults(tmp_path: Path) -> None:
    write_results(tmp_path, items=1, images=False)
    cell = json.loads(to_line(cell_record("canary", item_name(0), 7, sha("p"), cell_id="old")))
    del cell["source_sha256"]
    (tmp_path / "shards" / "old.jsonl").write_text(json.dumps(cell) + "\n")
    found = open_results(tmp_path).query("SELECT source_sha256 FROM cells WHERE cell_id = 'old'")
    assert found["source_sha256"].tolist() == [""]


@pytest.mark.parametrize("line", ['{"record":"score"}', "[1]", "nonsense", '{"record":"score","x":1}', ""])
def test_a_bad_line_among_good_ones_is_named(tmp_path: Path, line: str) -> None:
    write_results(tmp_path, items=1, images=False)
    (tmp_path / "shards" / "zz.jsonl").write_text(f"{to_line(run_record('zz'))}\n{line}\n")
    with pytest.raises(UsageError, match=r"zz\.jsonl:2: "):
        ingest(tmp_path)
    assert len(shard_paths(tmp_path)) == 2


def test_paired_effects_are_what_the_units_say(tmp_path: Path) -> None:
    write_results(tmp_path, items=3, images=False)
    results = open_results(tmp_path)
    expected = results.query(
        """
        SELECT u.experiment, u.label, u.item, u.seed, u.metric, u.metric_version, u.value,
            b.value AS baseline_value, u.value - b.value AS difference
        FROM unit_scores u JOIN unit_scores b USING (experiment, item, seed, metric, metric_version)
        WHERE b.label = 'text_only' AND u.label <> 'text_only' AND u.status = 'ok' AND b.status = 'ok' ORDER BY ALL
        """
    )
    assert len(expected) > 100
    pd.testing.assert_frame_equal(results.query("FROM paired_effects ORDER BY ALL"), expected)
