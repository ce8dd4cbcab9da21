"""What kill -9 and a full disk leave is finished by the same command, as if nothing had happened.

A few trials; `crash.py` makes as many as wanted.
"""

import sys
from pathlib import Path

import pytest
from crash import BATCH, Trials, contents, crash

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="commands run in forked children"),
]


@pytest.fixture(scope="module")
def trials(untrained: Path, tmp_path_factory: pytest.TempPathFactory) -> Trials:
    kills = {"run": 2, "ingest into an old database": 1, "gallery": 1}
    return crash(kills, {"run": (30_000,)}, 1, tmp_path_factory.mktemp("trials"), untrained)


def test_tables_images_and_pages_are_those_of_a_whole_run(trials: Trials) -> None:
    assert trials.differences == []
    assert trials.count == 5


def test_at_most_one_batch_is_repeated(trials: Trials) -> None:
    assert trials.repeated <= BATCH


def test_another_image_or_page_would_have_been_a_difference(trials: Trials) -> None:
    folder = trials.place / "whole"
    before = contents(folder)
    path = sorted(folder.rglob("*.png"))[0]
    path.write_bytes(path.read_bytes() + b"x")
    after = contents(folder)
    assert [key for key in before if before[key] != after[key]] == [path.relative_to(folder).as_posix()]
    assert len(before["cells"]) == 18 and len(before["scores"]) > 18
