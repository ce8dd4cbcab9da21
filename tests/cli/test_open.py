"""Published data and results folders can be queried at once; the version and completions are printed."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import duckdb
import pytest
from synthetic_results import write_results

from blendbench.cli import VERBS
from blendbench.core import version

Cli = Callable[..., CompletedProcess[str]]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    write_results(folder)
    return folder


def test_open_lists_experiments_and_commands_that_work(cli: Cli, results: Path, tmp_path: Path) -> None:
    done = cli("open", results, "--to", tmp_path / "all.duckdb")
    assert done.returncode == 0 and re.search(r"^ core +\d+ ", done.stdout, re.MULTILINE)
    query = re.search(r'"(FROM leaderboard_wide .*)"', done.stdout)
    assert query and cli("sql", "--results", results, query[1]).returncode == 0
    with duckdb.connect(str(tmp_path / "all.duckdb"), read_only=True) as connection:
        assert connection.execute("SELECT count(*) FROM leaderboard").fetchone() != (0,)
    again = cli("open", results, "--to", tmp_path / "all.duckdb")
    assert again.returncode == 2 and "nothing is overwritten" in again.stderr
    assert cli("open", tmp_path / "none").returncode == 2


def test_a_statement_comes_from_a_file(cli: Cli, results: Path, tmp_path: Path) -> None:
    path = tmp_path / "query.sql"
    path.write_text("\ufeff-- how many\nSELECT count(*) AS n FROM cells;\n-- done\n", encoding="utf-8")
    done = cli("sql", "--file", path, "--results", results, "--format", "csv")
    assert done.returncode == 0 and done.stdout.startswith("n\n")
    for arguments, said in (
        (("--file", path, "FROM cells"), "give one query"),
        ((), "give one query"),
        (("--file", tmp_path / "none.sql"), "no such file"),
    ):
        refused = cli("sql", *arguments, "--results", results)
        assert refused.returncode == 2 and said in refused.stderr and refused.stderr.count("\n") == 1


def test_hashes_are_short_for_people_and_whole_for_machines(cli: Cli, results: Path) -> None:
    query = "SELECT cell_id FROM cells LIMIT 1"
    assert re.fullmatch(r" cell_id +\n [0-9a-f]{12} +\n", cli("sql", query, "--results", results).stdout)
    csv = cli("sql", query, "--results", results, "--format", "csv").stdout
    assert re.fullmatch(r"cell_id\n[0-9a-f]{64}\n", csv)


def test_the_version_names_the_commit(cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("blendbench.core.version.commit", lambda: "0123456789abcdef")
    assert re.fullmatch(r"blendbench \d\S+ \(commit 0123456789ab\)\n", cli("--version").stdout)
    monkeypatch.setattr("blendbench.core.version.commit", lambda: None)
    assert re.fullmatch(r"blendbench \d\S+\n", cli("--version").stdout)


def test_an_installed_package_knows_the_commit_that_pip_recorded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    record = {"text": '{"url": "x", "vcs_info": {"vcs": "git", "commit_id": "abc"}}'}

    class Distribution:
        def read_text(self, name: str) -> str | None:
            return record["text"] if name == "direct_url.json" else None

    monkeypatch.setattr(version, "_PACKAGE", tmp_path / "lib" / "site-packages" / "blendbench")
    monkeypatch.setattr(version, "distribution", lambda name: Distribution())
    assert version.commit() == "abc"
    for text in ('{"url": "x", "archive_info": {}}', "", "{"):
        record["text"] = text
        assert version.commit() is None


def test_the_version_loads_nothing_heavy() -> None:
    code = "import sys; sys.argv = ['blendbench', '--version']\nfrom blendbench.cli import main\ntry: main()\n"
    code += "except SystemExit: pass\nsys.exit(bool({'torch', 'duckdb', 'pandas'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode == 0


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("blendbench lis", "list"),
        ("blendbench gate --cand", "--candidate"),
        ("blendbench new mod", "model-set"),
        ("blendbench sql x --format p", "parquet"),
        ("blendbench nothing x", ""),
    ],
)
def test_bash_completes(cli: Cli, line: str, offered: str, tmp_path: Path) -> None:
    (tmp_path / "complete.sh").write_text(cli("completion", "bash").stdout)
    words = line.split()
    script = f"source {tmp_path}/complete.sh; COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; _blendbench;"
    done = subprocess.run(
        ["bash", "-c", f'{script} echo "${{COMPREPLY[@]}}"'], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == offered


def test_fish_and_zsh_get_every_command(cli: Cli) -> None:
    fish = cli("completion", "fish").stdout
    assert all(re.search(rf"-a {verb} -d '", fish) for verb in VERBS)
    assert "-l candidate" in fish and "-a parquet" in fish
    assert "bashcompinit" in cli("completion", "zsh").stdout
