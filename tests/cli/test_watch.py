"""`blendbench watch`: a file is saved while it runs, whole, broken and with a helper."""

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event, Thread

import pytest

from blendbench.run.experiments import load_experiment

IDEA = """\
from blendbench.blending import strategy
from helper import FACTOR


@strategy("idea", source="test")
def idea(text, *, factor: float = {factor}):
    return text.hidden * factor * FACTOR
"""
EXPERIMENT = """\
name = "core"
title = "x"
seeds = [0]
items = 2
metrics = ["effect_size", "grid_energy", "color_drift"]
sampler = {steps = 1}
strategies = [{name = "lerp", alpha = 0.3}]
quick = {items = 1}
"""
Cli = Callable[..., subprocess.CompletedProcess[str]]
PATIENCE = 120.0


@pytest.fixture(autouse=True)
def _small_experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "core.toml"
    path.write_text(EXPERIMENT)
    monkeypatch.setattr("blendbench.session.load_experiment", lambda name: load_experiment(path))


@pytest.fixture(autouse=True)
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C through where the tests are run in the background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def idea(tmp_path: Path) -> Path:
    folder = tmp_path / "ideas"
    folder.mkdir()
    (folder / "helper.py").write_text("FACTOR = 1.0\n")
    path = folder / "idea.py"
    path.write_text(IDEA.format(factor=-1.0))
    return path


def replace_file(path: Path, text: str) -> None:
    other = path.with_suffix(".partial")
    other.write_text(text)
    other.replace(path)


def interrupt(ended: Event) -> None:
    """Press Ctrl-C, and again if it is lost.

    hypothesis has a callback in garbage collection, where exceptions vanish.
    """
    os.kill(os.getpid(), signal.SIGINT)
    if not ended.wait(60):
        os.kill(os.getpid(), signal.SIGINT)


def states(results: Path) -> Iterator[str]:
    """Yield what the page says after each check, as a reader who polls sees it."""
    before, deadline = "", time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            now = (results / "check" / "watch.js").read_text()
        except OSError:
            now = ""
        if now != before and now and "checking" not in now and '"text": ""' not in now:
            yield str(json.loads(now.removeprefix("watched(").removesuffix(");\n"))["text"])
            deadline = time.monotonic() + PATIENCE
        before = now
        time.sleep(0.02)
    raise TimeoutError("nothing was checked")


def test_saves_are_checked_an_error_is_one_line_and_ctrl_c_ends_with_the_last_exit_code(
    untrained: Path, cli: Cli, idea: Path, tmp_path: Path
) -> None:
    results, seen, ended = tmp_path / "results", [], Event()
    actions: list[Callable[[], object]] = [
        lambda: replace_file(idea, IDEA.format(factor=-1.0).replace("return", "retrun")),
        lambda: idea.write_text(IDEA.format(factor=-2.0)),
        lambda: (idea.parent / "helper.py").write_text("FACTOR = 3.0\n"),
        lambda: replace_file(idea, IDEA.format(factor=-2.0) + "# a comment\n"),
        lambda: idea.write_text(IDEA.format(factor=-2.0).replace("* FACTOR", "* FACTOR + [1]")),
    ]

    def save() -> None:
        try:
            for text in states(results):
                seen.append(text)
                if not actions:
                    break
                actions.pop(0)()
        finally:
            interrupt(ended)

    thread = Thread(target=save)
    thread.start()
    done = cli("watch", idea, "--models", untrained, "--results", results, "--items", 2)
    ended.set()
    thread.join()
    first, broken, second, helped, comment, failed = seen
    # text_only, the idea and the canary on two items.
    assert first.startswith("6 cells generated in ")
    assert re.fullmatch(r".*idea\.py:7: SyntaxError: invalid syntax", broken)
    assert second.startswith("2 cells generated in ") and helped.startswith("2 cells generated in ")
    assert comment.startswith("unchanged, 0 cells generated in ")
    # Random weights: no metric detects the canary, and then nothing else counts.
    assert done.stdout.count("CANARY NOT DETECTED") == 3
    assert f"{broken}\n" in done.stdout
    assert failed.startswith("idea: TypeError: ") and failed.endswith(" (idea.py:7)")
    assert f"{failed}\n" in done.stdout
    assert done.returncode == 2
    page = (results / "check" / "watch.html").read_text()
    assert "no longer watched" in page and "<script>" not in page
    assert '<img src="check.webp?3"' in page and 'href="../gallery/check/index.html' in page


def test_an_error_at_first_is_watched_too_and_a_missing_helper_that_comes_is_noticed(
    untrained: Path, cli: Cli, idea: Path, tmp_path: Path
) -> None:
    results, seen, ended = tmp_path / "results", [], Event()
    (idea.parent / "helper.py").unlink()

    def save() -> None:
        try:
            for text in states(results):
                seen.append(text)
                if len(seen) == 2:
                    break
                (idea.parent / "helper.py").write_text("FACTOR = 3.0\n")
        finally:
            interrupt(ended)

    thread = Thread(target=save)
    thread.start()
    cli("watch", idea, "--models", untrained, "--results", results, "--items", 2)
    ended.set()
    thread.join()
    assert "idea.py:2: ModuleNotFoundError: No module named 'helper'" in seen[0]
    assert seen[1].startswith("6 cells generated in ")


def test_before_the_first_verdict_ctrl_c_ends_with_130(
    untrained: Path, cli: Cli, idea: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("blendbench.session.Session.check", interrupted)
    done = cli("watch", idea, "--models", untrained, "--results", tmp_path / "results")
    assert (done.returncode, done.stdout) == (130, "")


def test_what_cannot_be_watched_is_refused_and_writes_nothing(cli: Cli, tmp_path: Path) -> None:
    done = cli("watch", "none.py", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (2, "blendbench: none.py: no such file\n")
    (tmp_path / "idea.py").write_text(IDEA)
    done = cli("watch", "idea.py", "--models", "none", cwd=tmp_path)
    assert done.returncode == 2 and "unknown model set 'none'" in done.stderr
    assert not (tmp_path / "results").exists()
