"""Every shipped experiment works on a model set with the published layout and on photographs."""

from dataclasses import replace
from pathlib import Path

import pytest

from blendbench.core.suites import load_suite
from blendbench.models.sets import load_model_set
from blendbench.reports.findings import judge
from blendbench.results.store import open_results
from blendbench.run.embedding_analysis import plan_analysis, run_analysis
from blendbench.run.experiments import list_experiments, load_experiment
from blendbench.run.loop import run
from blendbench.run.plan import make_plan
from blendbench.run.progress import Reporter

PLANTED = "planted_sink"  # names dimensions of the miniature


@pytest.fixture(scope="module")
def wide_set(speed_scripts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the published layout at tiny sizes, with references of up to 64 image tokens."""
    import full_size

    tiny = full_size.tiny()
    folder = tmp_path_factory.mktemp("models") / "wide"
    full_size.write_model_set(folder, replace(tiny, suite="standard", pixels=(64**2, 256**2)), "cpu")
    return folder


@pytest.mark.slow
def test_no_experiment_has_a_failed_cell_or_leaves_a_hypothesis_out(wide_set: Path, tmp_path: Path) -> None:
    models, suite = load_model_set(wide_set, "cpu", {"steps": 4}), load_suite("standard")
    names = [name for name in list_experiments() if name != PLANTED]
    assert len(names) == 20
    for name in names:
        plan = make_plan(replace(load_experiment(name), items=1, seeds=(0,)), suite, models)
        done = run(plan, models, tmp_path, Reporter(quiet=True))
        assert (name, done.ok, done.failed, done.scores_failed) == (name, done.expected, 0, 0)
    run_analysis(plan_analysis(models, suite, 2, None), tmp_path, Reporter(quiet=True))
    findings = judge(open_results(tmp_path)).findings
    not_run = {finding.hypothesis.id for finding in findings if finding.verdict == "not run"}
    assert not_run == {f.hypothesis.id for f in findings if any(c.experiment == PLANTED for c in f.hypothesis.claims)}
