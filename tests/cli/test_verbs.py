"""The command line: fast help, one line and exit code 2 for every mistake, nothing written by it."""

import json
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from synthetic_results import white_plots

from blendbench.cli import VERBS
from blendbench.core.suites import load_suite

PLUGIN = '''\
from torch import Tensor
from blendbench.core.tokens import Tokens
from blendbench.registry.strategies import strategy


@strategy("mean_vision", version=1, source="me", equation="T + alpha mean(V)")
def mean_vision(text: Tokens, vision: Tokens, *, alpha: float = 0.2) -> Tensor:
    """Add the mean vision token to every text token."""
    return text.hidden + alpha * vision.hidden.mean(0)
'''


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "cor"], "did you mean 'core'"),
        (["run", "smoke", "--strategy", "lrep"], "did you mean 'lerp'"),
        (["run", "smoke", "--strategy", "lerp:alpha=2"], "alpha = '2' is outside 0..1"),
        (["run", "smoke", "--set", "alpha=2"], "alpha = '2' is outside 0..1"),
        (["run", "smoke", "--set", "alhpa=0.2"], "did you mean 'alpha'"),
        (["run", "smoke", "--set", "alpha"], "key=v1,v2"),
        (["run", "smoke", "--set", "alpha=0", "--set", "alpha=0.3"], "given twice; write alpha=0,0.3"),
        (["run", "smoke", "--plugin", "gone.py"], "no such file"),
        (["run", "smoke", "--models", "minature"], "did you mean 'miniature'"),
        (["rnu", "smoke"], "did you mean 'run'"),
        (["validate", "gone.toml"], "no such file"),
    ],
)
def test_mistakes_get_one_line_and_write_nothing(
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    call: Callable[..., int],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call(*arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_misspelt_key_and_a_missing_image_are_reported_with_their_file(
    call: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('name = "mine"\ntitle = "x"\nsead = [0]\nstrategies = [{name = "lerp"}]\n')
    assert call("run", str(path), "--results", str(tmp_path / "results")) == 2
    assert "mine.toml: sead: unknown key; did you mean 'seeds'?" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


def test_a_dry_run_writes_nothing(
    untrained: Path, call: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "results"
    code = call("run", "core", "--models", untrained, "--results", results, "--dry-run", "--json")
    plan = json.loads(capsys.readouterr().out)
    assert code == 0
    assert plan["cells"] == plan["to_generate"] == len(plan["configurations"]) * len(load_suite("miniature").items)
    assert len(plan["configurations"]) >= 10
    assert plan["image_tokens"] == {"16": len(load_suite("miniature").items)}
    assert not results.exists()


@white_plots()
def test_a_plugin_of_ten_lines_reaches_the_results(
    untrained: Path, call: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plugin = tmp_path / "my_idea.py"
    plugin.write_text(PLUGIN)
    arguments = ["--models", str(untrained), "--results", str(tmp_path / "r"), "--quick", "--plugin", str(plugin)]
    assert call("run", "smoke", *arguments, "--json") == 0
    assert json.loads(capsys.readouterr().out)["failed"] == 0
    assert call("leaderboard", "smoke", "--results", str(tmp_path / "r"), "--out", str(tmp_path / "o")) == 0
    assert "mean_vision:<wbr>alpha=0.2" in (tmp_path / "o" / "smoke.md").read_text()


@pytest.mark.parametrize("kind", ["strategies", "metrics", "experiments", "suites", "models"])
def test_lists_are_json(kind: str, call: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert call("list", kind, "--json") == 0
    assert len(json.loads(capsys.readouterr().out)) >= 1


def test_strategies_are_listed_for_people_with_their_own_settings(
    call: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("list", "strategies") == 0
    output = capsys.readouterr().out
    lines = {line.split()[0]: line for line in output.splitlines() if line.strip()}
    assert "alpha=0.3 align=area" in lines["lerp"]
    assert "layer=" not in lines["lerp"]
    assert "reference=blank" in lines["blank_reference"]  # what differs from the rest is shown
    assert "control" in lines["blank_reference"]
    assert "reference=item layer=-2 text_layer=same tokens=image_no_markers" in output


def test_help_and_import_load_nothing_heavy() -> None:
    code = (
        "import sys, blendbench, blendbench.cli\n"
        "heavy = {'torch', 'pandas', 'duckdb', 'diffusers'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    done = subprocess.run([sys.executable, "-m", "blendbench", "--help"], capture_output=True, text=True, check=True)
    assert all(verb in done.stdout for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_help_fills_the_width_of_the_terminal(
    verb: str, monkeypatch: pytest.MonkeyPatch, call: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr("typer.rich_utils.MAX_WIDTH", 100)
    assert call(verb, "--help") == 0
    text = capsys.readouterr().out.partition("╭")[0].partition("Usage:")[2]
    assert max(map(len, text.splitlines())) <= 100
    for paragraph in text.split("\n" + " " * 100 + "\n"):
        lines = [line.strip() for line in paragraph.splitlines() if line.strip()]
        # A line ends where the first word of the next one has no room.
        assert all(len(line) + len(below.split()[0]) + 1 > 97 for line, below in pairwise(lines)), lines


def test_validate_accepts_what_is_shipped(call: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    root = Path(__file__).parents[2]
    assert call("validate", str(root / "bench" / "core.toml"), str(root / "prompts" / "miniature")) == 0
    assert "suite of 288 items" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("alpha = [0.1, 0.3]", "alpha = 'high'", "lerp: alpha = 'high' is not a number"),
        ("alpha = [0.1, 0.3]", "layer = [2.5]", "neither a layer"),
        ('"lerp"', '"lrep"', "did you mean 'lerp'"),
        ("seeds", 'metrics = ["grid_enrgy"]\nseeds', "did you mean 'grid_energy'"),
        ("alpha = [0.1, 0.3]", "layer = '101%'", "101%: a depth is a percentage"),
        ("alpha = [0.1, 0.3]", "alpha = '50%'", "lerp: alpha = '50%' is not a number"),
    ],
)
@pytest.mark.parametrize("verb", [("validate",), ("run", "--dry-run")])
def test_a_wrong_value_in_an_experiment_is_reported_with_its_file(
    verb: tuple[str, ...],
    old: str,
    new: str,
    message: str,
    tmp_path: Path,
    call: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "odd.toml"
    text = 'name = "odd"\ntitle = "x"\nseeds = [0]\nstrategies = [{name = "lerp", alpha = [0.1, 0.3]}]\n'
    path.write_text(text.replace(old, new))
    assert call(*verb, str(path)) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"blendbench: {path}: ") and message in error and error.count("\n") == 1


def test_depths_follow_from_the_models_not_from_their_name(
    call: Callable[..., int], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = Path(__file__).parents[2] / "src" / "blendbench" / "models" / "miniature" / "weights"
    path = tmp_path / "relative.toml"
    path.write_text(
        'name = "relative"\ntitle = "x"\nseeds = [0]\nstrategies = [{name = "lerp", layer = ["60%", "61%"]}]\n'
    )
    common = ("run", str(path), "--dry-run", "--json", "--results", str(tmp_path / "r"), "--models", str(folder))
    assert call(*common) == 0
    assert json.loads(capsys.readouterr().out)["configurations"].count("lerp:alpha=0.3,layer=-4") == 1
    assert call(*common, "--set", "layer=83%") == 0
    assert "lerp:alpha=0.3,layer=-3" in json.loads(capsys.readouterr().out)["configurations"]
    assert call(*common, "--strategy", "lerp:alpha=0.1,layer=83%") == 0
    assert "lerp:alpha=0.1,layer=-3" in json.loads(capsys.readouterr().out)["configurations"]
    assert call(*common, "--strategy", "lerp:layr=83%") == 2
    assert "unknown parameter 'layr'; did you mean 'layer'?" in capsys.readouterr().err
