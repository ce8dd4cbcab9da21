"""What an image went through, read from its pixels, and the flags that follow."""

from io import BytesIO

import numpy as np
import pytest
import torch
from metric_values import Pixels, values
from PIL import Image

from blendbench.metrics import Batch, patterns
from blendbench.metrics.borders import read_borders
from blendbench.metrics.colourspace import luma
from blendbench.metrics.flags import FLAGS, pixel_flags
from blendbench.metrics.history import was_resampled, were_jpeg
from blendbench.metrics.synthetic import bricks, pixel_art

NAMES = (
    "astronaut.png",
    "brick.png",
    "camera.png",
    "gravel.png",
    "ihc.png",
    "moon.png",
    "retina.jpg",
    "hubble_deep_field.jpg",
)


def batch(image: Pixels) -> Batch:
    return Batch(torch.from_numpy(np.array(image)).permute(2, 0, 1)[None])


def y(image: Pixels) -> torch.Tensor:
    return luma(batch(image).images)[0]


@pytest.fixture(scope="module")
def clean() -> list[Pixels]:
    """Photos shrunk by 2 and dithered: what coded or interpolated them before is gone."""
    made = []
    for name in NAMES:
        photo = patterns.photos()[name][:512, :512]
        small = photo.reshape(256, 2, 256, 2, 3).mean((1, 3))
        made.append(
            np.clip(np.rint(small + np.random.default_rng(0).normal(0, 1, small.shape)), 0, 255).astype(np.uint8)
        )
    return made


@pytest.mark.parametrize(("quality", "crop"), [(50, 3), (75, 0), (95, 3)])
def test_jpeg_is_seen_at_any_origin_of_its_grid(clean: list[Pixels], quality: int, crop: int) -> None:
    assert all(were_jpeg(y(patterns.jpeg(photo, quality)[crop:, crop:])[None]) for photo in clean)


@pytest.mark.parametrize("made", [None, patterns.texture, patterns.offsets])
def test_what_was_never_jpeg_or_enlarged_is_not_flagged(clean: list[Pixels], made: object) -> None:
    images = np.stack(clean)
    if made is not None:
        images = patterns.inject(images, made(256, 256), 4)  # type: ignore[operator]
    assert not any(were_jpeg(y(image)[None]) for image in images)
    assert sum(was_resampled(y(image), 16) for image in images) <= 1


@pytest.mark.parametrize(
    ("factor", "kernel"),
    [(1.25, Image.Resampling.BICUBIC), (1.5, Image.Resampling.BILINEAR), (3.0, Image.Resampling.BICUBIC)],
)
def test_enlarging_is_seen(clean: list[Pixels], factor: float, kernel: Image.Resampling) -> None:
    side = round(256 * factor)
    enlarged = [np.asarray(Image.fromarray(photo).resize((side, side), kernel)) for photo in clean]
    assert np.mean([was_resampled(y(image), 16) for image in enlarged]) >= 0.85


def test_doubling_is_seen_where_there_is_detail() -> None:
    names = ("astronaut.png", "brick.png", "camera.png", "gravel.png", "ihc.png", "chelsea.png", "coffee.png")
    doubled = []
    for name in names:
        small = Image.fromarray(patterns.photos()[name]).reduce(2)
        assert not was_resampled(y(np.asarray(small)), 16), name
        doubled.append(small.resize((small.width * 2, small.height * 2), Image.Resampling.BICUBIC))
    assert np.mean([was_resampled(y(np.asarray(image)), 16) for image in doubled]) >= 0.7


@pytest.mark.parametrize("cell", [4, 8, 16, 32])
def test_pixel_art_is_not_taken_for_jpeg_but_its_jpeg_is(cell: int) -> None:
    art = [pixel_art(256, cell, seed) for seed in range(3)]
    assert not any(were_jpeg(y(image)[None]) for image in art)
    photo = patterns.photos()["coffee.png"][:256, :256]
    assert were_jpeg(y(patterns.jpeg(np.concatenate([art[0][:128], photo[:128]]), 75))[None])


def test_walls_are_not_taken_for_enlarged_images() -> None:
    walls = [bricks(size, width, width // 2, 0) for size in (256, 512) for width in (36, 40, 44, 48, 56, 60)]
    assert not any(was_resampled(y(image), 16) for image in walls)


@pytest.mark.parametrize("size", [1, 7, 63, 64, 65])
def test_small_images_have_no_history(size: int) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)
    assert not were_jpeg(y(noise)[None]) and not was_resampled(y(noise), 16)


def test_flat_images_have_no_history() -> None:
    flat = np.full((256, 256, 3), 90, np.uint8)
    assert pixel_flags(batch(flat)) == [["blank"]]


def test_size_is_compared_with_what_was_generated(clean: list[Pixels]) -> None:
    flags = pixel_flags(batch(clean[0][:, :250]), generated=(256, 256))[0]
    assert {"size_differs", "not_whole_patches"} <= set(flags) <= set(FLAGS)
    assert not set(pixel_flags(batch(clean[0]), generated=(256, 256))[0]) & {"size_differs", "not_whole_patches"}


def test_content_that_repeats_is_distinguished_from_a_patch_grid(clean: list[Pixels]) -> None:
    y_, x = np.mgrid[:256, :256]
    windows = (
        100 + 60.0 * (((x + 5) % 48 < 24) & ((y_ + 9) % 48 < 24)) + np.random.default_rng(0).normal(0, 2, (256, 256))
    )
    facade = np.clip(windows, 0, 255).astype(np.uint8)[..., None].repeat(3, -1)
    assert set(pixel_flags(batch(facade))[0]) - {"resampled"} == {"periodic_content"}
    meshed = patterns.inject(np.stack(clean), patterns.mesh(256, 256), 3)
    assert np.mean(["faint_grid" in pixel_flags(batch(image))[0] for image in meshed]) >= 0.85


@pytest.mark.parametrize(
    ("size", "level"), [(128, 8), *(pytest.param(size, 4, marks=pytest.mark.slow) for size in (256, 512))]
)
def test_seams_are_flagged_at_every_size_and_clean_images_are_not(size: int, level: float) -> None:
    crops = patterns.crops(size, at_most=1)[:8]
    seamed = patterns.inject(crops, patterns.offsets(size, size), level)
    assert np.mean(["seams" in pixel_flags(batch(image))[0] for image in seamed]) >= 0.85
    coded = [patterns.jpeg(image, quality) for image in crops for quality in (50, 90)]
    assert not any("seams" in pixel_flags(batch(image))[0] for image in [*crops, *coded])


def test_steps_along_one_axis_are_content_and_those_of_patches_are_seams() -> None:
    photo = patterns.crops(512, at_most=1)[:1]
    shades = np.random.default_rng(4).standard_normal((1, 32)).repeat(512, 0).repeat(16, 1)
    assert "seams" not in pixel_flags(batch(patterns.inject(photo, shades, 6)[0]))[0]
    assert "seams" in pixel_flags(batch(patterns.inject(photo, shades + shades.T, 6)[0]))[0]


def test_steps_at_quarters_show_the_macroblocks_of_a_codec() -> None:
    """WebP predicts blocks of 16 pixels and transforms blocks of 4; patches have steps at their borders alone."""
    photo = patterns.crops(512, at_most=1)[2]
    file = BytesIO()
    Image.fromarray(photo).save(file, "WEBP", quality=50)
    coded = read_borders(luma(batch(np.array(Image.open(file).convert("RGB"))).images), 16)
    seamed = patterns.inject(photo[None], patterns.offsets(512, 512), 2)[0]
    patches = read_borders(luma(batch(seamed).images), 16)
    assert coded.excess > 0.05
    assert coded.quarters >= 0.15 > patches.quarters
    assert "seams" not in pixel_flags(batch(np.array(Image.open(file).convert("RGB"))))[0]
    assert "seams" in pixel_flags(batch(seamed))[0]


def test_a_drawing_with_shaded_tiles_has_no_seams() -> None:
    """Six of ten neighbours are exactly alike, which no decoder leaves."""
    rng = np.random.default_rng(2)
    shades = (128 + 30 * rng.standard_normal((16, 16))).repeat(16, 0).repeat(16, 1)
    shades += np.where(rng.random(shades.shape) < 0.17, rng.normal(0, 20, shades.shape), 0)
    flat = np.clip(np.rint(shades), 0, 255).astype(np.uint8)[..., None].repeat(3, -1)
    assert "seams" not in pixel_flags(batch(flat))[0]
    dithered = np.clip(np.rint(shades + rng.normal(0, 1.5, shades.shape)), 0, 255).astype(np.uint8)
    assert "seams" in pixel_flags(batch(dithered[..., None].repeat(3, -1)))[0]


def test_frames_alike_on_the_patch_grid_and_off_it_are_no_tiles() -> None:
    rng = np.random.default_rng(5)
    frames = 128 + rng.normal(0, 1.5, (512, 512, 3))
    frames[128:384, 128:384] += 20

    def flagged() -> bool:
        return "tile_seams" in pixel_flags(batch(np.clip(np.rint(frames), 0, 255).astype(np.uint8)))[0]

    assert flagged()
    frames[52:460, 52:460] += 20
    assert not flagged()


def test_dots_of_another_period_are_no_seams() -> None:
    y_, x = np.mgrid[:128, :128]
    dots = np.stack([100 + 60.0 * ((x + k) % 6 < 3) * ((y_ + k) % 6 < 3) for k in range(6)])
    images = np.clip(dots + np.random.default_rng(0).normal(0, 1, dots.shape), 0, 255).astype(np.uint8)
    assert not any("seams" in pixel_flags(batch(image[..., None].repeat(3, -1)))[0] for image in images)


def test_a_grid_too_weak_to_be_seen_is_not_flagged() -> None:
    rng = np.random.default_rng(0)
    ground = 120 + np.mgrid[:512, :512][0] / 8 + rng.normal(0, 0.5, (512, 512))
    flags = []
    for amplitude in (0.2, 1.0):
        made = np.clip(np.rint(ground + amplitude * patterns.texture(512, 512)), 0, 255).astype(np.uint8)
        one = batch(made[..., None].repeat(3, -1))
        assert values("grid_energy", made[None, ..., None].repeat(3, -1))[0] > 0.001
        flags.append("faint_grid" in pixel_flags(one)[0])
    assert flags == [False, True]


def test_an_image_of_few_levels_is_posterised_and_one_of_more_contrast_is_not(clean: list[Pixels]) -> None:
    for photo in clean[:3]:
        stretched = np.clip((photo.astype(int) - 128) * 2 + 128, 0, 255).astype(np.uint8)
        assert "few_levels" in pixel_flags(batch(photo // 4 * 4))[0]
        assert not any("few_levels" in pixel_flags(batch(image))[0] for image in (photo, stretched))


def test_a_mesh_that_was_enlarged_is_a_resized_grid() -> None:
    photo = patterns.crops(256, 1)[3]
    meshed = Image.fromarray(patterns.inject(photo[None], patterns.mesh(256, 256), 4)[0])
    larger = np.asarray(meshed.resize((384, 384), Image.Resampling.BICUBIC))
    assert {"resampled", "resized_grid"} <= set(pixel_flags(batch(larger))[0])
    plain = np.asarray(Image.fromarray(photo).resize((384, 384), Image.Resampling.BICUBIC))
    assert "resized_grid" not in pixel_flags(batch(plain))[0]
