"""`blendbench check`: the loop from a file to a verdict and a page, on a model set whose weights are random."""

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from blendbench.cli import check as check_verb
from blendbench.cli import main
from blendbench.results.store import open_results
from blendbench.run.experiments import load_experiment

IDEA = """\
from blendbench.registry.strategies import strategy


@strategy("{name}", version=1, source="test")
def idea(text, *, factor: float = {factor}):
    return text.hidden * factor
"""
EXPERIMENT = """\
name = "core"
title = "x"
seeds = [0]
items = 2
metrics = ["effect_size", "grid_energy", "color_elsewhere"]
sampler = {steps = 1}
strategies = [{name = "lerp", alpha = 0.3}]
quick = {items = 1}
"""


@pytest.fixture
def check(
    experiment: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., tuple[int, str, str]]]:
    """`blendbench check` with a small experiment in place of core: exit code, output, errors."""
    monkeypatch.setattr("blendbench.session.load_experiment", lambda name: load_experiment(experiment))

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["blendbench", "check", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        printed = capsys.readouterr()
        return int(end.value.code or 0), printed.out, printed.err

    yield call


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("experiments") / "core.toml"
    path.write_text(EXPERIMENT)
    return path


def test_the_loop_generates_gates_and_shows_and_reverting_generates_nothing(
    untrained: Path, check: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    file, results = tmp_path / "idea.py", tmp_path / "results"
    common = (file, "--models", untrained, "--results", results, "--baseline", "lerp:alpha=0.3", "--items", 2)
    file.write_text(IDEA.format(name="idea", factor=-1.0))
    code, first, progress = check(*common)
    # Images of random weights are noise: no metric can detect the canary, and two items could not show it.
    assert code == 4
    assert "against lerp:alpha=0.3: check, 2 items, 2 pairs" in first
    assert "images: 8/8" in progress  # text_only, lerp, idea and the canary on two items
    page = (results / "check" / "check.md").read_text()
    assert "### canary not detected" in page and "(check.webp)" in page
    assert "(../gallery/check/index.html)" in page and (results / "gallery" / "check" / "index.html").is_file()
    worst = re.findall(r"\(\.\./gallery/check/index\.html#item=.*?&a=lerp%3Aalpha%3D0\.3&b=idea&", page)
    assert len(worst) == len(re.findall(r"^  images/", first, re.MULTILINE)) >= 1
    with Image.open(results / "check" / "check.webp") as sheet:
        assert sheet.width > 4 * 128 and sheet.height > 2 * 128
    assert open_results(results).rows("SELECT DISTINCT experiment FROM cells") == [("check",)]

    file.write_text(IDEA.format(name="idea", factor=-2.0))
    _, changed, progress = check(*common)
    assert "images: 2/2" in progress
    assert changed != first
    file.write_text(IDEA.format(name="idea", factor=-1.0))
    _, reverted, progress = check(*common)
    # The run that found nothing to do planned the older code, so its cells are the current ones again.
    assert (reverted, progress) == (first, "")


def test_sequential_generates_only_what_is_not_settled(
    untrained: Path, check: Callable[..., tuple[int, str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, results = tmp_path / "idea.py", tmp_path / "results"
    file.write_text(IDEA.format(name="idea", factor=-1.0))
    common = (file, "--models", untrained, "--results", results, "--items", 2)
    monkeypatch.setattr("blendbench.verdict.sequential.LEAST_ITEMS", 1)
    _, report, progress = check(*common)
    # The canary was not detected on the first item, which one more item might have changed.
    assert progress.count("images: 3/3") == 2
    assert "settled by" not in report
    monkeypatch.setattr("blendbench.session.settled", lambda verdict: True)
    file.write_text(IDEA.format(name="idea", factor=-2.0))
    _, report, progress = check(*common)
    assert "images: 1/1" in progress
    assert "idea: settled by 1 of 2 items" in report


STEP = """\
from blendbench.steps.align import alignment


@alignment("last")
def last(text, vision):
    return text, vision[-len(text) :]
"""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("none.py",), "none.py: no such file"),
        (("idea.py", "--baseline", "lerpp"), "did you mean 'lerp'"),
        (("idea.py", "--baseline", "lerp:alpha"), "'lerp:alpha': 'alpha' is not parameter=value"),
        (("idea.py", "--baseline", "idea"), "idea.py: its only strategy is the baseline"),
        (("step.py",), "step.py: registers no strategy, only steps"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(
    arguments: tuple[str, ...],
    message: str,
    check: Callable[..., tuple[int, str, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("idea.py").write_text(IDEA.format(name="idea", factor=-1.0))
    Path("step.py").write_text(STEP)
    code, _, error = check(*arguments)
    assert (code, error.count("\n")) == (2, 1)
    assert message in error and "--plugin" not in error.partition("; ")[0]
    assert not Path("results").exists()


def test_the_next_step_asks_for_no_more_items_than_there_are() -> None:
    file = Path("idea.py")
    assert check_verb._next(file, 60, 36, 96) == "blendbench check idea.py --items 60"
    assert check_verb._next(file, 500, 36, 96) == "blendbench check idea.py --items 96"
    assert check_verb._next(file, 500, 96, 96) == "blendbench run core --plugin idea.py --fresh 500"
