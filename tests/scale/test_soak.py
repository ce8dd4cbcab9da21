"""The stages of the soak work in small, and too much is noticed."""

import sys
from pathlib import Path

import pytest
from soak import COMMANDS, STAGES, Row, faults, soak


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is measured in KiB")
def test_every_stage_works_on_few_cells(tmp_path: Path) -> None:
    rows = soak([200], tmp_path)
    assert [row["stage"] for row in rows] == [*STAGES, *COMMANDS]
    assert all(row["peak_mib"] < 1024 for row in rows)


def row(cells: int, cpu: float, peak: int = 100) -> Row:
    return {"stage": "plan", "cells": cells, "cpu": cpu, "peak_mib": peak}


def test_memory_above_a_gibibyte_and_quadratic_time_are_faults() -> None:
    assert faults([row(100, 1), row(200, 2.5), row(400, 5)]) == []
    assert faults([row(100, 1), row(200, 4)]) == ["plan: 1 s for 100 cells, 4 s for 200"]
    assert faults([row(100, 1, 1200)]) == ["plan, 100 cells: 1200 MiB"]
