"""tone_drift, saturation_shift, clip_shift, texture_change, color_bleeding: known answers and oracles."""

import cv2
import numpy as np
import pytest
import scoring_reference as reference
from metric_values import Pixels, clipped, values
from scipy import ndimage, stats
from skimage import color

from blendbench.metrics import patterns

NAMES = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "china.jpg", "flower.jpg", "ihc.png")


@pytest.fixture(scope="module")
def photos() -> Pixels:
    return np.stack([patterns.photos()[name][40:296, 60:316] for name in NAMES])


@pytest.mark.parametrize("name", ["tone_drift", "saturation_shift", "clip_shift", "texture_change", "color_bleeding"])
def test_an_image_is_no_way_from_itself(name: str, photos: Pixels) -> None:
    assert values(name, photos, photos).tolist() == [0.0] * len(photos)


@pytest.mark.parametrize("name", ["saturation_shift", "clip_shift", "texture_change", "color_bleeding"])
def test_a_signed_metric_changes_its_sign_with_the_order(name: str, photos: Pixels) -> None:
    other = np.roll(photos, 1, 0)
    np.testing.assert_allclose(values(name, photos, other), -values(name, other, photos), atol=1e-6)


def test_tone_drift_is_the_exact_wasserstein_distance_of_lightness(photos: Pixels) -> None:
    light = [reference.oklab(photo)[..., 0].ravel() for photo in photos]
    expected = [stats.wasserstein_distance(a, b) for a, b in zip(light, np.roll(light, 1, 0), strict=True)]
    np.testing.assert_allclose(values("tone_drift", photos, np.roll(photos, 1, 0)), expected, atol=5e-4)


def test_tone_drift_of_black_and_white_is_one_and_of_colour_of_equal_lightness_small() -> None:
    black, white = (np.full((1, 20, 30, 3), level, np.uint8) for level in (0, 255))
    assert values("tone_drift", black, white)[0] == pytest.approx(1)
    pink, mint = (np.full((1, 20, 30, 3), rgb, np.uint8) for rgb in ((226, 145, 170), (107, 186, 150)))
    assert values("tone_drift", pink, mint)[0] < 0.02 < 5 * values("color_drift", pink, mint)[0]


def test_saturation_shift_is_the_difference_of_mean_chroma(photos: Pixels) -> None:
    grey = np.repeat(photos.mean(-1, keepdims=True).astype(np.uint8), 3, -1)
    expected = [-np.hypot(*np.moveaxis(reference.oklab(photo)[..., 1:], -1, 0)).mean() for photo in photos]
    np.testing.assert_allclose(values("saturation_shift", grey, photos), expected, atol=1e-3)
    chroma = [color.rgb2hsv(photo)[..., 1].mean() for photo in photos]
    more = values("saturation_shift", clipped(128 + (photos - 128.0) * 1.3), photos)
    assert min(chroma) > 0 and (more > 0).all()


def test_clip_shift_counts_pixels_at_the_limits() -> None:
    baseline = np.full((1, 10, 10, 3), 128, np.uint8)
    image = baseline.copy()
    image[0, :2, :, 1], image[0, 4, :5] = 0, 255
    assert values("clip_shift", image, baseline)[0] == pytest.approx(0.25)


def test_texture_change_has_the_sign_of_the_change(photos: Pixels) -> None:
    plain, rng = photos.astype(float), np.random.default_rng(0)
    blurred = ndimage.gaussian_filter(plain, (0, 1, 1, 0))
    assert (values("texture_change", clipped(blurred), photos) < -0.1).all()
    assert (values("texture_change", clipped(2 * plain - blurred), photos) > 0.03).all()
    # Of these, the histological section has fine detail far above such noise already.
    noisy = values("texture_change", clipped(plain + rng.normal(0, 6, plain.shape)), photos)
    assert (noisy > -0.01).all() and (noisy > 0.03).sum() >= len(photos) - 2
    assert np.abs(values("texture_change", clipped(128 + (plain - 128) * 0.9), photos)).max() < 0.06


@pytest.mark.parametrize("slope", [-1.0, -2.0, -3.0])
def test_the_slope_is_that_of_noise_of_known_colour(slope: float) -> None:
    white = np.random.default_rng(0).standard_normal((512, 512))
    v, u = np.fft.fftfreq(512)[:, None], np.fft.fftfreq(512)
    shaped = np.fft.ifft2(np.fft.fft2(white) * np.maximum(np.hypot(u, v), 1 / 512) ** (slope / 2)).real
    images = [128 + 30 * field / field.std() for field in (shaped, white)]
    grey = [np.clip(np.rint(p), 0, 255).astype(np.uint8)[None, ..., None].repeat(3, -1) for p in images]
    assert values("texture_change", *grey)[0] == pytest.approx(slope, abs=0.1)


def test_colour_smeared_over_outlines_bleeds(photos: Pixels) -> None:
    smeared = []
    for photo in photos:
        ycc = cv2.cvtColor(photo, cv2.COLOR_RGB2YCrCb).astype(float)
        ycc[..., 1:] = ndimage.gaussian_filter(ycc[..., 1:], (8, 8, 0))
        smeared.append(cv2.cvtColor(np.clip(np.rint(ycc), 0, 255).astype(np.uint8), cv2.COLOR_YCrCb2RGB))
    assert (values("color_bleeding", np.stack(smeared), photos) > 0).mean() >= 0.85


@pytest.mark.parametrize(
    ("name", "within"), [("texture_change", 0.02), ("saturation_shift", 2e-4), ("clip_shift", 1e-9)]
)
def test_it_equals_the_plain_reference(name: str, within: float, photos: Pixels) -> None:
    expected = [reference.ORACLES[name](a, b) for a, b in zip(photos, np.roll(photos, 1, 0), strict=True)]
    np.testing.assert_allclose(values(name, photos, np.roll(photos, 1, 0)), expected, atol=within)
