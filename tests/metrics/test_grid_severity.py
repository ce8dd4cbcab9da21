"""The patch grid split, its amplitude in grey levels and its severity: known answers, and the order that must hold."""

from collections.abc import Callable

import numpy as np
import pytest
from metric_values import Pixels, Values, clipped, tensor
from scipy import ndimage

from blendbench.metrics import Batch, patterns
from blendbench.metrics.inputs import patch_grid_reading
from blendbench.metrics.patch_grid import PatchGridReading
from blendbench.metrics.synthetic import stripes, windows


def read(images: Pixels, patch_grid: int = 16) -> PatchGridReading:
    return patch_grid_reading(Batch(tensor(images), patch_grid=patch_grid))


@pytest.fixture(scope="module")
def clean() -> Pixels:
    return patterns.crops(256, at_most=1)


def flat_disks(amplitude: float, size: int = 512) -> Pixels:
    """Discs of flat colour, dithered as a VAE would, under a tiled texture."""
    rng = np.random.default_rng(2)
    disks = np.full((size, size, 3), 190.0)
    y, x = np.mgrid[:size, :size]
    for _ in range(6):
        row, column, radius = rng.uniform(0, size), rng.uniform(0, size), rng.uniform(size / 12, size / 4)
        disks[(y - row) ** 2 + (x - column) ** 2 < radius**2] = rng.uniform(20, 240, 3)
    disks = ndimage.gaussian_filter(disks, (0.7, 0.7, 0)) + rng.normal(0, 0.35, (size, size, 1))
    disks += amplitude * patterns.texture(size, size)[..., None]
    return clipped(disks)[None]


def destroyed(size: int = 256, rms: float = 30, alike: float = 0.06) -> Pixels:
    """A mosaic: every patch has strong texture of its own, of which a small part is the same everywhere."""
    rng = np.random.default_rng(3)

    def tile() -> Values:
        smooth = ndimage.gaussian_filter(rng.standard_normal((16, 16)), 1)
        return np.asarray((smooth - smooth.mean()) / smooth.std())

    own = np.block([[tile() for _ in range(size // 16)] for _ in range(size // 16)])
    mosaic = np.sqrt(alike) * np.tile(tile(), (size // 16, size // 16)) + np.sqrt(1 - alike) * own
    grey = np.clip(128 + rms * mosaic, 0, 255).astype(np.uint8)
    return np.asarray(grey[None, ..., None].repeat(3, -1))


@pytest.mark.parametrize("content", [windows(256, 32, 0), stripes(256, 20, 0)])
def test_severity_rises_with_every_dose_on_content_that_repeats(content: Pixels) -> None:
    doses = (1.0, 2.0, 4.0, 8.0)
    images = np.concatenate([patterns.inject(content[None], patterns.mesh(256, 256), dose) for dose in doses])
    found = read(images)
    assert found.severity.min() > 0 and (found.severity.diff() > 0).all(), found.severity
    assert (found.severity < 0.2 * found.amplitude).all()  # most of it is put down to the content all the same


def test_a_pattern_of_half_the_period_is_all_even(clean: Pixels) -> None:
    half = read(patterns.inject(clean, patterns.mesh(256, 256, 8), 4))
    full = read(patterns.inject(clean, patterns.texture(256, 256), 4))
    sinus = read(patterns.inject(clean, patterns.sinus(256, 256), 8))
    assert half.even.min() > 0.005 and half.odd.median() < 0.002 * half.even.median()
    # 63 of the 255 harmonics of a random tile are even.
    assert full.even.median() / (full.odd + full.even).median() == pytest.approx(63 / 255, abs=0.1)
    assert sinus.odd.min() > 0.001 and sinus.even.median() < 0.001


@pytest.mark.parametrize(("made", "fraction"), [(patterns.mesh, 0.8), (patterns.texture, 0.85), (patterns.sinus, 0.6)])
def test_most_single_images_give_the_amplitude_within_15_percent(
    made: Callable[[int, int], Values], fraction: float
) -> None:
    images = patterns.crops(256, at_most=2)
    pattern = made(256, 256)
    marked = patterns.inject(images, pattern, 2)
    stored = ((marked.astype(float) - images).mean(-1) * pattern).mean((1, 2))
    assert (np.abs(read(marked).amplitude.numpy() / stored - 1) <= 0.15).mean() >= fraction


def test_noise_beside_a_single_harmonic_does_not_add_to_its_amplitude() -> None:
    rng = np.random.default_rng(0)
    ground = rng.normal(128, 20, (24, 256, 256, 1)).repeat(3, -1)
    # About three times what is found at all.
    found = read(patterns.inject(ground, patterns.sinus(256, 256), 1.0)).amplitude
    assert found.median().item() == pytest.approx(1, abs=0.15)


def test_the_amplitude_does_not_depend_on_the_patch_grid_or_on_the_ground() -> None:
    rng = np.random.default_rng(0)
    for patch_grid, noise in ((8, 2.0), (16, 2.0), (16, 10.0), (32, 5.0)):
        ground = rng.normal(128, noise, (1, 512, 512, 1)).repeat(3, -1)
        found = read(patterns.inject(ground, patterns.sinus(512, 512, patch_grid), 3.0), patch_grid).amplitude
        assert found.item() == pytest.approx(3, rel=0.04), (patch_grid, noise)


def test_severity_orders_what_the_fraction_alone_does_not(clean: Pixels) -> None:
    invisible, wreck = read(flat_disks(0.25)), read(destroyed())
    faint = read(patterns.inject(clean, patterns.mesh(256, 256), 1))
    plain = read(patterns.inject(clean, patterns.mesh(256, 256), 2))
    order = [read(clean).severity.median(), invisible.severity[0], faint.severity.median(), plain.severity.median()]
    order.append(wreck.severity[0])
    assert (np.diff(order) > 0.1).all(), order
    # By fraction, the flat disks would be as bad as the wreck.
    assert invisible.odd[0] + invisible.even[0] > wreck.odd[0] + wreck.even[0]


def test_detail_hides_the_same_pattern_and_flat_ground_shows_it() -> None:
    rng = np.random.default_rng(0)
    shown = [
        read(patterns.inject(rng.normal(128, noise, (1, 512, 512, 1)).repeat(3, -1), patterns.mesh(512, 512), 4))
        for noise in (1, 10, 20, 40)
    ]
    severities = [reading.severity.item() for reading in shown]
    assert sorted(severities, reverse=True) == severities and severities[-1] < 0.6 * severities[0]


def test_a_fine_checkerboard_is_less_visible_than_a_mesh_of_equal_amplitude(clean: Pixels) -> None:
    fine = read(patterns.inject(clean, patterns.checkerboard(256, 256), 4)).severity
    coarse = read(patterns.inject(clean, patterns.mesh(256, 256), 4)).severity
    assert fine.median() < 0.5 * coarse.median()


@pytest.mark.parametrize(
    ("size", "period"), [*((256, p) for p in (12, 20, 24, 32, 40, 48)), (500, 20), (500, 32), (1024, 48)]
)
def test_content_of_another_period_has_no_severity(size: int, period: int) -> None:
    y, x = np.mgrid[:size, :size]
    windows = 100 + 60.0 * (((x + 5) % period < period // 2) & ((y + 9) % period < period // 2))
    windows += np.random.default_rng(0).normal(0, 1.5, (size, size))
    facade = np.clip(windows, 0, 255).astype(np.uint8)[None, ..., None].repeat(3, -1)
    assert read(facade).severity.item() < 0.05


def test_small_images_have_no_reading_and_flat_ones_read_zero() -> None:
    assert read(np.full((1, 127, 300, 3), 9, np.uint8)).severity.isnan().all()
    flat = read(np.full((1, 130, 300, 3), 9, np.uint8))
    assert [v.item() for v in (flat.odd, flat.even, flat.sub, flat.amplitude, flat.severity)] == [0.0] * 5
