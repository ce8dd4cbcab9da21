"""The calibration measures what it says: known detectors, known alarms, known limits."""

import numpy as np
import pytest

from blendbench.metrics import calibration, patterns
from blendbench.metrics.calibration import AMPLITUDES
from blendbench.metrics.synthetic import periodic_images


def test_a_response_has_the_limit_the_areas_and_the_ranks_of_its_values() -> None:
    before = np.linspace(0, 1, 21)
    after = [before + (0.0 if dose < 2 else dose) for dose in AMPLITUDES]
    found = calibration._response("x", "y", 64, before, after)
    assert found.limit == 2 and found.auroc[0] == 0.5 and found.auroc[3:] == (1.0, 1.0, 1.0)
    assert found.rises == (0.0, 0.0, 0.0, 1.0, 1.0, 1.0) and 0.8 < found.rho_median < 1
    flat = calibration._response("x", "y", 64, before, [before] * len(AMPLITUDES))
    assert flat.limit is None and flat.rho_median == 0


@pytest.mark.slow
def test_detectors_hold_on_a_few_photos() -> None:
    found = calibration.responses(patterns.crops(256, 1)[::3], {"mesh": patterns.mesh, "offsets": patterns.offsets})
    by = {(row.metric, row.pattern): row for row in found}
    assert by["grid_energy", "mesh"].auroc[2] >= 0.97 and by["blockiness", "offsets"].auroc[3] >= 0.95
    assert by["grid_energy", "offsets"].limit is None
    assert by["grid_severity", "mesh"].rho_median >= 0.99


@pytest.mark.slow
def test_harmless_edits_are_not_taken_for_a_pattern() -> None:
    # Fewer crops leave the area under the curve too uncertain: at 38 its standard error is 0.07.
    found = calibration.benign_auroc(patterns.crops(128, 4))
    for edit, areas in found.items():
        assert abs(areas["grid_energy"] - 0.5) <= 0.1, edit
        assert abs(areas["blockiness"] - 0.5) <= (0.15 if edit == "jpeg90" else 0.1), edit


@pytest.mark.slow
def test_content_that_repeats_is_no_false_alarm() -> None:
    rendered = {name: images[::6] for name, images in periodic_images(256).items()}
    for name, row in calibration.false_alarms(rendered).items():
        assert row["faint_grid"] == row["visible_grid"] == 0, name


def test_the_amplitude_is_recovered_within_15_percent_from_2_levels_on() -> None:
    table = calibration.amplitude_recovery(patterns.crops(256, 1)[::3])
    assert all(abs(row[dose][0] - 1) <= 0.15 for row in table.values() for dose in (2.0, 4.0, 8.0)), table


def test_an_image_without_a_value_is_an_error() -> None:
    with pytest.raises(ValueError, match="grid_energy"):
        calibration.values_of(np.zeros((1, 20, 20, 3), np.uint8), ["grid_energy"])
