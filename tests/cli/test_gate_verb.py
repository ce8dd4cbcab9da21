"""`blendbench gate`: exit codes and one-line refusals."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from synthetic_results import INCOMPLETE, NO_OP, write_results

Cli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    write_results(folder, items=8, images=False)
    return folder


@pytest.mark.parametrize(("candidate", "code"), [("adain_dim", 1), (NO_OP, 0), (INCOMPLETE, 5)])
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
