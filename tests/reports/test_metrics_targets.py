"""The table of targets: a target that is missed is said to be missed."""

from dataclasses import replace

import pytest

from blendbench.metrics.calibration import AMPLITUDES, Calibration, Response
from blendbench.reports.metrics import targets_section

NO_FLAGS = dict.fromkeys(("blank", "noise", "faint_grid", "visible_grid", "seams", "tile_seams"), 0.0)


def response(metric: str, pattern: str, size: int) -> Response:
    return Response(metric, pattern, size, 9, AMPLITUDES, (1.0,) * 6, (1.0,) * 6, (1.0,) * 6, 1.0, 1.0, 1.0)


def perfect() -> Calibration:
    patterns = ("mesh", "tiled texture", "sinusoid", "8-px mesh", "patch offsets")
    metrics = ("grid_energy", "grid_amplitude", "grid_severity", "blockiness")
    all_of_it = [(metric, pattern, size) for metric in metrics for pattern in patterns for size in (256, 512)]
    clean = {"photos": {"images": 200.0, **NO_FLAGS}}
    return Calibration(
        responses=[response(*one) for one in all_of_it],
        others=[response(metric, pattern, 256) for metric in metrics[:3] for pattern in patterns[:4]],
        recovery={"mesh": {1.0: (0.5, 0.0), 2.0: (0.9, 1.0)}},
        benign={"noise": {"grid_energy": 0.45}},
        false_alarms=clean,
        clean={},
        periods={},
        drift={},
        rising={},
        thresholds={},
        color=[],
    )


def missed(found: Calibration) -> list[str]:
    return [line for line in targets_section(found) if "**no**" in line]


def test_nothing_is_missed_where_all_holds() -> None:
    assert missed(perfect()) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"benign": {"noise": {"grid_energy": 0.45}, "blur": {"grid_energy": 0.3}}}, "worst (blur)"),
        ({"recovery": {"mesh": {2.0: (0.84, 0.5)}, "sinusoid": {2.0: (1.1, 1.0)}}}, "| 0.84 |"),
        (
            {"false_alarms": {"pages": {"images": 100.0, **NO_FLAGS, "visible_grid": 0.02, "seams": 0.01}}},
            "`visible_grid`, of 100",
        ),
    ],
)
def test_what_is_missed_is_named(change: dict[str, object], said: str) -> None:
    (line,) = missed(replace(perfect(), **change))  # type: ignore[arg-type]
    assert said in line


def test_the_worst_pattern_speaks_for_a_metric() -> None:
    rows = [
        replace(row, rho_low=0.9, auroc=(0.5,) * 6) if (row.pattern, row.size) == ("sinusoid", 256) else row
        for row in perfect().responses
    ]
    area, *tails = missed(replace(perfect(), responses=rows))
    assert "grid_energy, sinusoid of 1 level, 256 px: AUROC" in area
    assert len(tails) == 3 and all("worst (sinusoid)" in line and "5th" in line for line in tails)


def test_other_crops_speak_for_themselves() -> None:
    rows = [replace(row, rho_low=0.88) if row.pattern == "sinusoid" else row for row in perfect().others]
    lines = missed(replace(perfect(), others=rows))
    assert [line.split(",")[0] for line in lines] == ["| grid_energy", "| grid_amplitude", "| grid_severity"]
    assert all("on 9 other crops" in line and "(sinusoid)" in line and "0.880" in line for line in lines)
