"""color_towards and color_elsewhere: known changes, an exact oracle, and their bounds."""

import numpy as np
import pytest
import scoring_reference as reference
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from metric_values import Pixels, Values, clipped, tensor, values

from blendbench.metrics import all_metrics, patterns
from blendbench.metrics.colour import LEAST_WAY
from blendbench.metrics.colourspace import oklab
from blendbench.metrics.quantiles import LIGHTNESS, PARTS, _directions, color_size, read_quantiles

NAMES = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "china.jpg", "flower.jpg", "ihc.png")


@pytest.fixture(scope="module")
def photos() -> Pixels:
    return np.stack([patterns.photos()[name][40:200, 60:220] for name in NAMES])


def towards(images: Pixels, baselines: Pixels, references: Pixels) -> Values:
    return values("color_towards", images, baselines, references=references)


def elsewhere(images: Pixels, baselines: Pixels, references: Pixels) -> Values:
    return values("color_elsewhere", images, baselines, references=references)


def exact_quantiles(image: Pixels) -> Values:
    """(16, 8) means of equal parts of the sorted projections, of an image whose pixels divide by 8."""
    lab = reference.oklab(image).reshape(-1, 3) * (LIGHTNESS, 1, 1)
    along = np.sort(lab @ np.array(_directions()).T, axis=0)
    return np.asarray(along.T.reshape(16, PARTS, -1).mean(-1), np.float64)


def test_the_quantiles_are_the_means_of_parts_of_the_sorted_projections(photos: Pixels) -> None:
    found = read_quantiles(oklab(tensor(photos)))
    for row, photo in zip(found, photos, strict=True):
        # Bins of 2.3e-4, and the conversion in float32.
        np.testing.assert_allclose(row, exact_quantiles(photo), atol=3e-4)


def test_both_equal_the_definition_on_exact_quantiles(photos: Pixels) -> None:
    baselines, references = np.roll(photos, 1, 0), np.roll(photos, 2, 0)
    for image, baseline, shown, t, e in zip(
        photos,
        baselines,
        references,
        towards(photos, baselines, references),
        elsewhere(photos, baselines, references),
        strict=True,
    ):
        start = exact_quantiles(baseline)
        u, v = exact_quantiles(shown) - start, exact_quantiles(image) - start
        fraction = np.clip((u * v).sum() / (u * u).sum(), 0, 1)
        size = np.sqrt(3 * (u**2).mean())
        assert t == pytest.approx(fraction * size, abs=5e-4)
        assert e == pytest.approx(np.sqrt(3 * ((v - fraction * u) ** 2).mean()), abs=5e-4)


def test_a_shift_of_every_colour_reads_as_its_length() -> None:
    directions = np.array(_directions())
    np.testing.assert_allclose(directions.T @ directions, np.eye(3) * 16 / 3, atol=1e-12)
    assert np.abs(directions @ directions.T - np.eye(16)).max() < 0.8  # no two axes within 36 degrees
    lab = torch.rand(1, 3, 40, 40, generator=torch.Generator().manual_seed(0)) * 0.2
    shift = torch.tensor([0.06, -0.03, 0.02])
    moved = read_quantiles(lab + shift[:, None, None]) - read_quantiles(lab)
    expected = np.linalg.norm(shift * torch.tensor([LIGHTNESS, 1, 1]))
    assert float(color_size(moved)[0]) == pytest.approx(expected, abs=1e-4)


def test_every_colour_of_srgb_lies_within_the_bins() -> None:
    """A colour outside them would be counted in the histogram of a neighbour."""
    corners = torch.cartesian_prod(*[torch.arange(0, 256, 51)] * 3).to(torch.uint8)[:, :, None, None]
    lab = oklab(corners)[:, :, 0, 0].double() * torch.tensor([LIGHTNESS, 1, 1])
    along = lab @ torch.tensor(_directions(), dtype=torch.float64).T
    np.testing.assert_allclose(read_quantiles(oklab(corners)), along[..., None].expand(-1, -1, PARTS), atol=1.5e-4)


def test_no_change_is_0_and_the_reference_itself_is_all_of_the_way(photos: Pixels) -> None:
    shown = np.roll(photos, 1, 0)
    assert towards(photos, photos, shown).tolist() == elsewhere(photos, photos, shown).tolist() == [0.0] * len(photos)
    way = towards(shown, photos, shown)
    assert (way > LEAST_WAY).all() and elsewhere(shown, photos, shown).max() < 1e-12


def test_a_reference_of_the_same_colours_leaves_towards_unscored(photos: Pixels) -> None:
    changed = clipped(photos * 0.7)
    assert np.isnan(towards(changed, photos, photos)).all()
    same = elsewhere(changed, photos, photos)
    # Then all change leads elsewhere, as it does where the reference is next to the baseline's colours.
    assert (same > 0.02).all()
    near = photos.copy()
    near[:, :4] = 255 - near[:, :4]
    assert np.isnan(towards(changed, photos, near)).all()
    np.testing.assert_allclose(elsewhere(changed, photos, near), same, atol=LEAST_WAY)


def test_a_cast_moves_elsewhere_and_the_opposite_of_the_way_is_not_towards() -> None:
    grey, warm, cold = (np.full((1, 16, 16, 3), rgb, np.uint8) for rgb in ((128,) * 3, (158, 128, 98), (98, 128, 158)))
    green = np.full((1, 16, 16, 3), (118, 148, 118), np.uint8)
    assert towards(warm, grey, warm)[0] > 0.05
    assert towards(cold, grey, warm)[0] == 0
    assert elsewhere(cold, grey, warm)[0] > 0.05
    assert elsewhere(green, grey, warm)[0] > 0.9 * elsewhere(green, grey, grey)[0] > 0.04


def test_beyond_the_reference_is_elsewhere() -> None:
    levels = [np.full((1, 16, 16, 3), level, np.uint8) for level in (60, 120, 180, 240)]
    start, half, shown, beyond = levels
    assert towards(half, start, shown)[0] == pytest.approx(towards(shown, start, shown)[0] / 2, rel=0.15)
    assert elsewhere(half, start, shown)[0] < 1e-3
    assert towards(beyond, start, shown)[0] == pytest.approx(towards(shown, start, shown)[0])
    assert elsewhere(beyond, start, shown)[0] > 0.06


def test_where_the_colours_are_does_not_count_nor_which_way_the_axes_of_the_image_run(photos: Pixels) -> None:
    start, shown = np.roll(photos, 1, 0), np.roll(photos, 2, 0)
    plain = towards(photos, start, shown), elsewhere(photos, start, shown)
    turned = photos[:, ::-1].swapaxes(1, 2), start[:, :, ::-1], shown.swapaxes(1, 2)
    np.testing.assert_allclose((towards(*turned), elsewhere(*turned)), plain, atol=1e-6)


def test_a_large_image_reads_as_the_same_image_of_fewer_pixels(photos: Pixels) -> None:
    large = np.kron(photos[:2], np.ones((1, 5, 5, 1), np.uint8))
    assert large[0].shape[0] * large[0].shape[1] > 1 << 18
    whole, read = read_quantiles(oklab(tensor(photos[:2]))), read_quantiles(oklab(tensor(large)))
    assert color_size(read - whole).max() < 0.002
    # A pattern of the period of the blocks: a pixel of every block at one place would read one colour only.
    stripes = np.zeros((1, 800, 800, 3), np.uint8)
    stripes[:, :, ::2] = 255
    few = read_quantiles(oklab(tensor(stripes[:, :100, :100])))
    assert color_size(read_quantiles(oklab(tensor(stripes))) - few).max() < 0.02


_COLOUR = st.tuples(*[st.integers(0, 255)] * 3)
_IMAGE = st.lists(_COLOUR, min_size=1, max_size=6)


@settings(max_examples=60, deadline=None)
@given(_IMAGE, _IMAGE, _IMAGE)
def test_bounds(image: list[tuple[int, ...]], baseline: list[tuple[int, ...]], shown: list[tuple[int, ...]]) -> None:
    """Neither exceeds the whole change, their squares sum to at most its square, and both are in range."""
    made = [np.array(colours, np.uint8)[None, None] for colours in (image, baseline, shown)]
    u, v = (read_quantiles(oklab(tensor(made[k]))) - read_quantiles(oklab(tensor(made[1]))) for k in (2, 0))
    (t,), (e,) = towards(*made), elsewhere(*made)
    way, whole = float(color_size(u)), float(color_size(v))
    assert 0 <= e <= whole + 1e-12 <= 1
    assert np.isnan(t) == (way < LEAST_WAY)
    if np.isfinite(t):
        assert 0 <= t <= min(way, whole) + 1e-12
        # The rest of a projection is at right angles to it, or beyond its end.
        assert t**2 + e**2 <= whole**2 + 1e-9


def test_towards_is_unscored_below_its_own_margin() -> None:
    known = all_metrics()
    assert known["color_towards"].info.margin == LEAST_WAY
    assert known["color_elsewhere"].info.role == "drift"
    assert {name for name, metric in known.items() if metric.info.role == "drift"} == {"color_elsewhere"}
