"""blockiness: patch seams of any sign, which no comb of frequencies can see."""

import numpy as np
import pytest
import scoring_reference as reference
from metric_values import Pixels, Values, tensor, values
from scipy import ndimage, stats

from blendbench.metrics import patterns
from blendbench.metrics.borders import read_borders
from blendbench.metrics.colourspace import luma


def score(images: Pixels, patch_grid: int = 16) -> Values:
    return values("blockiness", images, patch_grid=patch_grid)


def excess(images: Pixels) -> Values:
    return np.asarray(read_borders(luma(tensor(images)), 16).excess)


@pytest.fixture(scope="module")
def clean() -> Pixels:
    return patterns.crops(256, at_most=2)


@pytest.fixture(scope="module")
def clean_scores(clean: Pixels) -> Values:
    return score(clean)


@pytest.mark.parametrize(
    ("height", "width", "patch_grid"), [(128, 128, 16), (50, 77, 16), (150, 205, 8), (256, 256, 32)]
)
def test_it_equals_the_boundary_by_boundary_reference(height: int, width: int, patch_grid: int) -> None:
    image = patterns.photos()["coffee.png"][:height, :width]
    blocked = patterns.inject(image[None], patterns.offsets(height, width, patch_grid), 3)
    expected = [reference.blockiness(image, patch_grid), reference.blockiness(blocked[0], patch_grid)]
    np.testing.assert_allclose(score(np.stack([image, blocked[0]]), patch_grid), expected, atol=2e-5)


def test_large_steps_at_patch_borders_reach_the_clipping_limit() -> None:
    cells = np.random.default_rng(0).permutation(np.linspace(0, 255, 64)).reshape(8, 8)
    image = np.kron(cells, np.ones((16, 16)))[None, :, :, None].repeat(3, -1).astype(np.uint8)
    # A border beside flat ground reads ln 8 and flat ground 0, except that the trend carries a step to its neighbours.
    assert np.log(8) - 0.1 <= score(image)[0] <= np.log(8) + 0.6


@pytest.mark.parametrize(("amplitude", "at_least"), [(1, 0.90), (4, 0.99)])
def test_offsets_are_distinguished_from_clean_photos(
    clean: Pixels, clean_scores: Values, amplitude: float, at_least: float
) -> None:
    injected = score(patterns.inject(clean, patterns.offsets(256, 256), amplitude))
    assert patterns.auroc(injected, clean_scores) >= at_least


def test_offsets_are_seen_at_the_size_of_the_miniature() -> None:
    small = patterns.crops(128, at_most=3)
    injected, unchanged = score(patterns.inject(small, patterns.offsets(128, 128), 2)), score(small)
    assert patterns.auroc(injected, unchanged) >= 0.9
    seen = np.maximum(injected, unchanged) > 0
    assert seen.mean() >= 0.9
    assert (injected > unchanged)[seen].mean() >= 0.95
    # On 4 of 57 crops, all busy, both are 0; the reading before it is cut at 0 rises there too.
    seamed, clean = (excess(made) for made in (patterns.inject(small, patterns.offsets(128, 128), 2), small))
    assert (seamed > clean).mean() >= 0.95


def test_large_images_show_offsets_of_one_level() -> None:
    large = patterns.crops(512, at_most=1)
    injected = score(patterns.inject(large, patterns.offsets(512, 512), 1))
    assert patterns.auroc(injected, score(large)) >= 0.98


def test_seams_are_seen_on_smooth_ground_that_is_steeper_than_they_are() -> None:
    rng = np.random.default_rng(0)
    ground = np.stack([ndimage.gaussian_filter(rng.standard_normal((256, 256)), 8) for _ in range(8)])
    ground = 128 + 35 * ground / ground.std() + rng.normal(0, 0.5, ground.shape)
    smooth = np.clip(np.rint(ground), 0, 255).astype(np.uint8)[..., None].repeat(3, -1)
    assert np.abs(np.diff(ground)).mean() > 2
    injected = score(patterns.inject(smooth, patterns.offsets(256, 256), 1))
    assert patterns.auroc(injected, score(smooth)) == 1


def test_8_pixel_blocks_are_not_taken_for_16_pixel_patches(clean: Pixels, clean_scores: Values) -> None:
    blocks = patterns.inject(clean, patterns.offsets(256, 256, 8), 2)
    assert abs(patterns.auroc(score(blocks), clean_scores) - 0.5) < 0.2


def test_it_grows_with_the_dose_on_every_image() -> None:
    images = patterns.crops(256, at_most=1)
    doses = [0.0, 0.5, 1.0, 2.0, 4.0, 8.0]
    levels = np.stack([score(patterns.inject(images, patterns.offsets(256, 256), dose)) for dose in doses])
    rho = np.array([stats.spearmanr(doses, levels[:, i]).statistic for i in range(len(images))])
    assert np.median(rho) >= 0.99
    assert np.quantile(rho, 0.05) >= 0.93


def test_it_does_not_depend_on_how_the_image_is_turned(clean: Pixels, clean_scores: Values) -> None:
    few = clean[:4]
    for turned in (few.transpose(0, 2, 1, 3), few[:, ::-1], few[:, :, ::-1]):
        np.testing.assert_allclose(score(turned), clean_scores[:4], atol=1e-6)
