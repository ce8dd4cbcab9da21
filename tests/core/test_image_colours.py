"""Images with a colour profile or in LAB are converted to sRGB."""

import io

import numpy as np
import pytest
import tifffile
from encoded_images import (
    ADOBE,
    D50,
    curve,
    difference,
    loaded,
    matrix_profile,
    on_white,
    photo,
    profile,
    s15,
    srgb_profile,
    to_srgb,
)
from PIL import Image
from skimage import color

from blendbench.core.images import (
    load_image_bytes,
)


def test_lab_is_converted() -> None:
    lab = color.rgb2lab(photo(), illuminant="D50").round()
    lightness = (lab[..., :1] * 2.55).round().astype(np.uint8)
    channels = [lightness, lab[..., 1:].astype(np.int8).view(np.uint8)]
    image = Image.frombytes("LAB", photo().shape[1::-1], np.concatenate(channels, -1).tobytes())
    shown = to_srgb(color.lab2xyz(lab, illuminant="D50"))
    found = loaded(image, "TIFF")
    assert np.abs(found.pixels - shown).mean() < 1
    assert found.flags == ()


def test_a_wide_gamut_profile_is_converted() -> None:
    wide = matrix_profile(563 / 256, ADOBE)
    expected = to_srgb((photo() / 255) ** (563 / 256) @ ADOBE.T)
    found = loaded(Image.fromarray(photo()), icc_profile=wide)
    assert difference(found.pixels, np.rint(expected)) <= 3
    assert np.abs(found.pixels - expected).mean() < 0.5
    assert difference(found.pixels, photo()) > 10
    assert found.flags == ("icc",)


def test_a_profile_applies_to_16_bit_alpha_and_turned_images_too() -> None:
    wide = matrix_profile(563 / 256, ADOBE)
    plain = loaded(Image.fromarray(photo()), icc_profile=wide).pixels
    exif = Image.Exif()
    exif[274] = 3
    clear = np.zeros(photo().shape[:2], np.uint8)
    clear[3:] = 255
    found = loaded(Image.fromarray(np.dstack([photo(), clear])), icc_profile=wide, exif=exif)
    assert np.array_equal(found.pixels, on_white(plain, clear)[::-1, ::-1])
    assert found.flags == ("turned", "transparent", "icc")
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, photo().astype(np.uint16) * 257, photometric="rgb", iccprofile=wide)
    found = load_image_bytes(buffer.getvalue(), "test")
    assert np.array_equal(found.pixels, plain)
    assert found.flags == ("16_bit", "icc")


def test_a_grey_profile_is_converted() -> None:
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    linear = profile(b"GRAY", b"XYZ ", {b"kTRC": curve(1.0)})
    expected = to_srgb(ramp[..., None] / 255 * D50)
    found = loaded(Image.fromarray(ramp), icc_profile=linear)
    assert difference(found.pixels, np.rint(expected)) <= 1
    assert found.flags == ("icc",)
    alpha = np.full_like(ramp, 100)
    assert loaded(Image.fromarray(np.dstack([ramp, alpha]), "LA"), icc_profile=linear).flags == ("transparent", "icc")
    values = (ramp.astype(np.uint16)) * 257
    deep_grey = loaded(Image.fromarray(values), icc_profile=linear)
    assert np.array_equal(deep_grey.pixels, found.pixels)
    assert deep_grey.flags == ("16_bit", "icc")


@pytest.mark.parametrize("kind", ["TIFF", "JPEG"])
def test_cmyk_goes_through_its_profile(kind: str) -> None:
    # Inks at 0 or 255 meet the nodes of a table with 2 points a side: their colours are as written.
    lab = np.array([[100.0, 0, 0], [60, 40, 20], [50, 0, -40], [30, 10, -10]])  # paper, and inks as it likes
    nodes = np.zeros((2, 2, 2, 2, 3))
    nodes[..., 0, :] = np.array([40, 5, 5])
    for corner, colour in zip([(0, 0, 0), (0, 1, 0), (1, 0, 0), (1, 1, 0)], lab, strict=True):
        nodes[(*corner, 0)] = colour
    codes = np.stack([nodes[..., 0] * 2.55, nodes[..., 1] + 128, nodes[..., 2] + 128], -1).round().clip(0, 255)
    codes[..., 1, 1:] = 128  # all with black ink is neutral
    identity = bytes(range(256))
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + s15(1, 0, 0, 0, 1, 0, 0, 0, 1)
    table += identity * 4 + codes.astype(np.uint8).tobytes() + identity * 3
    cmyk = profile(b"CMYK", b"Lab ", {b"A2B0": table})
    inks = np.array([[0, 0, 0, 0], [0, 255, 0, 0], [255, 0, 0, 0], [255, 255, 0, 0], [0, 0, 0, 255]], np.uint8)
    blocks = np.repeat(inks, 16, 0)[None].repeat(16, 0)
    image = Image.frombytes("CMYK", (80, 16), blocks.tobytes())
    options = {"quality": 100} if kind == "JPEG" else {}
    found = loaded(image, kind, icc_profile=cmyk, **options)
    shown = to_srgb(color.lab2xyz(np.array([*lab, [0, 0, 0]]), illuminant="D50"))
    assert difference(found.pixels[8, 8::16], np.rint(shown)) <= 3
    assert found.flags == (("jpeg", "icc") if kind == "JPEG" else ("icc",))
    assert difference(loaded(image, kind, **options).pixels[8, 8::16], np.rint(shown)) > 20


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1"])
def test_an_srgb_profile_changes_nothing(mode: str) -> None:
    image = Image.fromarray(photo()).convert(mode)
    found = loaded(image, icc_profile=srgb_profile())
    assert np.array_equal(found.pixels, np.asarray(image.convert("RGB")))
    assert found.flags == ()


@pytest.mark.parametrize("broken", [b"x", srgb_profile()[:200], b"\0" * 500])
def test_a_broken_profile_is_ignored_and_flagged(broken: bytes) -> None:
    found = loaded(Image.fromarray(photo()), icc_profile=broken)
    assert np.array_equal(found.pixels, photo())
    assert found.flags == ("icc_ignored",)


def test_a_profile_of_other_channels_is_ignored() -> None:
    found = loaded(Image.fromarray(photo()).convert("CMYK"), "TIFF", icc_profile=srgb_profile())
    assert np.array_equal(found.pixels, np.asarray(Image.fromarray(photo()).convert("CMYK").convert("RGB")))
    assert found.flags == ("icc_ignored",)
