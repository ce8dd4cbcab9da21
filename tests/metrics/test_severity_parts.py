"""What counts to severity besides a pattern of the whole image: mosaics, half periods, parts of an image, colour."""

import numpy as np
import pytest
import torch
from metric_values import Pixels, Values, clipped, tensor
from scipy import ndimage

from blendbench.metrics import Batch, patterns
from blendbench.metrics.inputs import severity_parts
from blendbench.metrics.patch_grid import _of_both, _Peaks, _product_threshold

SIZE = 512


def parts(image: Pixels) -> dict[str, float]:
    return {name: value.item() for name, value in severity_parts(Batch(tensor(image[None]))).items()}


@pytest.fixture(scope="module")
def ground() -> Values:
    """Soft shapes with the dither of a decoder."""
    rng = np.random.default_rng(5)
    coarse = ndimage.gaussian_filter(rng.standard_normal((SIZE, SIZE, 3)), (12, 12, 0))
    return np.asarray(128 + 40 * coarse / coarse.std() + rng.normal(0, 1.5, (SIZE, SIZE, 3)))


def with_field(ground: Values, field: Values, rms: float = 4) -> Pixels:
    return clipped(ground + rms * (field / np.sqrt(np.mean(field**2)))[..., None])


def test_an_image_with_nothing_on_the_patch_grid_has_no_part(ground: Values) -> None:
    assert max(parts(clipped(ground)).values()) < 0.1


@pytest.mark.parametrize("shift", [(0, 0), (5, 11)])
def test_a_mosaic_with_soft_borders_counts_at_any_phase(ground: Values, shift: tuple[int, int]) -> None:
    soft = ndimage.gaussian_filter(patterns.offsets(SIZE, SIZE), 3)
    found = parts(with_field(ground, np.roll(soft, shift, (0, 1))))
    assert found["mosaic"] >= 0.5 > max(found["seams"], found["pattern"])


def test_what_all_patches_share_is_no_mosaic(ground: Values) -> None:
    found = parts(with_field(ground, patterns.mesh(SIZE, SIZE)))
    assert found["pattern"] > 1 and found["mosaic"] < 0.1


def test_offsets_of_half_patches_are_seams_and_jpeg_is_not(ground: Values) -> None:
    assert parts(with_field(ground, patterns.offsets(SIZE, SIZE, 8)))["seams"] >= 0.5
    assert parts(patterns.jpeg(clipped(ground), 75))["seams"] < 0.1


def test_a_pattern_in_an_eighth_of_the_image_counts_by_its_window(ground: Values) -> None:
    field = patterns.sinus(SIZE, SIZE)
    field[:, 128:] = field[256:] = 0
    found = parts(clipped(ground + 4 * field[..., None]))
    assert found["local pattern"] >= 0.5 > found["pattern"]
    edge = ground.copy()
    edge[:, 100:104] += 60
    assert parts(clipped(edge))["local pattern"] == 0


@pytest.mark.parametrize(
    ("across", "down", "counts"), [(9.0, 9.0, True), (5.0, 20.0, True), (20.0, 2.0, False), (6.0, 6.0, False)]
)
def test_a_harmonic_along_both_axes_counts_from_where_neither_alone_does(
    across: float, down: float, counts: bool
) -> None:
    """Patches are square, what content repeats has most often one direction."""
    floor, nearest, limit = torch.ones(1, 1), torch.zeros(1, 1), torch.full((1, 1), 22.0)
    peaks = [_Peaks(torch.full((1, 1), power), nearest, floor, 12) for power in (across, down)]
    lowered = _of_both([limit, limit], peaks, 3 * 49)
    assert [bool(threshold < min(across, down)) for threshold in lowered] == [counts, counts]


def test_two_ratios_to_their_floors_exceed_the_threshold_as_often_as_stated() -> None:
    rng = np.random.default_rng(0)
    for places in (10, 16):
        floors = np.median(rng.exponential(size=(2, 400_000, places)), -1) / np.log(2)
        product = (rng.exponential(size=floors.shape) / floors).prod(0)
        assert (product > _product_threshold(0.002, places) ** 2).mean() == pytest.approx(0.002, rel=0.2)


def test_a_mesh_of_equal_brightness_is_one_of_colour(ground: Values) -> None:
    mesh = 6 * patterns.mesh(SIZE, SIZE)[..., None] * np.array([1, -0.299 / 0.587, 0])
    found = parts(clipped(ground + mesh))
    assert found["pattern of colour"] >= 0.5 > found["pattern"]


def test_two_straight_seams_are_those_of_tiles_and_a_horizon_is_not(ground: Values) -> None:
    tiles = np.array([[1.0, -1.0], [-1.5, 0.5]]).repeat(SIZE // 2, 0).repeat(SIZE // 2, 1)
    assert parts(with_field(ground, tiles))["seams of tiles"] >= 0.5
    horizon = ground.copy()
    horizon[SIZE // 2 :] += 12
    assert parts(clipped(horizon))["seams of tiles"] == 0


def test_a_frame_whose_lines_are_elsewhere_too_has_no_seams_of_tiles(ground: Values) -> None:
    frame = ground.copy()
    frame[128:332, 128:332] += 20
    frame[100:396, 100:396] += 60
    assert parts(clipped(frame))["seams of tiles"] == 0


def test_a_step_along_half_a_line_is_a_seam_of_tiles(ground: Values) -> None:
    tiles = np.array([[1.0, -1.0], [-1.0, -1.0]]).repeat(SIZE // 2, 0).repeat(SIZE // 2, 1)
    assert parts(with_field(ground, tiles))["seams of tiles"] >= 0.5
