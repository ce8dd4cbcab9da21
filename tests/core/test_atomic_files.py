"""Files are replaced whole, and nothing but regular files is opened."""

import errno
import os
import socket
import tempfile
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from blendbench.core.errors import UsageError
from blendbench.core.files import (
    file_error,
    partial_files,
    printable,
    read_file,
    require_regular_file,
    sweep_partial,
    write_atomically,
)


def test_the_file_has_the_new_content_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    write_atomically(path, b"old")
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_has_the_permissions_that_open_gives(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a", b"")
    (tmp_path / "b").write_bytes(b"")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


def _write_often(path: Path, value: int) -> None:
    for _ in range(20):
        write_atomically(path, bytes([value]) * 5000)


def _is_whole(data: bytes) -> bool:
    return len(data) == 5000 and len(set(data)) == 1


def test_threads_write_one_path_while_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    write_atomically(path, bytes(5000))
    done = threading.Event()

    def read() -> bool:
        whole = True
        while not done.is_set():
            whole = whole and _is_whole(path.read_bytes())
        return whole

    with ThreadPoolExecutor(5) as pool:
        reader = pool.submit(read)
        for writer in [pool.submit(_write_often, path, value) for value in range(4)]:
            writer.result()
        done.set()
        assert reader.result()
    assert list(tmp_path.iterdir()) == [path]


def test_processes_write_one_path(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        for writer in [pool.submit(_write_often, path, value) for value in range(2)]:
            writer.result()
    assert _is_whole(path.read_bytes())
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_write_keeps_the_old_file_and_cleans_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.bin"
    write_atomically(path, b"old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UsageError) as caught:
        write_atomically(path, b"new")
    assert str(caught.value) == f"{path}: cannot be written: No space left on device; free some disk space"
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupt_cleans_up_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "a.bin", b"new")
    assert list(tmp_path.iterdir()) == []


def test_a_writer_whose_half_written_file_is_swept_writes_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    swept: list[Path] = []

    def sweep_first(_: int) -> None:
        if not swept:
            swept.extend(partial_files(tmp_path))
            sweep_partial(swept)

    monkeypatch.setattr(os, "fsync", sweep_first)
    write_atomically(tmp_path / "a.bin", b"new")
    assert len(swept) == 1
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a.bin": b"new"}


def test_a_full_disk_of_temporary_files_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile._os, "open", full)  # type: ignore[attr-defined]
    with pytest.raises(OSError, match="No usable temporary") as caught:
        tempfile.mkdtemp()
    refusal = str(file_error(caught.value))
    assert refusal.startswith("No usable temporary directory") and refusal.endswith("another folder in TMPDIR")


def test_only_own_half_written_files_are_swept(tmp_path: Path) -> None:
    left, other = tmp_path / f"{'0f' * 16}.partial", tmp_path / "download.partial"
    for path in (left, other):
        path.write_bytes(b"")
    assert partial_files(tmp_path) == [left]
    sweep_partial(tmp_path.iterdir())
    assert list(tmp_path.iterdir()) == [other]


def test_a_missing_folder_and_a_folder_as_target_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="create its folder first"):
        write_atomically(tmp_path / "none" / "a.bin", b"")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UsageError, match="name a file"):
        write_atomically(tmp_path / "folder", b"")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_regular_file_is_read_up_to_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"12345")
    link = tmp_path / "link"
    link.symlink_to(path)
    assert require_regular_file(link) == 5
    assert read_file(link, 5) == b"12345"
    with pytest.raises(UsageError, match=r"a\.bin: more than 4 bytes; use a smaller file"):
        read_file(path, 4)


def test_a_file_that_grew_after_its_size_was_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"12345")
    monkeypatch.setattr("blendbench.core.files.require_regular_file", lambda _: 3)
    with pytest.raises(UsageError, match="more than 3 bytes"):
        read_file(path, 3)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("pipe", "a named pipe"),
        ("folder", "a folder"),
        ("socket", "a socket"),
        ("/dev/zero", "a device"),
        ("dangling", "a link to a file that is missing"),
        ("none", "no such file"),
        ("file/none", "no such file"),
        ("loop", "cannot be read"),
        ("null\0byte", "not a file name"),
        ("x" * 300, "use a shorter name"),
    ],
)
def test_what_is_not_a_regular_file_is_refused_unopened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, problem: str
) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "dangling").symlink_to(tmp_path / "none")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    listener = socket.socket(socket.AF_UNIX)
    try:
        monkeypatch.chdir(tmp_path)  # the path of a socket has at most 107 bytes
        listener.bind("socket")
        with pytest.raises(UsageError) as caught:
            read_file(tmp_path / name, 10)
    finally:
        listener.close()
    message = str(caught.value)
    assert problem in message
    assert ";" in message
    assert message.isprintable()


def test_a_name_with_a_line_break_stays_on_one_line() -> None:
    assert printable("a\nb.png") == "'a\\nb.png'"
    assert printable(Path("ä b.png")) == "ä b.png"
    assert printable(os.fsdecode(b"\xff.png")).isprintable()
