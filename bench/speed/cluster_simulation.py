"""`python bench/speed/cluster_simulation.py --out FILE.json`: how many GPUs one command can keep busy.

Measures what the process of a run does for each cell and each item (unpacking, hidden states, rows on disk), by its own
functions on this machine in CPU time, and simulates workers that need it: it serves one request after the other, and
what has come meanwhile is written down together. Networks and image files are the workers' own work where they reach
the results folder. `--cell-seconds` is the measured time of a cell on one GPU, `--strategies` the
cells of an item.
"""

import argparse
import heapq
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from blendbench.core.suites import Item
from blendbench.registry.strategies import get_strategy
from blendbench.results.schema import RowChecker
from blendbench.results.shards import ShardWriter
from blendbench.run.cluster import GATHERED, MANY, Cluster
from blendbench.run.generate import Finished, GeneratedImage
from blendbench.run.plan import Cell
from blendbench.run.score import Scores
from blendbench.run.ship import Message, pack, unpack

sys.path.append(str(Path(__file__).parents[2] / "tests" / "results"))
from synthetic_results import cell_row, item_name, score_row, sha

_METRICS = 29
_SCORED = 8  # cells whose scores come as one message
_STATES = 8 << 20  # bytes of hidden states that an item's cells read: text and one layer of a reference at 1024 pixels
_GPUS = (1, 4, 16, 64, 128, 256, 512, 1024, 2048)


@dataclass(frozen=True)
class Costs:
    """Seconds of the run's process.

    `message`: for that of a cell; `scores`: for that of some cells' scores; `write`: for a write to disk; `cell`: for
    what is written of a cell and its scores; `item`: for its hidden states.
    """

    message: float
    scores: float
    write: float
    cell: float
    item: float

    @property
    def each(self) -> float:
        """Seconds for a cell, without waiting for the disk and without its item's."""
        return self.message + self.scores / _SCORED + self.cell


def measured() -> Costs:
    """Measure the costs on this machine."""
    item = Item("a", "a circle", Path("a.png"), "", Path("a.png"), "matched", None, None)
    cell = Cell(sha("c"), get_strategy("text_only").bind(), item, 0, 0)
    image = GeneratedImage(cell, sha("conditioning"), sha("image"), 300, None, 1)
    packed = [
        pack(Message(Finished([image], [{"conditioning_sha256": sha("conditioning")}]), {})),
        pack(
            Message(
                Scores(_score_lines([cell_row("canary", item_name(i), 0, sha("i", i)) for i in range(_SCORED)]), {}), {}
            )
        ),
    ]
    unpacking = [_seconds(partial(unpack, data, {cell.cell_id: cell}), 300) for data in packed]
    with tempfile.TemporaryDirectory(dir=".") as folder:
        times = {count: _writing(Path(folder), count, time.process_time) for count in (1, 256)}
        write = _writing(Path(folder), 1, time.perf_counter)  # waits for the disk
        states = Path(folder) / "states"
        states.write_bytes(np.random.default_rng(0).bytes(_STATES))
        with Cluster(workers=1, device="cpu") as cluster:
            receiving, sharing = [_receiving(cluster, len(data)) for data in packed], _sharing(cluster, states)
    message, scores = (sum(both) for both in zip(unpacking, receiving, strict=True))
    return Costs(message, scores, write, (times[256] - times[1]) / 255, sharing)


def _score_lines(cells: list[Any]) -> list[str]:
    scores = [_plain(score_row(cell, f"m{m}", 0.5)) for cell in cells for m in range(_METRICS)]
    return RowChecker().lines("scores", scores)  # the work of those who measure them


def _sharing(cluster: Cluster, path: Path) -> float:
    """Return the CPU seconds in which a file is read and put into the object store."""
    for _ in range(5):  # the store's memory is touched for the first time
        cluster.ray.put(np.frombuffer(path.read_bytes(), np.uint8))
    return _seconds(lambda: cluster.ray.put(np.frombuffer(path.read_bytes(), np.uint8)), 40)


def _receiving(cluster: Cluster, size: int, messages: int = 1000) -> float:
    """Return the CPU seconds in which a process receives a message of some bytes from a worker of Ray."""
    remote = cluster.ray.remote(_Sender).options(num_cpus=0).remote()
    stream = remote.send.options(num_returns="streaming").remote(size, messages)

    def receive() -> None:
        cluster.ray.wait([stream], num_returns=1)
        cluster.ray.get(next(stream))

    receive()  # starts the worker
    return _seconds(receive, messages - 1)


class _Sender:
    def send(self, size: int, messages: int) -> Iterator[bytes]:
        for _ in range(messages):
            yield bytes(size)


def _seconds(call: Callable[[], Any], repeats: int, clock: Callable[[], float] = time.process_time) -> float:
    began = clock()
    for _ in range(repeats):
        call()
    return (clock() - began) / repeats


def _writing(folder: Path, count: int, clock: Callable[[], float]) -> float:
    """Return the seconds of writing some cells, each with all scores, at once."""
    cells = [cell_row("canary", item_name(i), 0, sha("image", i)) for i in range(count)]
    rows = {
        "cells": [_plain(cell) for cell in cells],
        "cell_batches": [{"cell_id": cell.cell_id, "run_id": "run1", "batch_size": 1} for cell in cells],
    }
    lines = _score_lines(cells)
    with ShardWriter(folder, f"run-{count}-{clock.__name__}") as shard:

        def write() -> None:
            shard.append_all(rows)
            shard.append_lines(lines)

        return _seconds(write, max(5, 100 // count), clock)


def _plain(row: Any) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "table"}


def simulate(gpus: int, cell_seconds: float, strategies: int, costs: Costs, seconds: float = 120.0) -> dict[str, float]:
    """Simulate a run in steady state: how busy its process is, and the fraction of the GPUs' time that is used.

    A worker generates an item's cells one after the other, and asks for the next item with its last cell.
    """
    rng = np.random.default_rng(0)
    queue = [(float(rng.uniform(0, cell_seconds)), worker, int(rng.integers(strategies))) for worker in range(gpus)]
    heapq.heapify(queue)
    now = busy = used = 0.0
    while queue and now < seconds:
        now = max(now, queue[0][0]) + (GATHERED if gpus > MANY else 0.0)
        taken = []
        while queue and queue[0][0] <= now:
            taken.append(heapq.heappop(queue))
        asking = [worker for _, worker, done in taken if (done + 1) % strategies == 0]
        spent = costs.write + len(taken) * costs.each + len(asking) * costs.item
        now, busy, used = now + spent, busy + spent, used + len(taken) * cell_seconds
        for ended, worker, done in taken:
            # Two batches wait at the device: only who asks for an item may have to wait, and longer than those take.
            begin = max(ended, now - 2 * cell_seconds) if (done + 1) % strategies == 0 else ended
            heapq.heappush(queue, (begin + cell_seconds, worker, done + 1))
    return {"busy": busy / now, "gpus_used": min(1.0, used / (gpus * now))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cell-seconds", type=float, default=0.9, help="one H200 at 1024 pixels: reports/speed.json")
    parser.add_argument("--strategies", type=int, default=75, help="cells of an item; core has 75")
    options = parser.parse_args()
    costs = measured()
    table = {gpus: simulate(gpus, options.cell_seconds, options.strategies, costs) for gpus in _GPUS}
    saturates = options.cell_seconds / (costs.each + costs.item / options.strategies)
    found = {"costs_s": vars(costs), "cell_s": options.cell_seconds, "strategies": options.strategies}
    found |= {"gpus": table, "saturates_at_gpus": saturates}
    options.out.write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
