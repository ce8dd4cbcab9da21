"""Runs on a Ray cluster of several nodes: the same database as in one process, whatever is lost on the way."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from run_outcomes import outcome, rows_of

from blendbench.core.errors import UsageError
from blendbench.core.suites import load_suite
from blendbench.models.sets import ModelSet, load_model_set
from blendbench.registry.loading import load_plugin
from blendbench.results.shards import shard_paths
from blendbench.run import cluster as cluster_module
from blendbench.run.cluster import Cluster
from blendbench.run.cluster_engine import ClusterEngine
from blendbench.run.experiments import Grid, load_experiment
from blendbench.run.loop import run
from blendbench.run.plan import Plan, make_plan
from blendbench.run.progress import Reporter

pytestmark = pytest.mark.slow
pytest.importorskip("ray")
PLUGIN = """
from blendbench.blending import Tokens, alignment, strategy

@alignment("mirrored")
def mirrored(text, vision):
    return text, vision.flip(0)[: len(text)].repeat(len(text), 1)[: len(text)]

@strategy("own", version=1, source="test")
def own(text: Tokens, vision: Tokens):
    if len(text.hidden) % 2:
        raise ValueError("an odd number of tokens")
    return text.hidden * 0.5
"""
SAMPLER = {"steps": 1, "batch_size": 4}


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    """Start a cluster of three nodes, each with room for one worker."""
    from ray.cluster_utils import Cluster as Nodes

    node = {"num_cpus": 1, "object_store_memory": 100 << 20}
    started = Nodes(initialize_head=True, head_node_args=node)
    for _ in range(2):
        started.add_node(wait=False, **node)
    started.wait_for_nodes()
    yield started
    started.shutdown()


@pytest.fixture(scope="module")
def models(untrained: Path) -> ModelSet:
    return load_model_set(untrained, "cpu", SAMPLER)


@pytest.fixture
def plan(models: ModelSet, tmp_path: Path) -> Plan:
    """Plan cells that fail, share an image, read shared inputs, and need a plug-in's strategy and step."""
    (tmp_path / "plug.py").write_text(PLUGIN)
    load_plugin(tmp_path / "plug.py")
    lerp = (Grid("lerp", (("alpha", (0.0, 0.5)),)), Grid("lerp", (("alpha", (0.3,)), ("align", ("mirrored",)))))
    grids = (*lerp, Grid("own", ()), Grid("mean_style", ()))
    base = replace(load_experiment("smoke"), strategies=grids, items=5, controls=False)
    return make_plan(replace(base, metrics=("effect_size", "clip_cosine")), load_suite("miniature"), models)


def conditionings(results: Path) -> set[Any]:
    return {tuple(vars(row).values()) for row in rows_of(results, "conditionings")}


def test_losses_change_nothing(nodes: Any, models: ModelSet, plan: Plan, tmp_path: Path, monkeypatch: Any) -> None:
    """One worker of three is killed once it has generated something, then the machine of another is lost."""
    one = load_model_set(models.folder, "cpu", SAMPLER)
    run(plan, one, tmp_path / "one", Reporter(quiet=True))
    losses: list[Callable[[], None]] = []
    settle = ClusterEngine._settle

    def losing(*given: Any) -> None:
        settle(*given)
        if losses:
            losses.pop()()

    monkeypatch.setattr(ClusterEngine, "_settle", losing)
    # As on machines that do not reach the results folder: images come with the outcomes.
    monkeypatch.setattr(cluster_module, "mark", lambda results: "another folder")
    with Cluster(nodes.address, workers=3) as cluster:
        (tmp_path / "several").mkdir()
        cluster.begin(plan, models, tmp_path / "several")
        while not all(hand.description for hand in cluster.hands):
            cluster.welcome_next()
        first = cluster.hands[0].description
        assert first is not None
        losses += [
            lambda: nodes.remove_node(nodes.list_all_nodes()[-1], allow_graceful=False),
            lambda: os.kill(first.process, signal.SIGKILL),
        ]
        done = run(plan, models, tmp_path / "several", Reporter(quiet=True), cluster=cluster)
        assert not losses
        assert done.expected == 30 == done.ok + done.failed
        assert outcome(tmp_path / "several") == outcome(tmp_path / "one")
        assert conditionings(tmp_path / "several") == conditionings(tmp_path / "one")
        lines = [line for path in shard_paths(tmp_path / "several") for line in path.read_text().splitlines()]
        assert len([line for line in lines if '"table":"cells"' in line]) == 30  # nothing twice
        assert not any(hand.description.sees_results for hand in cluster.hands if hand.description)
        monkeypatch.undo()
        # The workers stay for the next run, which finds most of its cells and their baselines finished.
        more = replace(plan.experiment, strategies=(*plan.experiment.strategies, Grid("concatenate", ())))
        again = make_plan(more, plan.suite, models)
        assert run(again, models, tmp_path / "several", Reporter(quiet=True), cluster=cluster).images == 5
        assert all(hand.description.sees_results for hand in cluster.hands if hand.description)
    run(make_plan(more, plan.suite, one), one, tmp_path / "one", Reporter(quiet=True))
    assert outcome(tmp_path / "several") == outcome(tmp_path / "one")


def test_ray_does_not_take_the_signals_of_the_command_over(monkeypatch: pytest.MonkeyPatch) -> None:
    class Ray:
        def init(self, *_: object, **__: object) -> None:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as Ray sets a handler that ends the process with code 15

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(cluster_module, "_imported", Ray)
    assert isinstance(Cluster(workers=1).ray, Ray)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_killed_command_leaves_what_the_next_one_finishes(
    nodes: Any, cli: Any, untrained: Path, tmp_path: Path
) -> None:
    results = tmp_path / "results"
    arguments = ["run", "smoke", "--models", str(untrained), "--results", str(results)]
    command = [sys.executable, "-m", "blendbench", *arguments, "--ray-address", nodes.address, "--workers", "1"]
    killed = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while killed.poll() is None and not any('"table":"cells"' in path.read_text() for path in shard_paths(results)):
        time.sleep(0.05)
    killed.kill()
    killed.wait()
    assert cli(*arguments).returncode == 0
    rows = rows_of(results, "cells")
    assert {row.status for row in rows} == {"ok"}
    assert len(rows) == len({row.cell_id for row in rows}) == 14
    assert len(rows_of(results, "runs")) == 2


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--executor", "local", "--workers", "2"], "--workers: --executor local"),
        (["--gpus", "2", "--device", "cpu"], "--gpus 2: no GPU"),
        (["--ray-address", "ray://127.0.0.1:10001"], "run this on a machine of the cluster"),
        (["--ray-address", "127.0.0.1:1"], "--ray-address 127.0.0.1:1: no cluster there"),
    ],
)
def test_options_that_cannot_work_are_refused(cli: Any, options: list[str], reason: str, tmp_path: Path) -> None:
    called = cli("run", "smoke", *options, "--results", tmp_path)
    assert called.returncode == 2
    assert reason in called.stderr
    assert len(called.stderr.splitlines()) == 1


@pytest.fixture(scope="module")
def worker(nodes: Any) -> Iterator[Cluster]:
    """Start one worker, which takes a place of the cluster until the last test."""
    with Cluster(nodes.address, workers=1) as cluster:
        yield cluster


def test_cells_are_generated_again_by_the_workers(
    worker: Cluster, models: ModelSet, plan: Plan, tmp_path: Path
) -> None:
    """What a worker generated before it finds nowhere: images come with a batch size."""
    done = run(plan, models, tmp_path, Reporter(quiet=True), cluster=worker, repeat=50)
    assert (done.stopped, done.differing, done.repeats_failed) == (None, 0, 0)
    rows = rows_of(tmp_path, "repeats")
    assert len(rows) == done.repeated > 5
    assert {row.batch_size for row in rows} == {4}
    assert all(row.image_sha256 == row.again_sha256 for row in rows)


def test_other_software_is_refused(worker: Cluster, models: ModelSet, tmp_path: Path, monkeypatch: Any) -> None:
    plan = make_plan(replace(load_experiment("smoke"), items=1), load_suite("miniature"), models)
    monkeypatch.setattr(cluster_module, "software", lambda: {"torch": "1.0"})
    with pytest.raises(UsageError, match=r"torch is .*, here it is 1\.0"):
        worker.begin(plan, models, tmp_path)
