"""The margin of color_elsewhere lies between a perfect transfer of style and a cast that is seen."""

import numpy as np
import pytest

from blendbench.metrics import all_metrics
from blendbench.metrics.calibration import ColorCase
from blendbench.reports.metrics_color import CAST, PALETTE, PERFECT, color_cases, color_table

MARGIN = all_metrics()["color_elsewhere"].info.margin


@pytest.fixture(scope="module")
def cases() -> dict[tuple[str, str], ColorCase]:
    return {(row.change, row.reference): row for row in color_cases(8)}


def both(cases: dict[tuple[str, str], ColorCase], change: str) -> float:
    return float(np.mean([cases[change, kind].elsewhere for kind in ("matched", "unrelated")]))


def test_a_perfect_transfer_of_style_is_no_cost_and_a_cast_is(cases: dict[tuple[str, str], ColorCase]) -> None:
    assert both(cases, PERFECT) < 0.75 * MARGIN
    for cast in (CAST, "cast: green +20, others -10", "exposure x1.25", "saturation x0.5"):
        assert both(cases, cast) > MARGIN, cast


def test_a_palette_transfer_moves_towards_and_hardly_elsewhere(cases: dict[tuple[str, str], ColorCase]) -> None:
    moved = cases[PALETTE, "unrelated"]
    assert moved.towards > 5 * MARGIN and moved.elsewhere < MARGIN / 10
    half = cases[f"{PALETTE}, half of the way", "unrelated"]
    assert half.towards == pytest.approx(moved.towards / 2, rel=0.1) and half.elsewhere < 0.75 * MARGIN


def test_a_cast_moves_elsewhere_and_hardly_towards(cases: dict[tuple[str, str], ColorCase]) -> None:
    for kind in ("matched", "unrelated"):
        assert cases[CAST, kind].towards < MARGIN / 2 < MARGIN < cases[CAST, kind].elsewhere


def test_what_is_no_change_of_colour_is_far_below_the_margin(cases: dict[tuple[str, str], ColorCase]) -> None:
    assert both(cases, "none") == 0
    for change in ("the objects moved", "JPEG of quality 50", "noise of 3 levels"):
        assert both(cases, change) < MARGIN / 3, change


def test_the_table_has_every_case(cases: dict[tuple[str, str], ColorCase]) -> None:
    lines = color_table(list(cases.values()))
    assert sum(line.startswith("| ") for line in lines) == len(cases) + 2
