"""The scripts that start a run on Slurm and Kubernetes give blendbench the options that it has."""

import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
SLURM = DOCS / "blendbench.sbatch"


def program(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(0o755)


@pytest.fixture
def slurm(tmp_path: Path) -> dict[str, str]:
    """Make the programs of a Slurm job of one node, which write down how they are called."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program(folder, "scontrol", 'echo "${3:?}"')
    program(folder, "srun", f'echo "srun $*" >> {tmp_path}/calls; while [[ $1 == --* ]]; do shift; done; exec "$@"')
    program(folder, "blendbench", f'exec {sys.executable} -m blendbench "$@"')
    environment = {"SLURM_JOB_NODELIST": "127.0.0.1", "SLURM_JOB_NUM_NODES": "1", "SLURM_CPUS_PER_TASK": "1"}
    return {**os.environ, **environment, "PATH": f"{folder}:{os.environ['PATH']}"}


def test_the_script_is_one_and_calls_ray_on_all_nodes(slurm: dict[str, str], tmp_path: Path) -> None:
    subprocess.run(["bash", "-n", SLURM], check=True)
    program(tmp_path / "bin", "ray", f'echo "ray $*" >> {tmp_path}/calls')
    nodes = {"SLURM_JOB_NUM_NODES": "2", "SLURM_GPUS_ON_NODE": "8"}
    subprocess.run(["bash", SLURM, "run", "core", "--results", "a b"], env=slurm | nodes, check=True)
    srun, ray = (tmp_path / "calls").read_text().splitlines()
    assert "--nodes=2 --ntasks-per-node=1" in srun
    assert ray == (
        "ray symmetric-run --address 127.0.0.1:6379 --min-nodes 2 --num-cpus 1 --num-gpus 8"
        " -- blendbench run core --results a b --executor ray --ray-address 127.0.0.1:6379"
    )


def test_what_the_script_passes_on_is_understood(slurm: dict[str, str], tmp_path: Path) -> None:
    # In place of Ray's launcher, which would end every Ray of this machine: the command alone, and no cluster there.
    program(tmp_path / "bin", "ray", 'while [[ $1 != -- ]]; do shift; done; shift; exec "$@"')
    arguments = ["run", "smoke", "--items", "1", "--results", str(tmp_path / "results")]
    called = subprocess.run(["bash", SLURM, *arguments], env=slurm, capture_output=True, text=True, check=False)
    assert called.returncode == 2
    assert called.stderr.startswith("blendbench: --ray-address 127.0.0.1:6379: no cluster there")


def test_the_manifest_runs_a_command_that_exists(cli: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    yaml = pytest.importorskip("yaml")
    job = yaml.safe_load((DOCS / "kuberay.yaml").read_text())
    words = shlex.split(job["spec"]["entrypoint"].replace("--ray-address auto", "--ray-address 127.0.0.1:1"))
    assert words.pop(0) == "blendbench"
    called = cli(*words, "--dry-run", cwd=DOCS)
    assert called.stderr.startswith("blendbench: --ray-address 127.0.0.1:1: no cluster there")
    cluster = job["spec"]["rayClusterSpec"]
    (workers,) = cluster["workerGroupSpecs"]
    for group in (cluster["headGroupSpec"], workers):
        (container,) = group["template"]["spec"]["containers"]
        assert container["image"] == "registry.example.org/blendbench:latest"
    assert workers["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
