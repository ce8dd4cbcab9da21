"""Whatever the bytes are, an image loads or is refused in one line."""

import io
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from blendbench.core.errors import UsageError
from blendbench.core.images import PIXEL_LIMIT, ImageError, load_image, load_image_bytes

MUTATIONS = 60

# pytest puts its own warning filters in the place of those that the loader sets when it is imported.
pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning"),
]


def _file(kind: str, mode: str = "RGB", **options: Any) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (16, 20, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


def _deep_png() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.arange(320, dtype=np.uint16).reshape(16, 20) * 200).save(buffer, "PNG")
    return buffer.getvalue()


def _files() -> dict[str, bytes]:
    exif = Image.Exif()
    exif[274] = 6
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    frames: dict[str, Any] = {"save_all": True, "append_images": [Image.new("RGB", (20, 16), "red")]}
    return {
        "png": _file("PNG", exif=exif, icc_profile=profile),
        "png_rgba": _file("PNG", "RGBA"),
        "png_palette": _file("PNG", "P", transparency=3),
        "png_16": _deep_png(),
        "apng": _file("PNG", **frames),
        "jpeg": _file("JPEG", exif=exif, icc_profile=profile),
        "jpeg_cmyk": _file("JPEG", "CMYK"),
        "progressive": _file("JPEG", progressive=True),
        "mpo": _file("MPO", **frames),
        "webp": _file("WEBP", exif=exif, icc_profile=profile),
        "webp_lossless": _file("WEBP", lossless=True),
        "webp_frames": _file("WEBP", **frames),
        "gif": _file("GIF", **frames),
        "bmp": _file("BMP"),
        "tiff": _file("TIFF", exif=exif, icc_profile=profile),
        "tiff_lzw": _file("TIFF", compression="tiff_lzw"),
        "tiff_deflate": _file("TIFF", compression="tiff_adobe_deflate"),
        "ppm": _file("PPM"),
        "qoi": _file("QOI"),
        "jp2": _file("JPEG2000"),
        "avif": _file("AVIF"),
    }


FILES = _files()


def _mutated(data: bytes, random: np.random.Generator) -> bytes:
    """Change, remove or repeat bytes, half of the time in the header."""
    changed = bytearray(data)
    for _ in range(random.integers(1, 6)):
        reach = min(len(changed), 64 if random.random() < 0.5 else len(changed))
        position = int(random.integers(0, max(reach, 1)))
        length = int(random.integers(1, 9))
        match random.integers(0, 4):
            case 0:
                changed[position : position + length] = random.bytes(length)
            case 1:
                changed[position : position + 1] = bytes([random.choice([0, 1, 127, 128, 254, 255])])
            case 2:
                del changed[position : position + length]
            case _:
                changed[position:position] = changed[position : position + length]
    return bytes(changed)


def _loads_or_refuses(data: bytes) -> bool:
    try:
        found = load_image_bytes(data, "test")
    except ImageError as error:
        message = str(error)
        assert message.startswith("test: "), message
        assert ";" in message, message
        assert message.isprintable(), message
        return False
    assert found.pixels.ndim == 3
    assert found.pixels.shape[2] == 3
    assert found.pixels.dtype == np.uint8
    return True


@pytest.mark.parametrize("name", FILES)
def test_mutated_files_load_or_are_refused_in_one_line(name: str) -> None:
    random = np.random.default_rng(list(name.encode()))
    results = [_loads_or_refuses(_mutated(FILES[name], random)) for _ in range(MUTATIONS)]
    assert not all(results)


@pytest.mark.parametrize("name", FILES)
def test_truncated_files_are_refused_or_whole(name: str) -> None:
    data = FILES[name]
    whole = load_image_bytes(data, "test").pixels
    for length in range(0, len(data), max(1, len(data) // 80)):
        if _loads_or_refuses(data[:length]):
            assert np.array_equal(load_image_bytes(data[:length], "test").pixels, whole)
    assert not _loads_or_refuses(data[: len(data) // 2]) or name in ("apng", "mpo", "gif", "tiff")


@pytest.mark.parametrize(
    "data", [b"", b"\0" * 100, b"no image", bytes(range(256)), b"RIFF\0\0\0\0WEBP", b"\x89PNG\r\n\x1a\n"]
)
def test_other_bytes_are_refused(data: bytes) -> None:
    assert not _loads_or_refuses(data)


def test_a_changed_pixel_of_a_png_is_seen_by_its_checksum() -> None:
    plain = _file("PNG", compress_level=0)
    position = plain.index(b"IDAT") + 200
    changed = plain[:position] + bytes([plain[position] ^ 1]) + plain[position + 1 :]
    with pytest.raises(ImageError, match="damaged image"):
        load_image_bytes(changed, "test")


def _png_head(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def _with_size(data: bytes, offset: int, form: str) -> bytes:
    return data[:offset] + struct.pack(form, 60000, 60000) + data[offset + struct.calcsize(form) :]


@pytest.mark.parametrize(
    "data",
    [
        _png_head(8193, 8192),
        _png_head(11000, 10000),
        _png_head(60000, 60000),
        _with_size(FILES["gif"], 6, "<HH"),
        _with_size(FILES["bmp"], 18, "<ii"),
        _with_size(FILES["jpeg"], FILES["jpeg"].index(b"\xff\xc0") + 5, ">HH"),
        _with_size(FILES["qoi"], 4, ">II"),
        b"P6 60000 60000 255\n" + bytes(100),
    ],
)
def test_decompression_bombs_are_refused_by_their_header(data: bytes) -> None:
    with pytest.raises(ImageError, match=f"more than {PIXEL_LIMIT:,}.*; use a smaller image"):
        load_image_bytes(data, "test")


def test_the_limit_itself_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blendbench.core.images.PIXEL_LIMIT", 320)
    assert load_image_bytes(FILES["png"], "test").pixels.size == 960
    monkeypatch.setattr("blendbench.core.images.PIXEL_LIMIT", 319)
    with pytest.raises(ImageError, match="20 x 16 pixels, more than 319; use a smaller image"):
        load_image_bytes(FILES["png"], "test")


@pytest.mark.parametrize("name", ["pipe.png", "folder.png", "dangling.png", "none.png", "/dev/zero", "empty.png"])
def test_what_is_not_a_file_with_bytes_is_refused(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "dangling.png").symlink_to("gone.png")
    (tmp_path / "empty.png").touch()
    with pytest.raises(ImageError) as caught:
        load_image(tmp_path / name)
    assert str(caught.value).startswith(f"{tmp_path / name}: ")
    assert ";" in str(caught.value)
    assert isinstance(caught.value, UsageError)


def test_a_name_with_a_line_break_stays_on_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a\nb.png"
    path.write_bytes(b"no image")
    with pytest.raises(ImageError) as caught:
        load_image(path)
    assert str(caught.value).isprintable()
