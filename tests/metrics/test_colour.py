"""color_drift and the colour spaces below it, with OpenCV and scikit-image as oracles, and effect_size."""

import cv2
import numpy as np
import pytest
import scoring_reference as reference
import torch
from metric_values import Pixels, Values, clipped, tensor, values
from scipy import ndimage
from skimage import color

from blendbench.metrics import Batch, patterns
from blendbench.metrics.colour import color_drift
from blendbench.metrics.colourspace import luma, oklab

COLOUR_PHOTOS = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "china.jpg", "flower.jpg", "ihc.png")


def drift(images: Pixels, baselines: Pixels) -> Values:
    return values("color_drift", images, baselines)


@pytest.fixture(scope="module")
def photos() -> Pixels:
    return np.stack([patterns.photos()[name][40:296, 60:316] for name in COLOUR_PHOTOS])


def saturated(images: Pixels, factor: float) -> Pixels:
    grey = images.astype(float).mean(-1, keepdims=True)
    return clipped(grey + (images - grey) * factor)


@pytest.mark.parametrize(
    ("rgb", "lab"),
    [
        ((255, 255, 255), (1.0, 0.0, 0.0)),
        ((0, 0, 0), (0.0, 0.0, 0.0)),
        ((255, 0, 0), (0.62796, 0.22486, 0.12585)),
        ((0, 255, 0), (0.86644, -0.23389, 0.17950)),
        ((0, 0, 255), (0.45201, -0.03246, -0.31153)),
    ],
)
def test_oklab_of_the_primaries(rgb: tuple[int, int, int], lab: tuple[float, float, float]) -> None:
    pixel = torch.tensor(rgb, dtype=torch.uint8)[None, :, None, None]
    np.testing.assert_allclose(oklab(pixel)[0, :, 0, 0], lab, atol=2e-4)


def test_oklab_equals_the_published_route_through_xyz(photos: Pixels) -> None:
    np.testing.assert_allclose(oklab(tensor(photos[:1]))[0].permute(1, 2, 0), reference.oklab(photos[0]), atol=1e-3)


def test_oklab_equals_the_route_through_the_xyz_of_scikit_image(photos: Pixels) -> None:
    lms = np.cbrt(color.rgb2xyz(photos[1]) @ np.array(reference.XYZ_TO_LMS).T)
    np.testing.assert_allclose(
        oklab(tensor(photos[1:2]))[0].permute(1, 2, 0), lms @ np.array(reference.LMS_TO_LAB).T, atol=1e-3
    )


def test_luma_equals_opencv_and_scikit_image(photos: Pixels) -> None:
    found = luma(tensor(photos[:1]))[0]
    # OpenCV rounds to whole grey levels.
    np.testing.assert_allclose(found, cv2.cvtColor(photos[0], cv2.COLOR_RGB2GRAY), atol=0.51)
    np.testing.assert_allclose(found, 255 * color.rgb2yuv(photos[0])[..., 0], atol=0.01)


def test_it_equals_the_exact_wasserstein_distance(photos: Pixels) -> None:
    photos = photos[::3, ::2, ::2]
    expected = [reference.color_drift(a, b) for a, b in zip(photos, np.roll(photos, 1, 0), strict=True)]
    # Two thousand bins over 0.7: half a bin is 1.7e-4.
    np.testing.assert_allclose(drift(photos, np.roll(photos, 1, 0)), expected, atol=2e-4)


def test_an_image_does_not_drift_from_itself(photos: Pixels) -> None:
    assert drift(photos, photos).tolist() == [0.0] * len(photos)


def test_two_grey_images_do_not_drift_apart_by_rounding() -> None:
    levels = torch.arange(256, dtype=torch.uint8)[:, None, None, None].expand(256, 3, 2, 2).contiguous()
    assert color_drift(Batch(levels, baselines=levels.roll(97, 0))).max() == 0


def test_it_is_symmetric_and_ignores_where_the_colours_are(photos: Pixels) -> None:
    other = np.roll(photos, 1, 0)
    np.testing.assert_allclose(drift(photos, other), drift(other, photos), atol=1e-12)
    np.testing.assert_allclose(drift(photos[:, ::-1, ::-1], other), drift(photos, other), atol=1e-6)


def test_two_flat_colours_are_apart_by_the_mean_projection_of_their_difference() -> None:
    red, blue = (np.full((1, 20, 30, 3), colour, np.uint8) for colour in ([255, 0, 0], [0, 0, 255]))
    apart = np.hypot(0.22486 + 0.03246, 0.12585 + 0.31153) * 2 / np.pi
    assert drift(red, blue)[0] == pytest.approx(apart, rel=0.01)


def test_it_grows_with_saturation_and_not_with_noise(photos: Pixels) -> None:
    levels = np.stack([drift(saturated(photos, factor), photos) for factor in (1.05, 1.15, 1.3, 1.5)])
    assert (np.diff(levels, axis=0) > 0).all()
    noisy = np.clip(photos + np.random.default_rng(0).normal(0, 3, photos.shape[:3])[..., None], 0, 255)
    assert np.median(drift(noisy.astype(np.uint8), photos)) < 0.2 * np.median(levels[1])


def test_brightness_alone_moves_it_little(photos: Pixels) -> None:
    brighter = np.clip(photos.astype(float) * 1.05, 0, 255).astype(np.uint8)
    assert np.median(drift(brighter, photos)) < 0.5 * np.median(drift(saturated(photos, 1.3), photos))


def test_effect_size_is_the_mean_difference_in_grey_levels(photos: Pixels) -> None:
    other = ndimage.uniform_filter(photos, (0, 5, 5, 0))
    found = values("effect_size", photos, other)
    expected = [cv2.norm(a, b, cv2.NORM_L1) / a.size for a, b in zip(photos, other, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_effect_size_is_zero_for_equal_images_and_255_for_opposite_ones() -> None:
    black, white = (np.full((1, 8, 8, 3), level, np.uint8) for level in (0, 255))
    assert values("effect_size", black, black).tolist() == [0.0]
    assert values("effect_size", black, white).tolist() == [255.0]


def test_effect_size_of_another_size_is_unscorable() -> None:
    images, baselines = np.zeros((2, 8, 8, 3), np.uint8), np.zeros((2, 8, 9, 3), np.uint8)
    assert np.isnan(values("effect_size", images, baselines)).all()


def test_every_corner_of_the_srgb_cube_lies_within_the_bins() -> None:
    """A colour outside them would be counted in the histogram of a neighbouring image."""
    corners = torch.cartesian_prod(*[torch.arange(0, 256, 15)] * 3).to(torch.uint8)
    chroma = oklab(corners[:, :, None, None])[:, 1:]
    assert chroma.norm(dim=1).max() < 0.35
