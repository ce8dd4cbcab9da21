"""What the images of a strategy have in common is the pattern and not the content."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from synthetic_results import write_results

from blendbench.metrics import patterns
from blendbench.reports import residuals
from blendbench.reports.board import read_board
from blendbench.reports.images import PageImages
from blendbench.reports.leaderboard import RESIDUALS, write_leaderboard
from blendbench.reports.residuals import common_residual, write_residuals
from blendbench.results.store import open_results


def test_the_pattern_stays_and_the_content_averages_out() -> None:
    tile = np.zeros((16, 16))
    tile[0, 0] = 1
    pattern = patterns.tiled(128, 128, 16, tile)
    content = np.random.default_rng(0).normal(128, 20, (40, 128, 128, 1)).repeat(3, -1)
    found, spectrum = common_residual(list(patterns.inject(content, pattern, 3)), 16)
    assert found.argmax() == 0
    assert found.max() == pytest.approx(3 * pattern.max(), rel=0.1)
    on = spectrum[::8, ::8]
    assert np.median(on[on > 1]) > 5 * np.median(spectrum)


def test_the_leaderboard_shows_it_of_images_from_all_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(residuals, "AT_MOST", 3)
    read: list[int] = []

    def counted(images: Sequence[NDArray[np.uint8]], period: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        read.append(len(images))
        return common_residual(images, period)

    monkeypatch.setattr(residuals, "common_residual", counted)
    folder = tmp_path / "results"
    write_results(folder, items=2)
    *_, page = write_leaderboard(folder, tmp_path)
    results = open_results(folder)
    board = read_board(results)
    image = tmp_path / board.experiment / RESIDUALS
    assert Image.open(image).width > 500 and f"{board.experiment}/{RESIDUALS}" in page.read_text()
    assert max(read) == 3
    write_residuals(results, board, PageImages(tmp_path / "nowhere"), image)
    assert not image.exists()
