"""Speed of the database and of what is read from it: `make bench`. Each bound is for two cores."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from zlib import crc32

import duckdb
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from blendbench.reports.board import read_board
from blendbench.results.store import DATABASE, ingest, open_results

METRICS = [f"metric_{index}" for index in range(8)]
CARD = {"version": 1, "title": "t", "kind": "artifact", "direction": "lower", "unit": "", "margin": 0.1, "decimals": 3}


def records(labels: int, items: int, seeds: int) -> Iterator[Record]:
    """A run of `labels` configurations and its cells, as the engine writes them."""
    names = ["text_only", *(f"lerp:alpha={index / labels:g}" for index in range(1, labels))]
    plan = {"items": [f"item-{i}" for i in range(items)], "seeds": list(range(seeds)), "labels": names}
    yield RunRecord(
        run_id="run",
        experiment="speed",
        started_at="2026-01-01T00:00:00Z",
        blendbench_version="0",
        git_commit=None,
        model_set="m",
        model_set_sha256="m",
        suite="s",
        suite_sha256="s",
        device="cpu",
        dtype="float32",
        sampler={},
        environment={},
        metrics=dict.fromkeys(METRICS, 1),
        plan=plan,
        metric_cards=[{"name": n} | CARD for n in METRICS],
    )
    yield SuiteRecord("s", "s", 1, "s")
    first = CellRecord(
        cell_id="",
        run_id="run",
        experiment="speed",
        strategy="lerp",
        params={"alpha": 0.3},
        label="",
        control=False,
        item="",
        seed=0,
        suite_sha256="s",
        sampler_sha256="s",
        model_set_sha256="m",
        dtype="float32",
        status="ok",
        error=None,
        conditioning_sha256="c" * 64,
        image_sha256="p" * 64,
        noise_seed=1,
        tokens=40,
    )
    count = 0
    for item in plan["items"]:
        for seed in plan["seeds"]:
            for label in names:
                yield first.changed(cell_id=f"{count:064x}", label=label, item=item, seed=seed)
                count += 1


def _parts_of(record: CellRecord, metric: str) -> tuple[object, ...]:
    """What a score is the sum of: the item's, the configuration's, and one of its own, so that differences vary."""
    unit = (record.item, record.seed, metric)
    return unit, (record.label, metric), (record.label, *unit)


def write_shard(folder: Path, labels: int, items: int, seeds: int) -> int:
    """A shard with eight scores a cell; how many scores."""
    (folder / "shards").mkdir()
    scores = 0
    with (folder / "shards" / "run.jsonl").open("w") as file:
        for record in records(labels, items, seeds):
            file.write(to_line(record) + "\n")
            if record.table == "cells":
                for metric in METRICS:
                    # Text in place of records: what is timed is reading them.
                    value = sum(crc32(repr(part).encode()) % 997 for part in _parts_of(record, metric)) / 3000
                    line = {"cell_id": record.cell_id, "error": None, "metric": metric, "metric_version": 1}
                    line |= {"record": "score", "scorer_sha256": None, "status": "ok", "value": value}
                    file.write(json.dumps(line, separators=(",", ":")) + "\n")
                    scores += 1
    return scores


def test_a_million_scores_are_ingested_in_5_seconds(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    assert write_shard(tmp_path, labels=100, items=250, seeds=5) == 1_000_000

    def fresh() -> None:
        (tmp_path / DATABASE).unlink(missing_ok=True)

    done = benchmark.pedantic(lambda: ingest(tmp_path), setup=fresh, rounds=3)
    assert done.records == 1_125_002
    assert benchmark.stats is not None
    assert benchmark.stats["min"] <= 5


def test_the_paired_view_of_ten_million_scores_answers_in_a_second(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    write_shard(tmp_path, labels=2, items=1, seeds=1)
    ingest(tmp_path)
    with duckdb.connect(str(tmp_path / DATABASE)) as connection:
        connection.execute(
            """
            INSERT INTO paired_scores
            SELECT 'speed', 'lerp:alpha=' || (i % 99), 'item-' || ((i // 792) % 2500), i // 1980000,
                'metric_' || (i // 99 % 8), 1, random(), random()
            FROM range(10_000_000) AS t(i)
            """
        )
    results = open_results(tmp_path / DATABASE)
    query = "SELECT label, metric, count(*) AS n, avg(difference) AS mean FROM paired_effects GROUP BY ALL"
    rows = benchmark.pedantic(lambda: results.query(query), warmup_rounds=1, rounds=5)
    assert rows["n"].sum() == 10_000_008
    assert benchmark.stats is not None
    assert benchmark.stats["max"] <= 1


def test_a_leaderboard_of_100_strategies_takes_10_seconds(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    write_shard(tmp_path, labels=100, items=200, seeds=1)
    results = open_results(tmp_path)
    board = benchmark.pedantic(lambda: read_board(results), rounds=1)
    assert len(board.configurations) == 100
    assert benchmark.stats is not None
    assert benchmark.stats["max"] <= 10


LISTS = [("list", kind) for kind in ("strategies", "metrics", "experiments", "suites", "models")]


@pytest.mark.parametrize("arguments", [("--help",), *LISTS])
def test_help_and_lists_take_a_third_of_a_second(benchmark: BenchmarkFixture, arguments: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "blendbench", *arguments]
    benchmark.pedantic(lambda: subprocess.run(command, check=True, capture_output=True), warmup_rounds=1, rounds=5)
    assert benchmark.stats is not None
    assert benchmark.stats["min"] <= 0.3
