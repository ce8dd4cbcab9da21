"""Read what image files hold beyond the 8-bit pixels of Pillow."""

import io
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, TiffImagePlugin

# Formats that begin with a signature and of which every pixel mode is handled here. EPS and WMF run other programs.
FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "QOI", "TIFF", "WEBP")

_LOSSY = ("JPEG", "MPO", "AVIF")
_LOSSY_TIFF = ("jpeg", "tiff_jpeg", "webp")
_PNG_DEPTH, _PNG_COLOUR = 24, 25  # offsets in the file
_PNG_GREY_ALPHA = 4
_TIFF_BITS, _TIFF_PHOTOMETRIC, _TIFF_PLANES, _TIFF_SEPARATE = 258, 262, 284, 2
_JPEG2000_START, _JPEG2000_SIZE, _JPEG2000_CODING = b"\xff\x4f", b"\xff\x51", b"\xff\x52"
_DEEP_COLOURS = ("RGB", "RGBA", "RGBX", "CMYK")
_OTHER_ORDER = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}

Levels = NDArray[np.uint8]


class RefusedImageError(Exception):
    """Refuse an image; the message says the problem and the fix."""


def open_image(data: bytes) -> ImageFile.ImageFile:
    """Open an encoded image without decoding its pixels."""
    Image.init()
    # AVIF, WebP and JPEG 2000 are optional parts of Pillow.
    return Image.open(io.BytesIO(data), formats=[name for name in FORMATS if name in Image.OPEN])


def is_lossy(image: ImageFile.ImageFile, data: bytes) -> bool:
    """Return whether the coding of a file loses information.

    JPEG 2000 with its reversible transform counts as lossless, though a rate limit may have cut it short.
    """
    if image.format == "TIFF":
        return image.info.get("compression") in _LOSSY_TIFF
    if image.format == "WEBP":
        return _first_webp_coding(data) == b"VP8 "
    if image.format == "JPEG2000":
        return _jpeg2000_segment(data, _JPEG2000_CODING)[13:14] != b"\x01"
    return image.format in _LOSSY


def orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8; damaged metadata counts as 1."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:
        # Viewers ignore damaged metadata as well, and on it Pillow raises nearly anything.
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def is_deep(image: ImageFile.ImageFile, data: bytes) -> bool:
    """Return whether channels hold more than 8 bits, before decoding."""
    if image.mode.startswith("I;16"):
        return True
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return bool(max(image.tag_v2.get(_TIFF_BITS, (8,))) > 8)
    if image.format == "PNG":
        return data[_PNG_DEPTH] == 16
    if image.format == "JPEG2000":
        bits = _jpeg2000_segment(data, _JPEG2000_SIZE)[40:41]
        return bool(bits) and (bits[0] & 0x7F) + 1 > 8
    if image.format == "PPM":
        arguments = image.tile[0].args
        maximum = arguments[-1] if isinstance(arguments, tuple) else 0
        return image.mode == "I" or (isinstance(maximum, int) and maximum > 255)
    return False


def load_deep(image: ImageFile.ImageFile, data: bytes) -> Image.Image:
    """Decode an image with more than 8 bits a channel, to 8 bits.

    PNG, PPM and TIFF values are scaled to 0..255 and rounded to the nearest level. Pillow reads 16-bit colours of
    PNG and TIFF files as their upper 8 bits, so these are decoded twice. JPEG 2000 colours and TIFF colours with
    premultiplied alpha stay as Pillow converts them, less than one level away. Modes of 32 bits stay as they are.
    Errors: RefusedImageError.
    """
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        return _load_deep_grey(image)
    if image.format == "PNG" and data[_PNG_COLOUR] == _PNG_GREY_ALPHA:
        # Its bytes are grey high, grey low, alpha high, alpha low: read them as four channels of 8 bits.
        _set_rawmode(image, "RGBA")
        channels = _pixels(image)
        return _made(_rounded(channels[..., ::2], channels[..., 1::2]), "LA", image)
    if image.format in ("PNG", "TIFF") and image.mode not in ("I", "F"):
        arguments = image.tile[0].args
        stem, deep, order = str(arguments[0] if isinstance(arguments, tuple) else arguments).rpartition(";16")
        separate = isinstance(image, TiffImagePlugin.TiffImageFile) and image.tag_v2.get(_TIFF_PLANES) == _TIFF_SEPARATE
        if separate or not deep:
            # Pillow reads uncompressed planes of 16 bits as if they had 8, and of compressed ones the upper 8 only.
            raise RefusedImageError("16-bit channels in separate planes; save it with interleaved channels")
        if stem in _DEEP_COLOURS:
            return _load_deep_colour(image, data, f"{stem};16{_OTHER_ORDER[order]}")
    image.load()
    return image


def unscaled_transparency(image: Image.Image, data: bytes) -> int | None:
    """Return the transparent grey of a PNG file of less than 8 bits.

    It is scaled to 8 bits, as Pillow scales the pixels; None for other files.
    """
    value = image.info.get("transparency")
    if image.format == "PNG" and image.mode == "L" and isinstance(value, int) and data[_PNG_DEPTH] < 8:
        return value * (255 // ((1 << data[_PNG_DEPTH]) - 1))
    return None


def _load_deep_grey(image: ImageFile.ImageFile) -> Image.Image:
    white, inverted = 65535, False
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        white = 2 ** max(image.tag_v2.get(_TIFF_BITS, (16,))) - 1  # Pillow leaves 12 bits unscaled
        inverted = image.tag_v2.get(_TIFF_PHOTOMETRIC) == 0  # and white-is-zero as it is
    values = _pixels(image).astype(np.float64)
    levels = np.rint(np.clip(values / white, 0, 1) * 255).astype(np.uint8)
    transparent = image.info.get("transparency")
    if transparent is not None:
        alpha = np.where(values == transparent, 0, 255).astype(np.uint8)
        return _made(np.dstack([levels, alpha]), "LA", image)
    return _made(255 - levels if inverted else levels, "L", image)


def _load_deep_colour(image: ImageFile.ImageFile, data: bytes, low_bytes: str) -> Image.Image:
    """Decode the upper and the lower 8 bits of colours.

    `low_bytes` is the rawmode of the other byte order, by which Pillow takes the lower 8 bits.
    """
    with open_image(data) as again:
        _set_rawmode(again, low_bytes)
        low = _pixels(again)
    high = _pixels(image)
    levels, mode = _rounded(high, low), image.mode
    transparent = image.info.get("transparency")
    if transparent is not None:
        values = high.astype(np.uint16) << 8 | low
        alpha = np.where((values == np.array(transparent)).all(-1), 0, 255).astype(np.uint8)
        levels, mode = np.dstack([levels, alpha]), "RGBA"
    return _made(levels, mode, image)


def _rounded(high: Levels, low: Levels) -> Levels:
    """Divide 16-bit values by 257, rounded to the nearest integer."""
    values = high.astype(np.uint32) << 8 | low
    return ((values + 128) // 257).astype(np.uint8)


def _pixels(image: Image.Image) -> NDArray[Any]:
    image.load()
    return np.asarray(image)


def _made(levels: Levels, mode: str, image: Image.Image) -> Image.Image:
    return Image.frombytes(mode, image.size, levels.tobytes())


def _set_rawmode(image: ImageFile.ImageFile, rawmode: str) -> None:
    """Choose which bytes of the file become the channels."""
    image.tile = [
        tile._replace(args=(rawmode, *tile.args[1:]) if isinstance(tile.args, tuple) else rawmode)
        for tile in image.tile
    ]


def _first_webp_coding(data: bytes) -> bytes:
    """Return the kind of the first chunk with pixels, b"VP8 " or b"VP8L"."""
    position = 12  # after RIFF, size, WEBP
    while position + 8 <= len(data):
        kind = data[position : position + 4]
        if kind in (b"VP8 ", b"VP8L"):
            return kind
        if kind == b"ANMF":
            position += 8 + 16  # the chunks of a frame follow its header
        else:
            size = int.from_bytes(data[position + 4 : position + 8], "little")
            position += 8 + size + size % 2
    return b""


def _jpeg2000_segment(data: bytes, marker: bytes) -> bytes:
    """Return 64 bytes from a marker of the JPEG 2000 main header on, or b""."""
    position = data.find(_JPEG2000_START + _JPEG2000_SIZE) + 2
    while position >= 2 and position + 4 <= len(data) and data[position] == 0xFF:
        if data[position : position + 2] == marker:
            return data[position : position + 64]
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return b""
