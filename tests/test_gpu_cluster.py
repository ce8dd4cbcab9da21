"""The figures about several GPUs are those that the readings give, and the simulation has the right ends."""

from pathlib import Path
from typing import Any

import pytest


def test_ratios_and_overhead_are_taken_from_the_readings(speed_scripts: Path) -> None:
    import gpu_cluster

    readings: dict[str, dict[str, Any]] = {
        "one": {"seconds": 100.0, "cells_a_second": 1.0},
        "several": {"seconds": 40.0, "cells_a_second": 3.9},
        "ray_one": {"seconds": 103.0, "cells_a_second": 0.98, "local": {"seconds": 100.0, "cells_a_second": 1.0}},
        "idea": {"seconds": 12.0, "cells": 48},
    }
    found = gpu_cluster.headline(readings, 4)
    assert (found["command_ratio_4_gpus"], found["sampling_ratio_4_gpus"]) == (2.5, 3.9)
    assert found["ray_overhead"] == pytest.approx(1 / 0.98 - 1)
    assert (found["ray_overhead_command_s"], found["idea_resident_s"]) == (3.0, 12.0)
    assert gpu_cluster.headline({}, 4) == {}


def test_the_rate_leaves_loading_out(speed_scripts: Path) -> None:
    import gpu_cluster

    assert gpu_cluster._rate([(5.0, 0), (60.0, 10), (65.0, 20), (105.0, 100)]) == 2.0


def test_a_simulated_run_is_busy_in_proportion_until_it_saturates(speed_scripts: Path) -> None:
    import cluster_simulation

    costs = cluster_simulation.Costs(message=0.0005, scores=0.0, write=0.001, cell=0.001, item=0.01)
    few, more, many = (cluster_simulation.simulate(gpus, 1.0, 10, costs) for gpus in (1, 100, 2000))
    assert few["gpus_used"] == pytest.approx(1.0, abs=0.02)
    assert few["busy"] < 0.01
    assert 0.25 < more["busy"] < 0.5  # 3 ms for each of 100 cells a second, and what writing takes
    assert more["gpus_used"] > 0.95
    assert many["busy"] > 0.9
    assert many["gpus_used"] < 0.5
