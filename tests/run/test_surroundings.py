"""Time zone, locale, clock and hash seed change nothing; other threads and batch sizes change rounding alone."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from blendbench.core.suites import load_suite
from blendbench.models.sets import load_model_set
from blendbench.reports.leaderboard import write_leaderboard
from blendbench.results.images import ImageStore
from blendbench.results.store import open_results
from blendbench.run.experiments import Grid, load_experiment
from blendbench.run.loop import run
from blendbench.run.plan import make_plan
from blendbench.run.progress import Reporter

pytestmark = pytest.mark.slow

PROGRAM = """
import json, sys, time
from pathlib import Path

now = time.time
time.time = lambda: now() - int(sys.argv[3])
sys.path.insert(0, sys.argv[4])
from test_surroundings import outcome

print(json.dumps(outcome(Path(sys.argv[1]), Path(sys.argv[2]))))
"""
# The clock is a year behind or ahead.
SURROUNDINGS = {
    "east": ({"TZ": "Pacific/Kiritimati", "LC_ALL": "tr_TR.UTF-8", "PYTHONHASHSEED": "7"}, -40_000_000),
    "plain": ({"TZ": "America/St_Johns", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, 40_000_000),
}
Outcome = list[list[list[object]]]


def outcome(models: Path, folder: Path) -> Outcome:
    """Run a few cells, write their leaderboard, and return cells and scores."""
    loaded = load_model_set(models, "cpu", {"batch_size": 2, "steps": 1})
    grids = (Grid("lerp", (("alpha", (0.2, 0.6)),)), Grid("concatenate", ()))
    base = replace(load_experiment("smoke"), items=2, controls=False, strategies=grids)
    base = replace(base, metrics=("effect_size", "grid_energy", "color_drift"))
    report = run(make_plan(base, load_suite("miniature"), loaded), loaded, folder, Reporter(quiet=True))
    assert report.failed == 0, report
    results = open_results(folder)
    cells = results.rows("SELECT cell_id, label, item, image_sha256 FROM cells ORDER BY ALL")
    scores = results.rows("SELECT cell_id, metric, value FROM scores ORDER BY ALL")
    write_leaderboard(folder, folder / "reports", "smoke")
    return [[list(row) for row in rows] for rows in (cells, scores)]


@contextmanager
def threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@pytest.fixture(scope="module")
def usual_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("usual") / "results"


@pytest.fixture(scope="module")
def usual(untrained: Path, usual_folder: Path) -> Outcome:
    with threads(1):
        return outcome(untrained, usual_folder)


@pytest.mark.parametrize("name", SURROUNDINGS)
def test_cells_images_and_scores_are_the_same(name: str, usual: Outcome, untrained: Path, tmp_path: Path) -> None:
    settings, behind = SURROUNDINGS[name]
    here = Path(__file__).parent
    command = [sys.executable, "-c", PROGRAM, *map(str, (untrained, tmp_path / "results", behind, here))]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **settings}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    cells, scores = json.loads(done.stdout.splitlines()[-1])
    assert len(cells) == 8
    assert cells == usual[0]
    assert scores == usual[1]


def test_another_number_of_threads_makes_the_same_cells_up_to_rounding(
    usual: Outcome, usual_folder: Path, untrained: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "results"
    with threads(2):
        cells, scores = outcome(untrained, folder)
    assert [cell[:-1] for cell in cells] == [cell[:-1] for cell in usual[0]]  # all but the image
    # On some processors the library's convolutions split their sums by threads.
    one, two = (
        {cell[0]: ImageStore(place).load(str(cell[-1])).astype(int) for cell in found}
        for place, found in ((usual_folder, usual[0]), (folder, cells))
    )
    assert max(abs(one[cell_id] - two[cell_id]).max() for cell_id in one) <= 1
    assert [score[:-1] for score in scores] == [score[:-1] for score in usual[1]]
    assert [score[-1] for score in scores] == pytest.approx([score[-1] for score in usual[1]], rel=0.02, abs=1e-3)


def test_another_batch_size_makes_the_same_cells_up_to_rounding_and_is_recorded(
    untrained: Path, tmp_path: Path
) -> None:
    base = replace(load_experiment("smoke"), items=2, controls=False, metrics=("effect_size",))
    images: list[dict[str, np.ndarray]] = []
    for batch in (1, 3):
        folder = tmp_path / str(batch)
        models = load_model_set(untrained, "cpu", {"batch_size": batch, "steps": 1})
        run(make_plan(base, load_suite("miniature"), models), models, folder, Reporter(quiet=True))
        results = open_results(folder)
        assert results.rows("SELECT DISTINCT batch_size FROM cell_batches") == [(batch,)]
        hashes = results.rows("SELECT cell_id, image_sha256 FROM cells")
        images.append({cell_id: ImageStore(folder).load(sha256).astype(int) for cell_id, sha256 in hashes})
    first, second = images
    assert first.keys() == second.keys()
    assert max(abs(first[cell_id] - second[cell_id]).max() for cell_id in first) <= 1
