"""`blendbench run`: exit codes, overrides and the summary."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from synthetic_results import CONFIGURATIONS, write_results

from blendbench.cli import main
from blendbench.cli.run import canary_of
from blendbench.results.store import ingest

Cli = Callable[..., subprocess.CompletedProcess[str]]

PLUGIN = """\
from blendbench.registry.strategies import strategy


@strategy("breaks", version=1, source="test")
def breaks(text, *, when: bool = True):
    return text.hidden * (float("nan") if when else 0.5)
"""


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("experiments") / "tiny.toml"
    path.write_text(
        'name = "tiny"\ntitle = "x"\nseeds = [0]\nitems = 2\nmetrics = ["effect_size"]\nsampler = {steps = 1}\n'
        'strategies = [{name = "lerp", alpha = 0.3}]\nquick = {items = 1}\n'
    )
    return path


def test_a_failing_cell_gives_exit_code_5_and_the_others_are_done(
    cli: Cli, untrained: Path, experiment: Path, tmp_path: Path
) -> None:
    plugin = tmp_path / "broken.py"
    plugin.write_text(PLUGIN)
    results = tmp_path / "results"
    common = (experiment, "--models", untrained, "--results", results, "--plugin", plugin)
    done = cli("run", *common, "--set", "when=true,false", "--json")
    assert done.returncode == 5, done.stderr
    summary = json.loads(done.stdout)
    # 9 configurations: text_only, lerp, breaks twice, 5 controls; two items.
    assert (summary["expected"], summary["ok"], summary["failed"]) == (18, 16, 2)
    assert summary["scored"] == 16
    failures = json.loads(
        cli("sql", "SELECT label, error FROM failures", "--results", results, "--format", "json").stdout
    )
    assert {row["label"] for row in failures} == {"breaks"}
    assert all("not finite" in row["error"] for row in failures)
    board = json.loads(
        cli(
            "sql", "SELECT count(*) AS n FROM cells WHERE status = 'ok'", "--results", results, "--format", "json"
        ).stdout
    )
    assert board[0]["n"] == 16


def test_overrides_replace_the_list_and_controls_stay(
    untrained: Path,
    experiment: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def planned(*arguments: str) -> dict[str, object]:
        common = ["run", experiment, "--models", untrained, "--results", tmp_path / "r", "--dry-run", "--json"]
        monkeypatch.setattr(sys, "argv", ["blendbench", *map(str, common), *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        assert not end.value.code
        plan: dict[str, object] = json.loads(capsys.readouterr().out)
        return plan

    controls = ["blank_reference", "unrelated_reference", "noise_reference", "self_alignment", "canary"]
    assert planned()["configurations"] == ["text_only", "lerp:alpha=0.3", *controls]
    assert planned("--set", "alpha=0,0.5")["configurations"] == [
        "text_only",
        "lerp:alpha=0",
        "lerp:alpha=0.5",
        *controls,
    ]
    assert planned("--strategy", "lerp:alpha=0.2", "--strategy", "adain_dim")["configurations"] == [
        "text_only",
        "lerp:alpha=0.2",
        "adain_dim:alpha=0.3",
        *controls,
    ]
    assert planned("--quick")["cells"] == 7
    assert planned()["cells"] == 14
    assert not (tmp_path / "r").exists()


def test_a_second_run_says_that_nothing_was_left(cli: Cli, untrained: Path, experiment: Path, tmp_path: Path) -> None:
    arguments = ("run", experiment, "--models", untrained, "--results", tmp_path / "r", "--quick")
    first = cli(*arguments)
    assert first.returncode == 0, first.stderr
    assert "7 of 7 cells ok" in first.stdout
    assert "images: 7/7" in first.stderr
    assert "Warning" not in first.stderr
    again = cli(*arguments, "--json")
    assert again.stderr == ""
    summary = json.loads(again.stdout)
    assert (summary["run_id"], summary["generated"], summary["scored"], summary["reused"]) == (None, 0, 0, 7)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "smoke", "--device", "tpu"], "--device"),
        (["run", "smoke", "--nonsense"], "--nonsense"),
        (["run"], "experiment"),
        (["list", "images"], "images"),
        (["run", "smoke", "--models", "z-image-turbo"], "or name a folder"),
    ],
)
def test_wrong_options_get_one_line(cli: Cli, arguments: list[str], message: str, tmp_path: Path) -> None:
    done = cli(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert message in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_experiment_with_an_unknown_metric_writes_nothing(
    cli: Cli, untrained: Path, experiment: Path, tmp_path: Path
) -> None:
    path = tmp_path / "odd.toml"
    path.write_text(experiment.read_text().replace("effect_size", "efect_size"))
    done = cli("run", path, "--models", untrained, "--results", tmp_path / "r")
    assert done.returncode == 2
    assert "did you mean 'effect_size'" in done.stderr
    assert not (tmp_path / "r").exists()
    assert cli("validate", path).returncode == 2


def test_a_finished_run_imports_neither_diffusers_nor_transformers(
    cli: Cli, untrained: Path, experiment: Path, tmp_path: Path
) -> None:
    arguments = ["run", experiment, "--models", untrained, "--results", tmp_path, "--quick", "--json"]
    assert cli(*arguments).returncode == 0
    code = (
        f"import sys\nsys.argv = {['blendbench', *map(str, arguments)]}\nfrom blendbench.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "heavy = {'diffusers', 'transformers', 'open_clip'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    again = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert json.loads(again.stdout)["run_id"] is None


def test_help_of_a_verb_needs_no_torch() -> None:
    code = (
        "import sys\nsys.argv = ['blendbench', sys.argv[1], '--help']\nfrom blendbench.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "heavy = {'torch', 'diffusers', 'transformers', 'duckdb', 'pandas'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    for verb in ("run", "list", "validate", "doctor"):
        subprocess.run([sys.executable, "-c", code, verb], check=True, capture_output=True)


def test_a_run_reports_whether_its_canary_was_found_broken(tmp_path: Path) -> None:
    write_results(tmp_path, items=12, images=False)
    ingest(tmp_path)
    found = canary_of(tmp_path, "core")
    assert found is not None
    assert found.detected
    assert "prompt: worse in" in found.evidence
    assert canary_of(tmp_path, "another") is None


def test_a_canary_that_is_as_good_as_the_text_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    strategy, params, control, _ = CONFIGURATIONS["canary"]
    monkeypatch.setitem(CONFIGURATIONS, "canary", (strategy, params, control, 0.0))
    write_results(tmp_path, items=12, images=False)
    ingest(tmp_path)
    found = canary_of(tmp_path, "core")
    assert found is not None
    assert not found.detected
