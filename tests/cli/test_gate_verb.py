"""`blendbench gate`: exit codes and one-line refusals."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from synthetic_results import INCOMPLETE, NO_OP, append, sha, shard_rows, write_results

Cli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    write_results(folder, items=8, images=False)
    return folder


@pytest.mark.parametrize(("candidate", "code"), [("adain_dim", 0), ("canary", 1), (NO_OP, 0), (INCOMPLETE, 5)])
def test_the_exit_code_is_the_verdict(cli: Cli, folder: Path, candidate: str, code: int) -> None:
    done = cli("gate", "--candidate", candidate, "--results", folder, "--format", "json")
    assert (done.returncode, done.stderr) == (code, "")
    assert json.loads(done.stdout)["exit_code"] == code


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--candidate", "adain_dime"], "did you mean 'adain_dim"),
        (["--candidate", "adain_dim", "--experiment", "smoke"], "smoke"),
        (["--candidate", "adain_dim", "--format", "html"], "--format"),
        ([], "--candidate"),
        (["--candidate", "adain_dim", "--allow", "prompt"], "write ROLE=VALUE"),
        (["--candidate", "adain_dim", "--allow", "promt=0.1"], "did you mean 'prompt'"),
        (["--candidate", "adain_dim", "--allow", "prompt=nan"], "not a number from 0 to 1"),
        (["--candidate", "adain_dim", "--allow", "drift=2", "--allow", "drift=3"], "given twice"),
        (["--candidate", "adain_dim", "--baseline", "previous"], "no cells of another code"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(cli: Cli, folder: Path, arguments: list[str], message: str) -> None:
    done = cli("gate", "--results", folder, *arguments)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert message in done.stderr


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\nsys.argv = ['blendbench', sys.argv[1], '--help']\nfrom blendbench.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "heavy = {'torch', 'duckdb', 'pandas', 'scipy'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code, "gate"], check=True, capture_output=True)


def test_a_look_is_recorded_once_and_the_next_one_is_paid_for(cli: Cli, tmp_path: Path) -> None:
    write_results(tmp_path, items=8, images=False)
    command = ("gate", "--candidate", "adain_dim", "--results", tmp_path, "--format", "json")
    first, again = (json.loads(cli(*command).stdout) for _ in range(2))
    assert (first["look"], first["alpha"]) == (1, pytest.approx(0.04))
    assert again == first
    rows = shard_rows(tmp_path, "looks")
    assert [(row["strategy"], row["items"]) for row in rows] == [("adain_dim", 8)]
    # Other images of the same strategy are another look.
    cell = next(row for row in shard_rows(tmp_path, "cells") if row.label == "adain_dim:alpha=0.3")
    scores = [row for row in shard_rows(tmp_path, "scores") if row.cell_id == cell.cell_id]
    other = sha("another image")
    append(tmp_path, "run2", cell.changed(image_sha256=other), *(row.changed(image_sha256=other) for row in scores))
    later = json.loads(cli(*command).stdout)
    assert (later["look"], later["alpha"]) == (2, pytest.approx(0.008))
