"""`blendbench doctor`: what it prints of a machine, a results folder and a model set; a line per problem."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from blendbench.cli import doctor as command

Cli = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(autouse=True)
def all_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "_version", lambda _: "1.0")


def test_a_complete_set_is_described(cli: Cli, untrained: Path, tmp_path: Path) -> None:
    (tmp_path / "r" / "shards").mkdir(parents=True)
    (tmp_path / "r" / "shards" / "one.jsonl").write_text("")
    done = cli("doctor", "--models", untrained, "--results", tmp_path / "r")
    assert done.returncode == 0, done.stderr
    levels = "1, 0.96, 0.913, 0.8571, 0.7895, 0.7059, 0.6, 0.4615, 0.2727, 0"
    sampling = f"miniature: sampling: 9 function evaluations (NFE) an image in 9 steps, noise levels {levels}\n"
    assert sampling in done.stdout
    assert "miniature: guidance: off; no negative prompt\n" in done.stdout
    assert "miniature: clip: activation function gelu\n" in done.stdout
    assert f"results: {tmp_path / 'r'} has 1 shards and 0 images (0.0 MB)\n" in done.stdout
    assert "torch 1.0\n" in done.stdout
    assert "device " in done.stdout
    assert "PROBLEM" not in done.stdout


def test_guidance_is_described_with_what_it_costs(cli: Cli, untrained: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(untrained, tmp_path / "set"))
    text = (folder / "model_set.toml").read_text()
    settings = 'guidance = 4.0\nnegative_prompt = "blurry"\nnegative = "blend"\ncfg_normalization = true'
    (folder / "model_set.toml").write_text(text.replace("guidance = 0.0", settings))
    done = cli("doctor", "--models", folder, "--results", tmp_path / "new")
    assert done.returncode == 0, done.stderr
    assert "miniature: sampling: 18 function evaluations (NFE) an image in 9 steps, noise levels 1, " in done.stdout
    expected = (
        "guidance: 4, normalized, away from the negative prompt 'blurry' (blended as the prompt is); it evaluates"
    )
    assert f"miniature: {expected} the transformer twice a step\n" in done.stdout


def test_every_problem_is_a_line(cli: Cli, untrained: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(untrained, tmp_path / "set"))
    config = folder / "clip" / "open_clip_config.json"
    config.write_text(config.read_text().replace('    "quick_gelu": false,\n', ""))
    text = (folder / "model_set.toml").read_text()
    (folder / "model_set.toml").write_text(text.replace("height = 128", "height = 100"))
    (tmp_path / "file").write_text("")
    done = cli("doctor", "--models", folder, "--results", tmp_path / "file")
    assert done.returncode == 2
    problems = [line for line in done.stdout.splitlines() if line.startswith("PROBLEM ")]
    assert len(problems) == 3
    for words in (
        "is a file; name a folder",
        "height = 100 is not a multiple of 16",
        "set clip_quick_gelu in model_set.toml",
    ):
        assert sum(words in line for line in problems) == 1
    assert "(and 2 more, above)" in done.stderr


def test_a_missing_folder_is_named(cli: Cli, untrained: Path, tmp_path: Path) -> None:
    (tmp_path / "model_set.toml").write_text((untrained / "model_set.toml").read_text())
    done = cli("doctor", "--models", tmp_path, "--results", tmp_path / "new")
    assert done.returncode == 2
    assert "folder 'pipeline' is missing" in done.stderr
    assert f"results: {tmp_path / 'new'} is new\n" in done.stdout
    assert not (tmp_path / "new").exists()


def test_what_the_file_states_of_the_sampling_is_known_before_anything_is_downloaded(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    ran = cli("doctor", "--models", "z-image-turbo", "--results", tmp_path / "results")
    assert ran.returncode == 2
    assert (
        "sampling: 8 function evaluations (NFE) an image in 8 steps, "
        "noise levels 1, 0.9545, 0.9, 0.8333, 0.75, 0.6429, 0.5, 0.3, 0\n"
    ) in ran.stdout
    assert "memory: known when the model set is complete\n" in ran.stdout
