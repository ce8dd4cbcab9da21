"""Image files from anywhere, opened for scoring: 8-bit RGB, and what had to be done or known about each."""

import os
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import ExifTags, Image, TiffImagePlugin, UnidentifiedImageError
from torch import Tensor

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_DEPTH_BYTE = 24
_SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N")
_BITS_TAG = 258
_LOSSY = ("JPEG", "MPO", "JPEG2000", "WEBP", "AVIF")
_LOSSY_TIFF = ("jpeg", "tiff_jpeg", "webp")
_EIGHT_BITS = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV", "LAB")


class ImageError(Exception):
    """A file that is no image that can be scored; the message says why in one line."""


@dataclass(frozen=True)
class Opened:
    """`pixels` uint8 (3, h, w); `flags` what differs from a lossless 8-bit RGB file."""

    pixels: Tensor
    flags: tuple[str, ...]


def open_image(path: Path) -> Opened:
    """Read one image file. Errors: ImageError.

    Flags: `jpeg` for a lossy file format, `16_bit` where the upper 8 bits are scored, `transparent` where it was laid
    on white, `first_frame` of several, `turned` where viewers turn it and it is scored as stored.
    """
    try:
        with Image.open(path) as image:
            image.load()
            return _opened(image, path)
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        raise ImageError("no image in a known format") from error
    except Exception as error:
        # On a damaged file the decoders raise nearly anything: TypeError and RuntimeError besides what Pillow names.
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ImageError(reason) from error


def _opened(image: Image.Image, path: Path) -> Opened:
    flags = []
    if _is_lossy(image, path):
        flags.append("jpeg")
    if getattr(image, "n_frames", 1) > 1:
        flags.append("first_frame")
    if _is_turned(image):
        flags.append("turned")
    if image.mode in _SIXTEEN_BITS or _is_deep(image, path):
        flags.append("16_bit")
    if image.mode in _SIXTEEN_BITS:
        grey = np.asarray(image).astype(np.float64) / 257
        image = Image.fromarray(np.rint(grey).astype(np.uint8))
    elif image.mode not in _EIGHT_BITS:
        raise ImageError(f"pixels of kind {image.mode}; save it with 8 or 16 bits a channel")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if image.getextrema()[3][0] < 255:  # type: ignore[index, misc]
            flags.append("transparent")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    pixels = np.array(image.convert("RGB"))
    return Opened(torch.from_numpy(pixels).permute(2, 0, 1).contiguous(), tuple(flags))


def _is_lossy(image: Image.Image, path: Path) -> bool:
    if image.format == "TIFF":
        return image.info.get("compression") in _LOSSY_TIFF
    return image.format in _LOSSY and not _is_lossless_webp(path)


def _is_turned(image: Image.Image) -> bool:
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1) != 1
    except (struct.error, SyntaxError, ValueError, OSError):
        # Viewers pass over damaged metadata as well.
        return False


def _is_lossless_webp(path: Path) -> bool:
    """Pillow does not say which of the two codings a WebP file has; its chunks do."""
    with path.open("rb") as file:
        head = file.read(12)
        if head[:4] != b"RIFF" or head[8:] != b"WEBP":
            return False
        while len(chunk := file.read(8)) == 8:
            if chunk[:4] in (b"VP8 ", b"VP8L"):
                return chunk[:4] == b"VP8L"
            size = int.from_bytes(chunk[4:], "little")
            file.seek(size + size % 2, os.SEEK_CUR)
    return False


def _is_deep(image: Image.Image, path: Path) -> bool:
    """Pillow reads colour of 16 bits in PNG and TIFF files as 8 bits without a word."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return max(image.tag_v2.get(_BITS_TAG, (8,))) == 16
    with path.open("rb") as file:
        head = file.read(_DEPTH_BYTE + 1)
    return head.startswith(_PNG_SIGNATURE) and head[_DEPTH_BYTE] == 16
