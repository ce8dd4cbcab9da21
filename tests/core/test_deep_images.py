"""Images of more than 8 bits a channel are rounded to the nearest level."""

import io
import struct

import numpy as np
import pytest
import tifffile
from encoded_images import (
    deep,
    difference,
    encoded,
    loaded,
    on_white,
    photo,
    png,
    png_file,
    to_8_bit,
)
from PIL import Image

from blendbench.core.images import (
    ImageError,
    load_image_bytes,
)


@pytest.mark.parametrize("colour", [0, 2, 4, 6])
def test_16_bit_png_is_rounded_to_the_nearest_level(colour: int) -> None:
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[colour]
    values = deep(channels)
    found = load_image_bytes(png(values.shape[1], 16, colour, values.astype(">u2").tobytes()), "test")
    levels = to_8_bit(values)
    if channels in (2, 4):
        expected = on_white(levels[..., :-1].repeat(4 - channels + 1 if channels == 2 else 1, -1), levels[..., -1])
    else:
        expected = levels.repeat(3 // channels, -1)
    assert np.array_equal(found.pixels, expected)
    assert found.flags == (("16_bit", "transparent") if channels in (2, 4) else ("16_bit",))


def test_16_bit_interlaced_png_is_exact() -> None:
    values = deep(3)[:9, :11]
    passes = ((0, 8, 0, 8), (0, 8, 4, 8), (4, 8, 0, 4), (0, 4, 2, 4), (2, 4, 0, 2), (0, 2, 1, 2), (1, 2, 0, 1))
    parts = [values[top::down, left::right] for top, down, left, right in passes]
    lines = b"".join(b"\0" + row.astype(">u2").tobytes() for part in parts if part.size for row in part)
    found = load_image_bytes(png_file(11, 9, 16, 2, lines, interlaced=1), "test")
    assert np.array_equal(found.pixels, to_8_bit(values))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_16_bit_tiff_is_rounded_to_the_nearest_level(order: str, compression: str | None, channels: int) -> None:
    values = deep(channels).astype(order + "u2")
    buffer = io.BytesIO()
    tifffile.imwrite(
        buffer,
        values[..., 0] if channels == 1 else values,
        byteorder=order,  # type: ignore[arg-type]
        compression=compression,
        photometric="minisblack" if channels == 1 else "rgb",
        extrasamples=["unassalpha"] if channels == 4 else None,
    )
    found = load_image_bytes(buffer.getvalue(), "test")
    levels = to_8_bit(values)
    expected = on_white(levels[..., :3], levels[..., 3]) if channels == 4 else levels.repeat(3 // channels, -1)
    assert np.array_equal(found.pixels, expected)
    assert found.flags == (("16_bit", "transparent") if channels == 4 else ("16_bit",))


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_16_bit_tiff_in_separate_planes_is_refused(compression: str | None) -> None:
    buffer = io.BytesIO()
    planes = deep(3).transpose(2, 0, 1)
    tifffile.imwrite(buffer, planes, photometric="rgb", planarconfig="separate", compression=compression)
    with pytest.raises(ImageError, match="separate planes; save it with interleaved channels"):
        load_image_bytes(buffer.getvalue(), "test")


def test_white_is_zero_is_inverted() -> None:
    for values in (deep(1)[..., 0], photo()[..., 0]):
        buffer = io.BytesIO()
        tifffile.imwrite(buffer, values, photometric="miniswhite")
        found = load_image_bytes(buffer.getvalue(), "test")
        expected = 255 - (to_8_bit(values) if values.dtype == np.uint16 else values)
        assert np.array_equal(found.pixels, expected[..., None].repeat(3, -1))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("top", [255, 1023, 65535])
def test_netpbm_is_scaled_by_its_maximum(channels: int, top: int) -> None:
    values = np.random.default_rng(0).integers(0, top + 1, (6, 7, channels))
    head = f"P{6 if channels == 3 else 5} 7 6 {top}\n".encode()
    found = load_image_bytes(head + values.astype(">u2" if top > 255 else "u1").tobytes(), "test")
    assert difference(found.pixels, np.rint(values / top * 255).repeat(3 // channels, -1)) <= (top == 1023)
    assert found.flags == (("16_bit",) if top > 255 else ())


def test_12_bit_tiff_is_scaled_by_its_maximum() -> None:
    values = np.random.default_rng(0).integers(0, 4096, (4, 6))
    packed = int("".join(f"{value:012b}" for value in values.ravel()), 2).to_bytes(values.size * 12 // 8, "big")
    tags = [(256, 6), (257, 4), (258, 12), (259, 1), (262, 1), (273, 122), (277, 1), (278, 4), (279, len(packed))]
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    file = b"II*\0" + struct.pack("<IH", 8, len(tags)) + directory + bytes(4)
    assert len(file) == 122
    found = load_image_bytes(file + packed, "test")
    assert np.array_equal(found.pixels[..., 0], np.rint(values / 4095 * 255))
    assert found.flags == ("16_bit",)


def test_16_bit_jpeg_2000_is_flagged_and_within_a_level() -> None:
    values = deep(1)[..., 0]
    found = loaded(Image.fromarray(values), "JPEG2000")
    assert np.array_equal(found.pixels[..., 0], to_8_bit(values))
    assert found.flags == ("16_bit",)


def test_16_bit_colours_of_jpeg_2000_are_flagged() -> None:
    # Pillow writes none: declare the channels of a file of 8 bits as such of 12, in its SIZ segment.
    plain = encoded(Image.fromarray(photo()), "JPEG2000", no_jp2=True)
    depths = plain.index(b"\xff\x51") + 40
    assert plain[depths : depths + 9] == bytes([7, 1, 1] * 3)
    found = load_image_bytes(plain[:depths] + bytes([11, 1, 1] * 3) + plain[depths + 9 :], "test")
    assert found.flags == ("16_bit",)
    assert load_image_bytes(plain, "test").flags == ()


@pytest.mark.parametrize("kind", [np.uint32, np.int32, np.int16, np.float32])
def test_pixels_without_a_known_range_are_refused(kind: type[np.generic]) -> None:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, np.arange(12).reshape(3, 4).astype(kind), photometric="minisblack")
    with pytest.raises(ImageError, match="save it with 8 or 16 bits a channel"):
        load_image_bytes(buffer.getvalue(), "test")
