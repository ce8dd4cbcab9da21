"""The image store: what is damaged, swapped or missing never gives pixels."""

import hashlib
import io
import os
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from blendbench.core.errors import UsageError
from blendbench.core.files import read_file
from blendbench.results import images as storing
from blendbench.results.images import DamagedImageError, ImageStore

PIXELS = np.arange(8 * 6 * 3, dtype=np.uint8).reshape(8, 6, 3)


def png(pixels: np.ndarray) -> bytes:
    """A PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def swapped(path: Path) -> None:
    path.write_bytes(png(255 - PIXELS))


def one_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    before = path.stat()
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def gone(path: Path) -> None:
    path.unlink()


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def device(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def test_pixels_come_back(tmp_path: Path) -> None:
    store = ImageStore(tmp_path)
    sha256 = store.save(PIXELS)
    assert store.path(sha256) == tmp_path / "images" / sha256[:2] / f"{sha256}.png"
    assert np.array_equal(ImageStore(tmp_path).load(sha256), PIXELS)
    assert store.save(PIXELS) == sha256 == ImageStore(tmp_path).save_bytes(store.path(sha256).read_bytes())


@pytest.mark.parametrize("damage", [truncated, emptied, swapped, one_bit, gone, pipe, folder, device])
def test_what_is_not_the_image_never_gives_pixels(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    store = ImageStore(tmp_path)
    sha256, other = store.save(PIXELS), store.save(PIXELS // 2)
    damage(store.path(sha256))
    for fresh in (store, ImageStore(tmp_path)):
        with pytest.raises(DamagedImageError) as caught:
            fresh.load(sha256)
        assert "\n" not in str(caught.value) and sha256[:2] in str(caught.value)
        assert fresh.present([sha256, other]) == {other}
    assert issubclass(DamagedImageError, UsageError)


@pytest.mark.parametrize("damage", [truncated, swapped, gone, emptied])
def test_a_damaged_image_is_written_again(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    sha256 = ImageStore(tmp_path).save(PIXELS)
    damage(ImageStore(tmp_path).path(sha256))
    store = ImageStore(tmp_path)
    assert store.save(PIXELS) == sha256
    assert np.array_equal(store.load(sha256), PIXELS)


def test_bytes_that_are_no_image_are_refused_on_reading(tmp_path: Path) -> None:
    store = ImageStore(tmp_path)
    sha256 = store.save_bytes(b"not an image")
    with pytest.raises(DamagedImageError):
        store.load(sha256)


@pytest.mark.parametrize("name", ["", "x", "../" * 21 + "x", "A" * 64, "a" * 63, "a" * 64 + "\n"])
def test_what_is_no_hash_leads_nowhere(tmp_path: Path, name: str) -> None:
    for call in (
        ImageStore(tmp_path).path,
        ImageStore(tmp_path).load,
        lambda name: ImageStore(tmp_path).present([name]),
    ):
        with pytest.raises(DamagedImageError, match="not the hash"):
            call(name)


@pytest.mark.parametrize("pixels", [PIXELS.astype(np.float32), PIXELS[..., 0], PIXELS[..., :2]])
def test_what_are_no_pixels_is_a_mistake_of_the_program(tmp_path: Path, pixels: np.ndarray) -> None:
    with pytest.raises(ValueError, match="not uint8"):
        ImageStore(tmp_path).save(pixels)


def test_images_are_hashed_again_only_when_they_look_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [ImageStore(tmp_path).save(PIXELS + index) for index in range(5)]
    read: list[Path] = []
    original = read_file

    def counted(path: Path, limit: int) -> bytes:
        read.append(path)
        return original(path, limit)

    monkeypatch.setattr(storing, "read_file", counted)
    assert ImageStore(tmp_path).present(names) == set(names) and not read
    os.utime(ImageStore(tmp_path).path(names[0]))
    assert ImageStore(tmp_path).present(names) == set(names) and len(read) == 1
    assert ImageStore(tmp_path).present(names) == set(names) and len(read) == 1
    for index in (b"", b"\xff\xfe", b"nonsense\n1 2 3\n"):
        (tmp_path / "images" / "verified.txt").write_bytes(index)
        read.clear()
        assert ImageStore(tmp_path).present(names) == set(names) and len(read) == 5


def test_threads_may_save_the_same_image(tmp_path: Path) -> None:
    store, data = ImageStore(tmp_path), png(PIXELS)
    sha256 = hashlib.sha256(data).hexdigest()
    threads = [threading.Thread(target=store.save_bytes, args=[data]) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [path.name for path in (tmp_path / "images").glob("*/*")] == [f"{sha256}.png"]
