"""A session that stays, one that starts anew and another process generate the same cells, bit for bit."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import blendbench
from blendbench.core.errors import UsageError
from blendbench.registry.loading import load_everything
from blendbench.registry.strategies import get_strategy
from blendbench.results.store import open_results
from blendbench.run.experiments import load_experiment

EXPERIMENT = """\
name = "core"
title = "x"
seeds = [0]
items = 2
metrics = ["effect_size", "grid_energy", "color_drift"]
sampler = {steps = 2}
strategies = [{name = "lerp", alpha = 0.3}]
quick = {items = 1}
"""
IDEA = """\
import random

import torch
from blendbench.blending import strategy
from helper import FACTOR

@strategy("idea", source="test")
def idea(text, vision, *, factor: float = {factor}):
    torch.set_grad_enabled(False)
    return text.hidden * factor * FACTOR + random.random() * vision.hidden.mean(0)
"""
# `blendbench check` with another experiment.
PROGRAM = """\
import sys
import blendbench.session as session
from blendbench.run.experiments import load_experiment
experiment, file, models, results = sys.argv[1:]
session.load_experiment = lambda name: load_experiment(experiment)
sys.argv = ["blendbench", "check", file, "--models", models, "--results", results, "--items", "2"]
from blendbench.cli import main
main()
"""
Open = Callable[[Path], blendbench.Session]


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    path = tmp_path / "core.toml"
    path.write_text(EXPERIMENT)
    return path


@pytest.fixture
def session(untrained: Path, experiment: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    monkeypatch.setattr("blendbench.session.load_experiment", lambda name: load_experiment(experiment))
    opened: list[blendbench.Session] = []

    def call(results: Path) -> blendbench.Session:
        opened.append(blendbench.Session(untrained, results, quiet=True))
        return opened[-1]

    yield call
    for each in opened:
        each.close()


@pytest.fixture
def idea(tmp_path: Path) -> Path:
    path = tmp_path / "ideas" / "idea.py"
    path.parent.mkdir()
    (path.parent / "helper.py").write_text("FACTOR = 1.0\n")
    path.write_text(IDEA.format(factor=-1.0))
    return path


def pixels(results: Path) -> dict[tuple[Any, ...], Any]:
    """Return the hash of each cell's image, and of its conditioning, by its id."""
    rows = open_results(results).rows(
        "SELECT DISTINCT label, item, cell_id, image_sha256, conditioning_sha256 FROM cells WHERE status = 'ok'"
    )
    return {key: rest for *key_, image, conditioning in rows for key, rest in [(tuple(key_), (image, conditioning))]}


def test_a_new_process_a_session_that_stays_and_one_that_starts_anew_generate_the_same(
    session: Open, untrained: Path, experiment: Path, idea: Path, tmp_path: Path
) -> None:
    def process(results: Path) -> str:
        words = [sys.executable, "-c", PROGRAM, *map(str, (experiment, idea, untrained, results))]
        done = subprocess.run(words, capture_output=True, text=True, check=False, env=dict(os.environ))
        assert done.returncode == 4, done.stderr
        return done.stderr

    stays, anew, alone = tmp_path / "stays", tmp_path / "anew", tmp_path / "alone"
    staying = session(stays)
    for factor, generated in ((-1.0, 6), (-2.0, 2)):
        idea.write_text(IDEA.format(factor=factor))
        assert staying.check(idea, items=2).generated == generated
        assert session(anew).check(idea, items=2).generated == generated
        process(alone)
    found = pixels(stays)
    assert len(found) == 8 and len({cell for *_, cell in found}) == 8
    assert pixels(anew) == pixels(alone) == found
    # Nor is anything left to do for another process where a session was, or the other way round.
    assert process(stays) == ""
    assert session(alone).check(idea, items=2).generated == 0


def test_a_check_of_what_has_not_changed_reads_and_writes_nothing(session: Open, idea: Path, tmp_path: Path) -> None:
    opened = session(tmp_path / "results")
    first = opened.check(idea, items=2)
    idea.write_text(IDEA.format(factor=-1.0) + "# a comment\n")
    before = {path: path.stat().st_mtime_ns for path in opened.results.rglob("*") if path.suffix != ".lock"}
    again = opened.check(idea, items=2)
    assert again.verdicts is first.verdicts and again.generated == 0
    assert {path: path.stat().st_mtime_ns for path in opened.results.rglob("*") if path.suffix != ".lock"} == before
    # Its page is part of what a check is for.
    first.page.unlink()
    assert opened.check(idea, items=2).page.is_file()


def test_a_helper_that_changed_changes_the_cells(session: Open, idea: Path, tmp_path: Path) -> None:
    opened = session(tmp_path / "results")
    assert opened.check(idea, items=2).generated == 6
    (idea.parent / "helper.py").write_text("FACTOR = 3.0\n")
    assert opened.check(idea, items=2).generated == 2


def test_a_function_and_a_configuration_are_ideas_too(session: Open, idea: Path, tmp_path: Path) -> None:
    opened = session(tmp_path / "results")
    load_everything(idea)
    function = get_strategy("idea").function
    done = opened.check(function, items=2)
    assert [verdict.candidate for verdict in done.verdicts] == ["idea"]
    named = opened.check("lerp:alpha=0.5", items=2, baseline="lerp:alpha=0.3")
    assert (named.verdict.candidate, named.verdict.baseline) == ("lerp:alpha=0.5", "lerp:alpha=0.3")
    assert named.gain is None and named.costs == named.verdict.costs != []
    assert repr(named).startswith(f"CANARY NOT DETECTED {named.sentence}\n")
    assert f"side by side: {named.page}" in repr(named) and named.gallery.as_uri() in repr(named)


READER = """\
from pathlib import Path

from blendbench.blending import strategy


@strategy("reader", source="test")
def reader(text):
    return text.hidden * float((Path(__file__).parent / "factor.txt").read_text())
"""


def test_data_that_changed_is_read_anew_from_a_file_and_refused_for_a_function(
    session: Open, idea: Path, tmp_path: Path
) -> None:
    opened, data = session(tmp_path / "results"), idea.with_name("factor.txt")
    data.write_text("1.5")
    idea.write_text(READER)
    assert opened.check(idea, items=2).generated == 6
    data.write_text("2.5")
    assert opened.check(idea, items=2).generated == 2
    function = get_strategy("reader").function
    assert opened.check(function, items=2).generated == 0
    # What was loaded is identified by what it read then.
    data.write_text("3.5")
    with pytest.raises(UsageError, match="reader: its files have changed since it was loaded"):
        opened.check(function, items=2)


def test_what_is_no_idea_is_refused(session: Open, tmp_path: Path) -> None:
    opened = session(tmp_path / "results")
    with pytest.raises(UsageError, match="not registered; decorate it"):
        opened.check(len)
    with pytest.raises(UsageError, match="did you mean 'lerp'"):
        opened.check("lerpp")
    with pytest.raises(UsageError, match="at least one item"):
        opened.check("lerp", items=0)
    with pytest.raises(UsageError, match="its only strategy is the baseline"):
        opened.check("text_only")
    assert not opened.results.exists()
