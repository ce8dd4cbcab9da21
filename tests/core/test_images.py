"""Every kind of image file gives the pixels that it shows, and flags."""

import io
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from encoded_images import (
    Array,
    deep,
    difference,
    encoded,
    loaded,
    on_white,
    photo,
    png,
    to_8_bit,
)
from PIL import Image, ImageOps
from skimage import color, data

from blendbench.core.image_formats import FORMATS
from blendbench.core.images import (
    ImageError,
    image_files,
    image_suffixes,
    load_image,
    load_image_bytes,
    resize_area,
)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "QOI"])
def test_plain_files_are_exact_and_have_no_flag(kind: str) -> None:
    found = loaded(Image.fromarray(photo()), kind)
    assert np.array_equal(found.pixels, photo())
    assert found.pixels.dtype == np.uint8
    assert found.pixels.flags.writeable
    assert found.flags == ()


@pytest.mark.parametrize(("kind", "options"), [("WEBP", {"lossless": True}), ("JPEG2000", {}), ("GIF", {})])
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1)])
def test_tiny_images_load(kind: str, options: dict[str, Any], shape: tuple[int, int]) -> None:
    pixels = np.full((*shape, 3), 90, np.uint8)
    found = loaded(Image.fromarray(pixels), kind, **options)
    assert np.array_equal(found.pixels, pixels)
    assert found.flags == ()


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG", "WEBP", "AVIF"])
@pytest.mark.parametrize("value", range(1, 9))
def test_exif_orientation_is_applied_once(kind: str, value: int) -> None:
    exif = Image.Exif()
    exif[274] = value
    options = {"lossless": True} if kind == "WEBP" else {}
    image = Image.fromarray(photo())
    stored = np.asarray(Image.open(io.BytesIO(encoded(image, kind, **options))).convert("RGB"))
    turned = {
        1: stored,
        2: stored[:, ::-1],
        3: stored[::-1, ::-1],
        4: stored[::-1],
        5: stored.transpose(1, 0, 2),
        6: np.rot90(stored, -1),
        7: stored[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(stored),
    }[value]
    found = loaded(image, kind, exif=exif, **options)
    assert np.array_equal(found.pixels, turned)
    assert ("turned" in found.flags) == (value != 1)


def test_a_turned_16_bit_tiff_is_turned_once() -> None:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, deep(3), photometric="rgb", extratags=[(274, "H", 1, 6, True)])
    found = load_image_bytes(buffer.getvalue(), "test")
    assert np.array_equal(found.pixels, np.rot90(to_8_bit(deep(3)), -1))
    assert found.flags == ("turned", "16_bit")


def test_damaged_exif_is_ignored() -> None:
    assert loaded(Image.fromarray(photo()), "WEBP", lossless=True, exif=b"Exif\0\0II*\0").flags == ()


def alpha_of(pixels: Array) -> Array:
    return np.random.default_rng(1).integers(0, 256, pixels.shape[:2], dtype=np.uint8)


def test_alpha_is_laid_on_white() -> None:
    alpha = alpha_of(photo())
    found = loaded(Image.fromarray(np.dstack([photo(), alpha])))
    assert np.array_equal(found.pixels, on_white(photo(), alpha))
    assert found.flags == ("transparent",)
    blended = color.rgba2rgb(np.dstack([photo(), alpha]))  # type: ignore[no-untyped-call]
    assert difference(found.pixels, blended * 255) <= 1


def test_grey_with_alpha_is_laid_on_white() -> None:
    grey, alpha = photo()[..., :1], alpha_of(photo())
    found = loaded(Image.fromarray(np.dstack([grey, alpha]), "LA"))
    assert np.array_equal(found.pixels, on_white(grey.repeat(3, -1), alpha))
    assert found.flags == ("transparent",)


@pytest.mark.parametrize("kind", ["unassalpha", "assocalpha"])
def test_grey_tiff_with_alpha_of_both_kinds_is_laid_on_white(kind: str) -> None:
    grey, alpha = photo()[..., 0], alpha_of(photo())
    alpha[:, ::2] = 255
    stored = grey if kind == "unassalpha" else np.rint(grey * (alpha / 255)).astype(np.uint8)
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, np.dstack([stored, alpha]), photometric="minisblack", extrasamples=[kind])
    found = load_image_bytes(buffer.getvalue(), "test")
    expected = on_white(grey[..., None].repeat(3, -1), alpha)
    assert difference(found.pixels, expected) <= (0 if kind == "unassalpha" else 2)


def test_opaque_alpha_changes_nothing() -> None:
    found = loaded(Image.fromarray(np.dstack([photo(), np.full(photo().shape[:2], 255, np.uint8)])))
    assert np.array_equal(found.pixels, photo())
    assert found.flags == ()


@pytest.mark.parametrize("transparent", [3, bytes([0, 128, 255, 60])])
def test_a_transparent_palette_is_laid_on_white(transparent: int | bytes) -> None:
    image = Image.fromarray(photo()).quantize(8)
    alpha = np.full(8, 255)
    if isinstance(transparent, int):
        alpha[transparent] = 0
    else:
        alpha[:4] = list(transparent)
    index = np.asarray(image)
    found = loaded(image, transparency=transparent)
    assert np.array_equal(found.pixels, on_white(np.asarray(image.convert("RGB")), alpha[index]))
    assert found.flags == ("transparent",)
    assert np.array_equal(loaded(image).pixels, np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_a_transparent_grey_is_laid_on_white(depth: int) -> None:
    top = 2**depth - 1
    values = np.array([0, 1, top // 2, top] * 4)
    bits = "".join(f"{value:0{depth}b}" for value in values)
    rows = int(bits, 2).to_bytes(len(bits) // 8, "big")
    found = load_image_bytes(png(8, depth, 0, rows, (b"tRNS", struct.pack(">H", 1))), "test")
    grey = np.rint(values / top * 255)
    expected = np.where(values == 1, 255, grey).reshape(2, 8, 1).repeat(3, -1)
    assert np.array_equal(found.pixels, expected)
    assert found.flags == (("16_bit", "transparent") if depth == 16 else ("transparent",))


@pytest.mark.parametrize("depth", [8, 16])
def test_a_transparent_colour_is_laid_on_white(depth: int) -> None:
    values = deep(3) if depth == 16 else photo()
    values[5:9] = values[5, 5]
    values[7] += 1  # a neighbour in 16 bits that may be the same level in 8
    key = struct.pack(">HHH", *values[5, 5])
    rows = values.astype(">u2").tobytes() if depth == 16 else values.tobytes()
    found = load_image_bytes(png(values.shape[1], depth, 2, rows, (b"tRNS", key)), "test")
    levels = to_8_bit(values) if depth == 16 else values
    gone = (values == values[5, 5]).all(-1, keepdims=True)
    assert not gone[7].any()
    assert np.array_equal(found.pixels, np.where(gone, 255, levels))
    assert "transparent" in found.flags


@pytest.mark.parametrize("extra", ["unassalpha", "assocalpha"])
def test_tiff_alpha_of_both_kinds_is_laid_on_white(extra: str) -> None:
    alpha = alpha_of(photo())
    alpha[:, ::2] = 255
    colours = photo() if extra == "unassalpha" else np.rint(photo() * (alpha[..., None] / 255)).astype(np.uint8)
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, np.dstack([colours, alpha]), photometric="rgb", extrasamples=[extra])
    found = load_image_bytes(buffer.getvalue(), "test")
    assert difference(found.pixels, on_white(photo(), alpha)) <= (0 if extra == "unassalpha" else 2)
    assert found.flags == ("transparent",)


@pytest.mark.parametrize("mode", ["1", "L", "CMYK", "YCbCr"])
def test_other_modes_are_what_pillow_shows(mode: str) -> None:
    image = Image.fromarray(photo()).convert(mode)
    found = loaded(image, "TIFF")
    assert difference(found.pixels, np.asarray(image.convert("RGB"))) <= (1 if mode == "YCbCr" else 0)
    assert found.flags == ()


@pytest.mark.parametrize("lossless", [True, False])
def test_lossy_webp_is_distinguished_from_lossless(lossless: bool) -> None:
    frames = [Image.fromarray(photo()), Image.fromarray(photo()[::-1])]
    coding = () if lossless else ("jpeg",)
    assert loaded(frames[0], "WEBP", lossless=lossless).flags == coding
    moving = loaded(frames[0], "WEBP", lossless=lossless, save_all=True, append_images=frames[1:])
    assert moving.flags == (*coding, "first_frame")
    if lossless:
        assert np.array_equal(moving.pixels, photo())


@pytest.mark.parametrize(
    ("kind", "options"),
    [("JPEG", {}), ("AVIF", {}), ("JPEG2000", {"irreversible": True}), ("TIFF", {"compression": "jpeg"})],
)
def test_lossy_coding_is_flagged(kind: str, options: dict[str, Any]) -> None:
    found = loaded(Image.fromarray(photo()), kind, **options)
    assert found.flags == ("jpeg",)
    assert np.abs(found.pixels.astype(int) - photo()).mean() < 12


def test_lossless_coding_is_not_flagged() -> None:
    assert loaded(Image.fromarray(photo()), "JPEG2000").flags == ()
    assert loaded(Image.fromarray(photo()), "TIFF", compression="tiff_lzw").flags == ()


@pytest.mark.parametrize("kind", ["GIF", "PNG", "TIFF", "MPO", "AVIF"])
def test_the_first_of_several_frames_is_used(kind: str) -> None:
    frames = [Image.new("RGB", (20, 20), shade) for shade in ("red", "blue")]
    found = loaded(frames[0], kind, save_all=True, append_images=frames[1:])
    assert difference(found.pixels, np.asarray(frames[0])) <= 4
    assert found.flags == (("jpeg", "first_frame") if kind in ("MPO", "AVIF") else ("first_frame",))


def test_a_path_is_loaded_and_links_are_followed(tmp_path: Path) -> None:
    Image.fromarray(photo()).save(tmp_path / "a.png")
    (tmp_path / "link.png").symlink_to("a.png")
    assert np.array_equal(load_image(tmp_path / "link.png").pixels, photo())


def test_a_folder_lists_images_and_what_it_leaves_out(tmp_path: Path) -> None:
    images = ["B.JPG", "a.avif", "a.bmp", "a.gif", "a.jfif", "a.jp2", "a.jpe", "a.png", "a.tif", "a.webp"]
    for name in [*images, "notes.txt", "photo.heic", "._a.png"]:
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "sub.png").mkdir()
    (tmp_path / "link.png").symlink_to(tmp_path / "none.png")
    found = image_files(tmp_path)
    assert [path.name for path in found.images] == images
    assert found.left_out == ("._a.png", "link.png", "notes.txt", "photo.heic", "sub.png")
    with pytest.raises(ImageError, match=r"notes.txt: cannot be listed: Not a directory; name a folder"):
        image_files(tmp_path / "notes.txt")


def test_every_suffix_belongs_to_a_format_that_is_opened() -> None:
    assert set(FORMATS) <= set(Image.OPEN)
    assert not {".pdf", ".eps", ".ps", ".mpg", ".wmf", ".svg"} & set(image_suffixes())
    assert {".png", ".jpg", ".jpeg", ".mpo", ".tiff", ".apng"} <= set(image_suffixes())


def area_means(pixels: Array, width: int, height: int) -> Array:
    """Average by the exact area that each source pixel has of a target pixel."""

    def weights(source: int, target: int) -> Array:
        edges = np.arange(target + 1) * source / target
        upper, lower = (
            np.minimum.outer(edges[1:], np.arange(1, source + 1)),
            np.maximum.outer(edges[:-1], range(source)),
        )
        return (upper - lower).clip(0) * target / source

    down, across = weights(pixels.shape[0], height), weights(pixels.shape[1], width)
    return np.tensordot(np.tensordot(down, pixels, 1), across, (1, 1)).transpose(0, 2, 1)


@pytest.mark.parametrize(("width", "height"), [(64, 64), (100, 100), (37, 37), (90, 60)])
def test_shrinking_averages_areas(width: int, height: int) -> None:
    pixels = np.ascontiguousarray(data.astronaut()[:300, :300])  # type: ignore[no-untyped-call]
    cut = pixels if width == height else pixels[50:250]
    found = resize_area(pixels, width, height)
    assert found.dtype == np.uint8
    assert difference(found, np.rint(area_means(cut, width, height))) <= 1


def test_resizing_crops_the_centre_as_pillow_does() -> None:
    pixels = np.ascontiguousarray(data.coffee())  # type: ignore[no-untyped-call]
    assert pixels.shape == (400, 600, 3)
    pillow = np.asarray(ImageOps.fit(Image.fromarray(pixels), (100, 100), Image.Resampling.BOX))
    assert difference(resize_area(pixels, 100, 100), pillow) <= 1
    assert np.array_equal(resize_area(pixels, 600, 400), pixels)
    assert resize_area(pixels[:1, :1], 5, 3).shape == (3, 5, 3)
    assert resize_area(pixels[:1], 5, 3).shape == (3, 5, 3)


def test_pillow_warnings_do_not_leak_and_torch_is_not_imported() -> None:
    code = (
        "import sys, io, warnings\n"
        "from PIL import Image\n"
        "from blendbench.core.images import ImageError, load_image_bytes\n"
        "Image.MAX_IMAGE_PIXELS = 100\n"  # above it Pillow warns, above twice as much it raises
        "buffer = io.BytesIO(); Image.new('RGB', (12, 12)).save(buffer, 'PNG')\n"
        "assert load_image_bytes(buffer.getvalue(), 'a').pixels.shape == (12, 12, 3)\n"
        "assert 'torch' not in sys.modules and 'cv2' not in sys.modules\n"
    )
    result = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
