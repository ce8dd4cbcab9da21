"""grid_energy: known answers, an independent reference, detection power, dose-response and period selectivity."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest
import scoring_reference as reference
import torch
from scipy import stats

from blendbench.scoring import Batch, patterns
from blendbench.scoring.filtering import blur
from blendbench.scoring.grid import grid_energy


def score(pictures: np.ndarray, lattice: int = 16) -> np.ndarray:
    tensor = torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2)
    return grid_energy(Batch(tensor, lattice=lattice)).numpy()


@pytest.fixture(scope="module")
def clean() -> np.ndarray:
    return patterns.crops(256, at_most=2)


@pytest.mark.parametrize(("height", "width", "lattice"), [(128, 128, 16), (150, 205, 16), (96, 128, 8), (256, 200, 20)])
def test_it_equals_the_bin_by_bin_reference(height: int, width: int, lattice: int) -> None:
    picture = patterns.photos()["chelsea.png"][:height, :width]
    meshed = patterns.inject(picture[None], patterns.mesh(height, width, lattice), 2)
    expected = [reference.grid_energy(picture, lattice), reference.grid_energy(meshed[0], lattice)]
    np.testing.assert_allclose(score(np.stack([picture, meshed[0]]), lattice), expected, rtol=2e-3, atol=1e-6)


@pytest.mark.parametrize(("height", "width", "sigma"), [(128, 128, 4.0), (100, 301, 8.0)])
def test_blur_equals_opencv(height: int, width: int, sigma: float) -> None:
    picture = np.random.default_rng(0).uniform(0, 255, (height, width)).astype(np.float32)
    side = 2 * int(4 * sigma) + 1
    expected = cv2.GaussianBlur(picture, (side, side), sigma, borderType=cv2.BORDER_REFLECT_101)
    np.testing.assert_allclose(blur(torch.from_numpy(picture)[None], sigma)[0].numpy(), expected, atol=1e-3)


def test_a_pure_lattice_is_nearly_all_of_the_power() -> None:
    grey = np.full((1, 256, 256, 3), 128, np.uint8)
    assert score(patterns.inject(grey, patterns.texture(256, 256), 8))[0] > 0.9


@pytest.mark.parametrize("size", [128, 256, 512])
def test_white_noise_has_no_lattice(size: int) -> None:
    noise = np.random.default_rng(0).normal(128, 20, (12, size, size, 1)).clip(0, 255).astype(np.uint8).repeat(3, -1)
    # A single peak in a tenth of the pictures is what the threshold allows; at 128 pixels the floor is noisier.
    assert np.median(score(noise)) == 0
    assert score(noise).max() < 12 / size**2


@pytest.mark.parametrize(
    ("pattern", "at_least"),
    [
        (patterns.mesh(256, 256), 0.97),
        (patterns.texture(256, 256), 0.97),
        (patterns.mesh(256, 256, phase=7), 0.97),
        (patterns.sinus(256, 256), 0.92),
        (patterns.mesh(256, 256, 8), 0.97),
    ],
    ids=["mesh", "texture", "shifted mesh", "sinus", "8-px mesh"],
)
def test_one_grey_level_is_told_from_clean_photos(clean: np.ndarray, pattern: np.ndarray, at_least: float) -> None:
    assert patterns.auroc(score(patterns.inject(clean, pattern, 1)), score(clean)) >= at_least


@pytest.mark.parametrize(("pattern", "at_least"), [(patterns.mesh, 0.90), (patterns.texture, 0.92)])
def test_one_grey_level_is_seen_at_the_size_of_the_miniature(
    pattern: Callable[[int, int], np.ndarray], at_least: float
) -> None:
    small = patterns.crops(128, at_most=2)
    injected = score(patterns.inject(small, pattern(128, 128), 1))
    assert patterns.auroc(injected, score(small)) >= at_least
    assert (injected > score(small)).mean() >= 0.85


def test_benign_edits_are_not_taken_for_a_lattice() -> None:
    # Fewer crops leave the area under the curve too uncertain: at 38 its standard error is 0.07.
    clean = patterns.crops(256, at_most=4)
    unedited = score(clean)
    for name, edited in patterns.benign(clean).items():
        assert abs(patterns.auroc(score(edited), unedited) - 0.5) <= 0.1, name


def test_patch_offsets_of_random_sign_are_left_to_blockiness(clean: np.ndarray) -> None:
    assert patterns.auroc(score(patterns.inject(clean, patterns.offsets(256, 256), 2)), score(clean)) < 0.6


@pytest.mark.parametrize("pattern", [patterns.mesh, patterns.texture, patterns.sinus])
def test_it_grows_with_the_dose_on_every_picture(pattern: Callable[[int, int], np.ndarray]) -> None:
    pictures = patterns.crops(256, at_most=1)
    doses = [0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0]
    levels = np.stack([score(patterns.inject(pictures, pattern(256, 256), dose)) for dose in doses])
    rho = np.array([stats.spearmanr(doses, levels[:, i]).statistic for i in range(len(pictures))])
    assert np.median(rho) >= 0.99
    assert np.quantile(rho, 0.05) >= 0.93


def test_only_the_period_of_the_lattice_and_its_divisors_count(clean: np.ndarray) -> None:
    at = {
        period: np.median(score(patterns.inject(clean[::2], patterns.texture(256, 256, period), 2)))
        for period in (8, 13, 15, 16, 17, 19)
    }
    assert min(at[16], at[8]) > 0.015
    assert max(at[period] for period in (13, 15, 17, 19)) < 0.001


def test_stripes_whose_frequency_is_next_to_the_lattice_do_not_count() -> None:
    y, x = np.mgrid[:128, :128]
    stripes = 128 + 60 * np.tanh(3 * np.sin(2 * np.pi * (x + y) / 15))
    picture = stripes.astype(np.uint8)[None, :, :, None].repeat(3, -1)
    assert score(picture)[0] < 0.005


def test_it_does_not_depend_on_how_the_picture_is_turned() -> None:
    pictures = patterns.inject(patterns.crops(256, at_most=1)[:4], patterns.texture(256, 256), 2)
    expected = score(pictures)
    for turned in (pictures.transpose(0, 2, 1, 3), pictures[:, ::-1], pictures[:, :, ::-1]):
        np.testing.assert_allclose(score(turned), expected, rtol=1e-3)


def test_pixels_beyond_the_last_whole_tile_are_left_out() -> None:
    picture = patterns.photos()["coffee.png"][None, :256, :256]
    np.testing.assert_allclose(score(picture[:, :255, :250]), score(picture[:, :240, :240]), rtol=1e-6)
