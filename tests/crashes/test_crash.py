"""What kill -9 and a full disk leave is finished by the same command, as if nothing had happened.

A few trials; `crash.py` makes as many as wanted.
"""

import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import pytest
from compare import contents
from crash import BATCH, crash
from disks import FILES, FULL, QUOTA, READ_ONLY, may_mount

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="commands run in forked children"),
]


class Outcome(NamedTuple):
    """What is asked of `Trials` here."""

    differences: list[str]
    made: int
    repeated: int
    place: Path


def outcome(place: Path, models: Path) -> Outcome:
    """Make a few trials."""
    kills = {"run": 2, "ingest into an old database": 1, "gallery": 1}
    disks = [replace(FILES, ways=(30_000,)), replace(QUOTA, ways=(0.4,))]
    if may_mount():
        disks += [replace(FULL, ways=(0.25,)), READ_ONLY]
    trials = crash(kills, [("run", spoilt) for spoilt in disks], 1, place, models)
    return Outcome(trials.differences, trials.count, trials.repeated, trials.place)


@pytest.fixture(scope="module")
def trials(untrained: Path, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    # In a process of its own: commands are forked from it, and must not find the threads of other tests.
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(outcome, tmp_path_factory.mktemp("trials"), untrained).result()


def test_tables_images_and_pages_are_those_of_a_whole_run(trials: Outcome) -> None:
    assert trials.differences == []
    assert trials.made == (8 if may_mount() else 6)


def test_at_most_one_batch_is_repeated(trials: Outcome) -> None:
    assert trials.repeated <= BATCH


def test_another_image_or_page_would_have_been_a_difference(trials: Outcome) -> None:
    folder = trials.place / "whole"
    before = contents(folder)
    path = sorted(folder.rglob("*.png"))[0]
    path.write_bytes(path.read_bytes() + b"x")
    after = contents(folder)
    assert [key for key in before if before[key] != after[key]] == [path.relative_to(folder).as_posix()]
    assert len(before["cells"]) == 8 and len(before["scores"]) > 8
