"""What the images of a strategy have in common is the pattern and not the content."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from synthetic_results import write_results

from blendbench.metrics import patterns
from blendbench.reports.board import read_board
from blendbench.reports.leaderboard import RESIDUALS, write_leaderboard
from blendbench.reports.residuals import AT_MOST, common_patch_grid, draw_residuals
from blendbench.results.store import open_results


def _written(folder: Path, images: np.ndarray) -> list[Path]:
    files = [folder / f"{k}.png" for k in range(len(images))]
    for file, image in zip(files, images, strict=True):
        Image.fromarray(image).save(file)
    return files


def test_the_pattern_stays_and_the_content_averages_out(tmp_path: Path) -> None:
    tile = np.zeros((16, 16))
    tile[0, 0] = 1
    pattern = patterns.tiled(128, 128, 16, tile)
    content = np.random.default_rng(0).normal(128, 20, (40, 128, 128, 1)).repeat(3, -1)
    found, spectrum = common_patch_grid(_written(tmp_path, patterns.inject(content, pattern, 3)), 16)
    assert np.unravel_index(found.argmax(), found.shape) == (0, 0)
    assert found.max() == pytest.approx(3 * pattern.max(), rel=0.1)
    on = spectrum[::8, ::8]
    assert np.median(on[on > 1]) > 5 * np.median(spectrum)


def test_of_many_images_some_are_read_from_all_over(tmp_path: Path) -> None:
    light = np.zeros((3 * AT_MOST, 64, 64, 3), np.uint8)
    light[-1, ::16] = 255
    files = _written(tmp_path, light)
    files[1].write_bytes(b"never read")
    assert np.allclose(common_patch_grid(files, 16)[0], 0, atol=1e-3)


def test_the_leaderboard_shows_it_where_there_are_images(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    write_results(folder, items=4)
    _, page = write_leaderboard(folder, tmp_path)
    board = read_board(open_results(folder))
    image = tmp_path / board.experiment / RESIDUALS
    assert Image.open(image).width > 500 and f"{board.experiment}/{RESIDUALS}" in page.read_text()
    with open_results(folder) as results:
        draw_residuals(results, board, tmp_path / "nowhere", image)
    assert not image.exists()
