"""Saves are noticed however an editor writes, and none is lost."""

import os
from collections.abc import Iterator
from pathlib import Path
from threading import Timer

import pytest

from blendbench.core.saves import saves


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "idea.py"
    path.write_text("1")
    os.utime(path, ns=(1, 1))
    return path


def by_rename(path: Path, text: str) -> None:
    other = path.with_name("4913")
    other.write_text(text)
    other.replace(path)


def in_place(path: Path, text: str) -> None:
    path.write_text(text)


def by_removal(path: Path, text: str) -> None:
    path.unlink()
    path.write_text(text)


@pytest.mark.parametrize("write", [by_rename, in_place, by_removal])
def test_a_save_while_waiting_and_one_while_busy_are_noticed(file: Path, write: object) -> None:
    assert callable(write)
    noticed = saves(lambda: [file])
    next(noticed)
    Timer(0.3, write, (file, "2")).start()
    next(noticed)
    assert file.read_text() == "2"
    write(file, "3")
    next(noticed)


def test_two_saves_while_busy_count_once(file: Path) -> None:
    noticed = saves(lambda: [file])
    next(noticed)
    in_place(file, "2")
    in_place(file, "3")
    next(noticed)
    late = Timer(0.6, by_rename, (file, "4"))
    late.start()
    next(noticed)
    assert file.read_text() == "4"


def test_a_file_that_is_followed_later_counts_if_it_was_written_meanwhile(file: Path) -> None:
    helper, followed = file.with_name("helper.py"), [file]

    def busy(noticed: Iterator[None]) -> None:
        next(noticed)
        helper.write_text("written while the caller was busy, and read before that")
        followed.append(helper)

    noticed = saves(lambda: followed)
    busy(noticed)
    next(noticed)
    Timer(0.3, helper.unlink).start()
    next(noticed)
    assert not helper.exists()
