"""Encode images for the tests, and compute the pixels that they show."""

import io
import struct
import zlib
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms
from skimage import data

from blendbench.core.images import (
    LoadedImage,
    load_image_bytes,
)

Array = NDArray[Any]


@cache
def photo() -> Array:
    return np.ascontiguousarray(data.astronaut()[40:88, 190:254])  # type: ignore[no-untyped-call]


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def loaded(image: Image.Image, kind: str = "PNG", **options: Any) -> LoadedImage:
    return load_image_bytes(encoded(image, kind, **options), "test")


def png_file(
    width: int, height: int, depth: int, colour: int, lines: bytes, *chunks: tuple[bytes, bytes], interlaced: int = 0
) -> bytes:
    """Write a PNG file from rows that each begin with their filter."""
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    every = [(b"IHDR", head), *chunks, (b"IDAT", zlib.compress(lines)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in every
    )


def png(width: int, depth: int, colour: int, rows: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    stride = width * depth * {0: 1, 2: 3, 4: 2, 6: 4}[colour] // 8
    lines = [b"\0" + rows[start : start + stride] for start in range(0, len(rows), stride)]
    return png_file(width, len(lines), depth, colour, b"".join(lines), *chunks)


def deep(channels: int, seed: int = 0) -> Array:
    """Make 16-bit values, some of which rounding and truncation part."""
    values = np.random.default_rng(seed).integers(0, 65536, (40, 50, channels), dtype=np.uint16)
    values[0, :8, :] = np.array([0, 127, 128, 129, 255, 256, 65407, 65535])[:, None]
    return values


def to_8_bit(values: Array) -> Array:
    return np.rint(values / 65535 * 255).astype(np.uint8)


def on_white(levels: Array, alpha: Array) -> Array:
    weight = alpha.astype(np.float64)[..., None] / 255
    return np.rint(levels * weight + 255 * (1 - weight)).astype(np.uint8)


def difference(one: Array, other: Array) -> int:
    return int(np.abs(one.astype(int) - other.astype(int)).max())


def s15(*values: float) -> bytes:
    return b"".join(struct.pack(">i", round(value * 65536)) for value in values)


def profile(space: bytes, connection: bytes, tags: dict[bytes, bytes]) -> bytes:
    """Write an ICC profile of version 2."""
    text = b"desc" + bytes(4) + struct.pack(">I", 5) + b"test\0" + bytes(79)
    bodies = {b"desc": text, b"wtpt": b"XYZ " + bytes(4) + s15(*D50), b"cprt": b"text" + bytes(8)} | tags
    offset, table, body = 128 + 4 + 12 * len(bodies), struct.pack(">I", len(bodies)), b""
    for name, content in bodies.items():
        table += name + struct.pack(">II", offset + len(body), len(content))
        body += content.ljust(-(-len(content) // 4) * 4, b"\0")
    kind = b"prtr" if space == b"CMYK" else b"mntr"
    head = struct.pack(">I4sI4s4s4s", 128 + len(table) + len(body), b"test", 0x02400000, kind, space, connection)
    head += struct.pack(">6H", 2020, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + s15(*D50)
    return head.ljust(128, b"\0") + table + body


def curve(gamma: float) -> bytes:
    return b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256))


def matrix_profile(gamma: float, primaries: Array) -> bytes:
    """Write a profile of RGB; columns of `primaries` are XYZ under D50."""
    tags = {
        name: b"XYZ " + bytes(4) + s15(*primaries[:, band]) for band, name in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))
    }
    return profile(b"RGB ", b"XYZ ", tags | {name: curve(gamma) for name in (b"rTRC", b"gTRC", b"bTRC")})


D50 = np.array([0.9642, 1.0, 0.8249])
ADOBE = np.array([[0.60974, 0.20528, 0.14919], [0.31111, 0.62567, 0.06322], [0.01947, 0.06087, 0.74457]])
SRGB = np.array([[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]])


def to_srgb(xyz: Array) -> Array:
    """Convert XYZ under D50 to sRGB levels, not rounded."""
    linear = (xyz @ np.linalg.inv(SRGB).T).clip(0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055) * 255


def srgb_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
