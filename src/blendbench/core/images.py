"""Load any image file as 8-bit sRGB pixels, with flags for what was done."""

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageFile, UnidentifiedImageError

from blendbench.core import image_formats
from blendbench.core.errors import UsageError
from blendbench.core.files import printable, read_file
from blendbench.core.hashing import sha256_bytes, sha256_json

PIXEL_LIMIT = 8192 * 8192
BYTE_LIMIT = 2**30
LOADER_VERSION = 1  # raise it when some file is loaded as other pixels than before

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_PLAIN_MODES = ("1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "LAB")
_PROFILE_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}
_NO_SHORTCUTS = ImageCms.Flags.NOOPTIMIZE
_SAME_COLOUR = 2  # levels; profiles that are called sRGB differ by so much

# The size is checked below, and damage is raised as ImageError. `catch_warnings` would not be safe with threads.
logging.getLogger("PIL").addHandler(logging.NullHandler())
for _category in (UserWarning, RuntimeWarning):
    warnings.filterwarnings("ignore", category=_category, module=r"PIL\.")


class ImageError(UsageError):
    """Report a file that is not a usable image, in one line with the fix."""


@dataclass(frozen=True, eq=False)
class LoadedImage:
    """Hold the pixels of an image and what was special about its file.

    Pixels are uint8 (h, w, 3) in sRGB. A lossless 8-bit sRGB file has no flag. The flags are `jpeg` (lossy coding),
    `first_frame` (of several), `turned` (by its EXIF orientation), `16_bit` (scaled to 8), `transparent` (laid on
    white), `icc` (converted to sRGB) and `icc_ignored` (a profile that cannot be used).
    """

    pixels: NDArray[np.uint8]
    flags: tuple[str, ...]


@dataclass(frozen=True)
class ImageFolder:
    """Hold the image files directly in a folder, and the names of the rest."""

    images: tuple[Path, ...]
    left_out: tuple[str, ...]


def load_image(path: Path) -> LoadedImage:
    """Load an image file as 8-bit sRGB pixels. Errors: ImageError."""
    try:
        data = read_file(path, BYTE_LIMIT)
    except UsageError as error:
        raise ImageError(str(error)) from error
    return load_image_bytes(data, str(path))


def load_image_bytes(data: bytes, name: str) -> LoadedImage:
    """Load image bytes as 8-bit sRGB. Errors: ImageError that names `name`."""
    with _one_line_errors(printable(name)):
        if not data:
            raise image_formats.RefusedImageError("an empty file; name an image file")
        with image_formats.open_image(data) as image:
            # Files state their size in the header: nothing is decoded yet.
            if image.width * image.height > PIXEL_LIMIT:
                raise image_formats.RefusedImageError(
                    f"{image.width} x {image.height} pixels, more than {PIXEL_LIMIT:,}; use a smaller image"
                )
            return _decoded(image, data)


def image_size(path: Path) -> tuple[int, int]:
    """Return an undecoded image's height and width. Errors: ImageError."""
    image_identity(path)  # a file that cannot be read is refused as everywhere
    found = path.stat()
    return _size(path, found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=4096)
def _size(path: Path, _size: int, _modified: int) -> tuple[int, int]:
    with _one_line_errors(printable(str(path))), image_formats.open_image(read_file(path, BYTE_LIMIT)) as image:
        return image.height, image.width


@cache
def image_suffixes() -> tuple[str, ...]:
    """Return the suffixes of the formats that can be loaded."""
    Image.init()
    known = Image.registered_extensions().items()
    return tuple(sorted(suffix for suffix, name in known if name in (*image_formats.FORMATS, "MPO")))


def image_identity(path: Path) -> str:
    """Hash an image file by content alone, hex sha256. Errors: ImageError."""
    try:
        found = path.stat()
    except OSError as error:
        raise ImageError(f"{printable(path)}: cannot be read: {error.strerror}; name an image file") from error
    # Items share images, and a plan asks for each of them thousands of times.
    return _identity(path, found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=4096)
def _identity(path: Path, _size: int, _modified: int) -> str:
    try:
        data = read_file(path, BYTE_LIMIT)
    except UsageError as error:
        raise ImageError(str(error)) from error
    return sha256_json([LOADER_VERSION, sha256_bytes(data)])


def image_files(folder: Path) -> ImageFolder:
    """List a folder's own image files by name. Errors: ImageError."""
    try:
        entries = sorted(folder.iterdir())
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        reason = getattr(error, "strerror", None) or "not a file name"
        raise ImageError(f"{printable(folder)}: cannot be listed: {reason}; name a folder") from error
    images = tuple(entry for entry in entries if _is_image_name(entry) and entry.is_file())
    return ImageFolder(images, tuple(entry.name for entry in entries if entry not in set(images)))


def resize_area(pixels: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Crop the centre to an aspect ratio and resize it by area averages.

    The crop has whole pixels. Enlarged axes are interpolated linearly.
    """
    import cv2  # comes with the `models` extra

    rows, columns = pixels.shape[:2]
    crop_width = max(1, min(columns, round(rows * width / height)))
    crop_height = max(1, min(rows, round(columns * height / width)))
    top, left = (rows - crop_height) // 2, (columns - crop_width) // 2
    cropped = np.ascontiguousarray(pixels[top : top + crop_height, left : left + crop_width])
    return np.asarray(cv2.resize(cropped, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


@contextmanager
def _one_line_errors(name: str) -> Iterator[None]:
    try:
        yield
    except image_formats.RefusedImageError as error:
        raise ImageError(f"{name}: {error}") from error
    except UnidentifiedImageError as error:
        known = ", ".join(image_formats.FORMATS)
        raise ImageError(f"{name}: not an image that can be read ({known}); save it as PNG") from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"{name}: more than {PIXEL_LIMIT:,} pixels; use a smaller image") from error
    except Exception as error:
        # On a damaged file the decoders raise nearly anything: TypeError and RuntimeError besides what Pillow names.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(f"{name}: a damaged image: {printable(reason)}; save it again as PNG") from error


def _is_image_name(path: Path) -> bool:
    # Hidden files of macOS are named as the images that they describe.
    return path.suffix.lower() in image_suffixes() and not path.name.startswith(".")


def _decoded(image: ImageFile.ImageFile, data: bytes) -> LoadedImage:
    flags = []
    if image_formats.is_lossy(image, data):
        flags.append("jpeg")
    if getattr(image, "is_animated", False):
        flags.append("first_frame")
    # Pillow turns TIFF images itself while it decodes them.
    turn = image_formats.orientation(image) if image.format == "TIFF" else 1
    deep = image_formats.is_deep(image, data)
    decoded: Image.Image = image
    if deep:
        decoded = image_formats.load_deep(image, data)
    decoded.load()
    turn_left = image_formats.orientation(image)
    if turn != 1 or turn_left != 1:
        flags.append("turned")
    if deep:
        flags.append("16_bit")
    transparent = image_formats.unscaled_transparency(decoded, data)
    if transparent is not None:
        decoded.info["transparency"] = transparent
    colours, alpha = _split(decoded)
    rgb, icc_flags = _to_srgb(colours, image.info.get("icc_profile"))
    if alpha is not None and alpha.getextrema() != (255, 255):
        flags.append("transparent")
        white = Image.new("RGB", rgb.size, "white")
        white.paste(rgb, mask=alpha)
        rgb = white
    if turn_left != 1:
        rgb = rgb.transpose(_TURNS[turn_left])
    return LoadedImage(np.array(rgb), (*flags, *icc_flags))


def _split(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    if image.mode in ("La", "RGBa"):
        image = image.convert({"La": "LA", "RGBa": "RGBA"}[image.mode])
    if image.mode == "LA":
        return image.getchannel("L"), image.getchannel("A")
    if image.mode == "RGBA":
        return image.convert("RGB"), image.getchannel("A")
    if image.mode not in (*_PLAIN_MODES, "PA"):
        raise image_formats.RefusedImageError(f"pixels of kind {image.mode}; save it with 8 or 16 bits a channel")
    if not image.has_transparency_data:
        return image.convert("RGB") if image.mode == "P" else image, None
    rgba = image.convert("RGBA")
    return image if image.mode in ("1", "L", "RGB") else rgba.convert("RGB"), rgba.getchannel("A")


def _to_srgb(image: Image.Image, profile: bytes | None) -> tuple[Image.Image, tuple[str, ...]]:
    if image.mode == "LAB":
        # The numbers are absolute colours: a profile has nothing to add.
        lab = ImageCms.createProfile("LAB")
        return _transformed(image, ImageCms.buildTransform(lab, ImageCms.createProfile("sRGB"), "LAB", "RGB")), ()
    if not profile:
        return image.convert("RGB"), ()
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        converted = _through(image, source)
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
        return image.convert("RGB"), ("icc_ignored",)
    return (image.convert("RGB"), ()) if converted is None else (converted, ("icc",))


def _through(image: Image.Image, source: ImageCms.ImageCmsProfile) -> Image.Image | None:
    """Convert through a profile, None if that is sRGB. Errors: ValueError."""
    space = source.profile.xcolor_space.strip()
    mode = _PROFILE_MODES.get(space)
    # Greys may have a profile of colours, but not the reverse.
    if mode is None or (mode == "CMYK") != (image.mode == "CMYK") or (mode == "L" and image.mode not in ("1", "L")):
        raise ValueError(f"a profile of kind {space} for {image.mode} pixels")
    if mode == "L":
        # 8-bit grey has 256 values: convert these without the shortcuts of lcms, up to 10 levels off in dark greys.
        exact = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), "L", "RGB", flags=_NO_SHORTCUTS)
        ramp = np.arange(256, dtype=np.uint8)[None]
        table = np.asarray(_transformed(Image.fromarray(ramp), exact))
        return None if _is_same(ramp[..., None], table) else Image.fromarray(table[0][np.asarray(image.convert("L"))])
    transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
    if mode == "RGB" and _is_same(np.asarray(_probe()), np.asarray(_transformed(_probe(), transform))):
        return None
    return _transformed(image.convert(mode), transform)


def _is_same(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> bool:
    return bool(np.abs(before.astype(np.int16) - after).max() <= _SAME_COLOUR)


def _transformed(image: Image.Image, transform: ImageCms.ImageCmsTransform) -> Image.Image:
    converted = ImageCms.applyTransform(image, transform)
    assert converted is not None  # only None when it works in place
    return converted


@cache
def _probe() -> Image.Image:
    """Make an image of all colours on a grid of 17 levels a channel."""
    levels = np.linspace(0, 255, 17).round().astype(np.uint8)
    grid = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), -1).reshape(17, -1, 3)
    return Image.fromarray(np.ascontiguousarray(grid))
