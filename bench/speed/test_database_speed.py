"""Speed of the database and of what is read from it: `make bench`. Each bound is for two cores."""

import itertools
import json
import subprocess
import sys
from pathlib import Path
from zlib import crc32

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from blendbench.reports.board import read_board
from blendbench.results.shards import ShardWriter
from blendbench.results.store import DATABASE, ingest, open_results

METRICS = [f"metric_{index}" for index in range(8)]
SHA = "a" * 64
CARD = {"title": "t", "role": "artifact", "direction": "lower", "unit": "", "margin": 0.1, "decimals": 3}


def write_shard(folder: Path, labels: int, items: int, seeds: int) -> int:
    """Write what a run of `labels` configurations writes, with eight scores a cell; how many scores."""
    names = ["text_only", *(f"lerp:alpha={index / labels:g}" for index in range(1, labels))]
    item_names, seed_list = [f"item-{i}" for i in range(items)], list(range(seeds))
    settings = {"suite_sha256": SHA, "sampler_sha256": SHA, "model_set_sha256": SHA, "dtype": "float32"}
    run = {"run_id": "run", "experiment": "speed", "started_at": "2026-01-01T00:00:00Z", "blendbench_version": "0"}
    run |= settings | {"model_set": "m", "suite": "s", "device": "cpu", "sampler": {}, "environment": {}}
    plan = {"run_id": "run", "metric_version": 1}
    with ShardWriter(folder, "run") as writer:
        writer.append("runs", [run | {"baseline": "text_only", "items": item_names, "seeds": seed_list}])
        writer.append("metrics", [CARD | {"metric": m, "metric_version": 1, "paired": False} for m in METRICS])
        writer.append("planned_metrics", [plan | {"metric": metric} for metric in METRICS])
        writer.append("suites", [{"suite": "s", "suite_sha256": SHA, "version": 1, "title": "s"}])
    cell = settings | {"run_id": "run", "experiment": "speed", "strategy": "lerp", "params": {"alpha": 0.3}}
    cell |= {"control": False, "status": "ok", "conditioning_sha256": SHA, "image_sha256": SHA, "noise_seed": 1}
    count = 0
    # Text in place of rows: what is timed is reading them.
    with (folder / "shards" / "run.jsonl").open("a") as file:
        for item, seed, label in itertools.product(item_names, seed_list, names):
            place = {"table": "cells", "cell_id": f"{count:064x}", "label": label, "item": item, "seed": seed}
            file.write(json.dumps(cell | place, separators=(",", ":")) + "\n")
            for metric in METRICS:
                # The item's, the configuration's, and one of its own, so that differences vary.
                parts = (item, seed, metric), (label, metric), (label, item, seed, metric)
                value = sum(crc32(repr(part).encode()) % 997 for part in parts) / 3000
                score = {"table": "scores", "cell_id": f"{count:064x}", "error": None, "image_sha256": SHA}
                score |= {"metric": metric, "metric_version": 1, "status": "ok", "value": value}
                file.write(json.dumps(score, separators=(",", ":")) + "\n")
            count += 1
    return count * len(METRICS)


def test_a_million_scores_are_ingested_in_15_seconds(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    assert write_shard(tmp_path, labels=100, items=250, seeds=5) == 1_000_000

    def fresh() -> None:
        (tmp_path / DATABASE).unlink(missing_ok=True)

    done = benchmark.pedantic(lambda: ingest(tmp_path), setup=fresh, rounds=3)
    assert done.rows == 1_125_018
    assert benchmark.stats is not None
    assert benchmark.stats["min"] <= 15


def test_the_paired_view_of_a_million_scores_answers_in_3_seconds(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    write_shard(tmp_path, labels=100, items=250, seeds=5)
    results = open_results(tmp_path)
    query = "SELECT label, metric, count(*), avg(difference) FROM paired_effects GROUP BY ALL"
    rows = benchmark.pedantic(lambda: results.rows(query), warmup_rounds=1, rounds=5)
    assert sum(row[2] for row in rows) == 990_000
    assert benchmark.stats is not None
    assert benchmark.stats["min"] <= 3


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
