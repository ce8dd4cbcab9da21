"""`blendbench gallery` as a user calls it."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from synthetic_results import MODELS, SUITE, item_name, sha, write_results

Cli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    write_results(folder, items=2)
    return folder


def test_it_writes_a_folder_and_says_how_to_open_it(cli: Cli, folder: Path, tmp_path: Path) -> None:
    done = cli("gallery", "core", "--results", folder, "--out", tmp_path / "pages")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"open: {(tmp_path / 'pages' / 'index.html').as_uri()}" in done.stdout
    page = (tmp_path / "pages" / "index.html").read_text()
    assert "http:" not in page and "https:" not in page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nope",), "no results of this experiment"),
        (("core", "--out", "{file}"), "is no gallery"),
        (("--votes", "gone.json"), "gone.json: no such file"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(
    cli: Cli, folder: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    done = cli("gallery", *(argument.format(file=file) for argument in arguments), "--results", folder)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert message in done.stderr
    assert file.read_text() == "mine"


def test_votes_are_taken_in_and_set_against_the_metrics(cli: Cli, folder: Path, tmp_path: Path) -> None:
    vote = {
        "vote_id": "0123456789abcdef",
        "voter": "",
        "question": "artifact",
        "item": item_name(0),
        "seed": 0,
        "left_cell": sha("cell", "canary", item_name(0), 0),
        "right_cell": sha("cell", "text_only", item_name(0), 0),
        "choice": "right",
        "seconds": 2.0,
        "voted_at": "2026-11-22T10:00:00.000Z",
    }
    head = {"format": "blendbench-votes", "version": 1, "experiment": "core"}
    file = tmp_path / "votes.json"
    file.write_text(json.dumps(head | {"suite_sha256": SUITE, "model_set_sha256": MODELS, "votes": [vote]}))
    done = cli("gallery", "--votes", file, "--results", folder)
    assert done.returncode == 0, done.stderr
    assert "1 new of 1 votes" in done.stdout
    assert any("grid_energy" in line and " 1 " in line for line in done.stdout.splitlines())
