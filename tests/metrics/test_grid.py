"""grid_energy: known answers, an independent reference, detection power, dose-response and period selectivity."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest
import scoring_reference as reference
import torch
from metric_values import Pixels, Values, tensor, values
from scipy import stats

from blendbench.metrics import patterns
from blendbench.metrics.colourspace import luma
from blendbench.metrics.filtering import blur
from blendbench.metrics.patch_grid import read_patch_grid


def score(images: Pixels, patch_grid: int = 16) -> Values:
    return values("grid_energy", images, patch_grid=patch_grid)


@pytest.fixture(scope="module")
def clean() -> Pixels:
    return patterns.crops(256, at_most=2)


@pytest.fixture(scope="module")
def clean_scores(clean: Pixels) -> Values:
    return score(clean)


@pytest.mark.parametrize(
    ("height", "width", "patch_grid"), [(128, 128, 16), (150, 205, 16), (96, 128, 8), (256, 200, 20)]
)
def test_it_equals_the_bin_by_bin_reference(height: int, width: int, patch_grid: int) -> None:
    image = patterns.photos()["chelsea.png"][:height, :width]
    meshed = patterns.inject(image[None], patterns.mesh(height, width, patch_grid), 2)
    expected = [reference.grid_energy(image, patch_grid), reference.grid_energy(meshed[0], patch_grid)]
    np.testing.assert_allclose(score(np.stack([image, meshed[0]]), patch_grid), expected, rtol=2e-3, atol=1e-6)


@pytest.mark.parametrize(("height", "width", "sigma"), [(128, 128, 4.0), (100, 301, 8.0)])
def test_blur_equals_opencv(height: int, width: int, sigma: float) -> None:
    image = np.random.default_rng(0).uniform(0, 255, (height, width)).astype(np.float32)
    side = 2 * int(4 * sigma) + 1
    expected = cv2.GaussianBlur(image, (side, side), sigma, borderType=cv2.BORDER_REFLECT_101)
    np.testing.assert_allclose(blur(torch.from_numpy(image)[None], sigma)[0].numpy(), expected, atol=1e-3)


def test_a_pure_patch_grid_is_nearly_all_of_the_power() -> None:
    grey = np.full((1, 256, 256, 3), 128, np.uint8)
    assert score(patterns.inject(grey, patterns.texture(256, 256), 8))[0] > 0.9


@pytest.mark.parametrize("size", [128, 256])
def test_white_noise_has_no_patch_grid(size: int) -> None:
    noise = np.random.default_rng(0).normal(128, 20, (12, size, size, 1)).clip(0, 255).astype(np.uint8).repeat(3, -1)
    reading = read_patch_grid(luma(tensor(noise)), 16)
    found = (reading.odd + reading.even).numpy()
    # A single peak in a tenth of the images is what the threshold allows; at 128 pixels the floor is noisier.
    assert np.median(found) == 0
    assert found.max() < 12 / size**2


@pytest.mark.parametrize(
    ("pattern", "at_least"),
    [
        (patterns.texture(256, 256), 0.97),
        (patterns.mesh(256, 256, phase=7), 0.97),
        (patterns.sinus(256, 256), 0.92),
    ],
    ids=["texture", "shifted mesh", "sinus"],
)
def test_one_grey_level_is_distinguished_from_clean_photos(
    clean: Pixels, clean_scores: Values, pattern: Values, at_least: float
) -> None:
    assert patterns.auroc(score(patterns.inject(clean, pattern, 1)), clean_scores) >= at_least


@pytest.mark.parametrize(("pattern", "at_least"), [(patterns.mesh, 0.90), (patterns.texture, 0.92)])
def test_one_grey_level_is_seen_at_the_size_of_the_miniature(
    pattern: Callable[[int, int], Values], at_least: float
) -> None:
    small = patterns.crops(128, at_most=2)
    injected, unchanged = score(patterns.inject(small, pattern(128, 128), 1)), score(small)
    assert patterns.auroc(injected, unchanged) >= at_least
    assert (injected > unchanged).mean() >= 0.85


def test_patch_offsets_of_random_sign_are_left_to_blockiness(clean: Pixels, clean_scores: Values) -> None:
    assert patterns.auroc(score(patterns.inject(clean, patterns.offsets(256, 256), 2)), clean_scores) < 0.6


@pytest.mark.parametrize("pattern", [patterns.texture, patterns.sinus])
def test_it_grows_with_the_dose_on_every_image(pattern: Callable[[int, int], Values]) -> None:
    images = patterns.crops(256, at_most=1)
    doses = [0.0, 1.0, 2.0, 4.0, 8.0]
    levels = np.stack([score(patterns.inject(images, pattern(256, 256), dose)) for dose in doses])
    rho = np.array([stats.spearmanr(doses, levels[:, i]).statistic for i in range(len(images))])
    assert np.median(rho) >= 0.99
    assert np.quantile(rho, 0.05) >= 0.93


def test_only_the_period_of_the_patch_grid_and_its_divisors_count(clean: Pixels) -> None:
    at = {
        period: np.median(score(patterns.inject(clean[::3], patterns.texture(256, 256, period), 2)))
        for period in (8, 13, 15, 16, 17, 19)
    }
    assert min(at[16], at[8]) > 0.015
    assert max(at[period] for period in (13, 15, 17, 19)) < 0.001


def test_stripes_whose_frequency_is_next_to_the_patch_grid_do_not_count() -> None:
    y, x = np.mgrid[:128, :128]
    stripes = 128 + 60 * np.tanh(3 * np.sin(2 * np.pi * (x + y) / 15))
    image = stripes.astype(np.uint8)[None, :, :, None].repeat(3, -1)
    assert score(image)[0] < 0.005


def test_it_does_not_depend_on_how_the_image_is_turned() -> None:
    images = patterns.inject(patterns.crops(256, at_most=1)[:4], patterns.texture(256, 256), 2)
    expected = score(images)
    for turned in (images.transpose(0, 2, 1, 3), images[:, ::-1], images[:, :, ::-1]):
        np.testing.assert_allclose(score(turned), expected, rtol=1e-3)


def test_pixels_beyond_the_last_whole_tile_are_left_out() -> None:
    image = patterns.photos()["coffee.png"][None, :256, :256]
    np.testing.assert_allclose(score(image[:, :255, :250]), score(image[:, :240, :240]), rtol=1e-6)
