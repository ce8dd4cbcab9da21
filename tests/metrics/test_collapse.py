"""Images that show nothing: one colour, or noise; and what looks like them and is not."""

import numpy as np
import pytest
from metric_values import Pixels, clipped, tensor, values
from PIL import Image
from scipy import ndimage

from blendbench.core.shipped import shipped
from blendbench.metrics import patterns
from blendbench.metrics.collapse import COLLAPSES, find_collapse
from blendbench.metrics.colourspace import luma
from blendbench.metrics.synthetic import periodic_images

ARTIFACTS = ("grid_energy", "grid_severity", "blockiness")


def found(images: Pixels) -> list[str]:
    made = tensor(images)
    return [COLLAPSES[k] for k in find_collapse(made, luma(made))]


def clouds(size: int, sigma: float) -> Pixels:
    """Smooth noise, each channel its own."""
    field = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal((size, size, 3)), (sigma, sigma, 0))
    return clipped(128 + 45 * field / field.std())[None]


def noise(size: int, strength: float, channels: int = 3) -> Pixels:
    field = np.random.default_rng(1).normal(120, strength, (1, size, size, channels))
    return clipped(field.repeat(3 // channels, -1))


@pytest.mark.parametrize("size", [8, 128, 200])
@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (98, 98, 38)])
def test_one_colour_is_blank_dithered_or_not(size: int, colour: tuple[int, int, int]) -> None:
    flat = np.full((1, size, size, 3), colour, np.uint8)
    dithered = clipped(flat + np.random.default_rng(0).normal(0, 1, flat.shape))
    assert found(np.concatenate([flat, dithered])) == ["blank", "blank"]


def test_colours_of_equal_brightness_are_not_blank() -> None:
    halves = np.full((1, 128, 128, 3), (130, 100, 100), np.uint8)
    halves[:, :, 64:] = (100, 115, 100)
    assert luma(tensor(halves)).std() < 1
    assert found(halves) == [""]


@pytest.mark.parametrize("size", [128, 256, 300])
def test_noise_is_noise_whatever_its_strength_and_colours(size: int) -> None:
    made = [noise(size, 30), noise(size, 90), clouds(size, 2), clouds(size, 4)]
    assert found(np.concatenate(made)) == ["noise"] * len(made)
    assert found(noise(size, 8, channels=1)) == ["noise" if size >= 192 else ""]


def test_the_same_noise_in_half_of_an_image_is_a_part_of_it() -> None:
    image = noise(256, 60)
    image[:, 128:] = 200
    assert found(image) == [""]


@pytest.mark.parametrize("size", [128, 256])
def test_photos_and_textures_show_something(size: int) -> None:
    crops = patterns.crops(size, at_most=3)
    injected = [patterns.inject(crops, make(size, size), 4) for make in (patterns.mesh, patterns.offsets)]
    assert not any(any(found(images)) for images in (crops, *injected))


@pytest.mark.parametrize("size", [128, 256])
def test_content_that_repeats_is_not_noise(size: int) -> None:
    y, x = np.mgrid[:size, :size]
    diagonal = clipped(110 + 30 * np.sin(2 * np.pi * (x + y) / 11) + np.random.default_rng(0).normal(0, 2, x.shape))
    assert found(diagonal[None, ..., None].repeat(3, -1)) == [""]
    assert {name for images in periodic_images(size).values() for name in found(images)} == {""}


def test_of_the_references_of_the_miniature_only_the_empty_ones_show_nothing() -> None:
    paths = sorted((shipped("prompts") / "miniature" / "images").glob("*.png"))
    named = {path.stem: found(np.array(Image.open(path).convert("RGB"))[None])[0] for path in paths}
    assert {name: flag for name, flag in named.items() if flag} == {"blank": "blank", "white": "blank"}


@pytest.mark.parametrize("name", ARTIFACTS)
def test_artifacts_are_worst_where_nothing_is_shown(name: str) -> None:
    wrecks = np.concatenate([np.zeros((1, 256, 256, 3), np.uint8), noise(256, 60)])
    photos = patterns.crops(256, at_most=1)
    broken = patterns.inject(photos, patterns.mesh(256, 256), 8)
    assert values(name, wrecks).min() > values(name, np.concatenate([photos, broken])).max()


@pytest.mark.parametrize("name", ARTIFACTS)
def test_an_image_too_small_to_measure_stays_unscorable(name: str) -> None:
    assert np.isnan(values(name, np.zeros((1, 40, 40, 3), np.uint8))).all()


def test_what_shows_nothing_is_a_metric_beside_the_worst_values() -> None:
    flat = np.full((1, 128, 128, 3), (98, 98, 38), np.uint8)
    found = {name: list(values(name, np.concatenate([flat, clouds(128, 8.0)]))) for name in ("collapsed", *ARTIFACTS)}
    assert found["collapsed"] == [1.0, 0.0]
    assert all(found[name][0] > found[name][1] for name in ARTIFACTS)
