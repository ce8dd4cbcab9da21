"""Items, seeds, splits and fresh items of a run, as its options choose them."""

import json
import sys
from pathlib import Path

import pytest

from blendbench.cli import main
from blendbench.core.errors import UsageError
from blendbench.core.suites import load_suite
from blendbench.results.store import open_results
from blendbench.run.experiments import Experiment, load_experiment
from blendbench.run.loop import run
from blendbench.run.plan import Plan
from blendbench.run.planning import plan_on_models, selected
from blendbench.run.progress import Reporter

TINY = """\
name = "tiny"
title = "Tiny"
seeds = [0]
metrics = ["effect_size"]
controls = false
sampler = { steps = 1 }
strategies = [{ name = "lerp", alpha = 0.3 }]
quick = { items = 2 }
"""


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    path = tmp_path_factory.mktemp("experiments") / "tiny.toml"
    path.write_text(TINY)
    return load_experiment(path)


def planned(experiment: Experiment, untrained: Path) -> Plan:
    return plan_on_models(experiment, str(untrained), "cpu", hash_weights=False)[0]


def ids(plan: Plan) -> list[str]:
    return [item.id for item in plan.items]


def test_items_are_the_first_of_the_split(experiment: Experiment, untrained: Path) -> None:
    suite = load_suite("miniature")
    whole = [item.id for item in suite.items]
    test = [item.id for item in suite.items if item.split == "test"]
    assert ids(planned(selected(experiment), untrained)) == whole
    assert ids(planned(selected(experiment, items=5), untrained)) == whole[:5]
    assert ids(planned(selected(experiment, split="test"), untrained)) == test
    assert ids(planned(selected(experiment, items=7, split="test"), untrained)) == test[:7]
    assert ids(planned(selected(experiment.quick(), split="test"), untrained)) == test[:2]
    assert ids(planned(selected(experiment.quick(), items=3), untrained)) == whole[:3]
    plan = planned(selected(experiment, items=2, seeds="4,1"), untrained)
    assert (plan.experiment.name, plan.experiment.seeds, len(plan.cells)) == ("tiny", (4, 1), 2 * 2 * 2)


def test_more_items_than_there_are_is_refused(experiment: Experiment, untrained: Path) -> None:
    with pytest.raises(UsageError, match="tiny: 97 items asked for; miniature has 96 dev items"):
        planned(selected(experiment, items=97, split="dev"), untrained)


@pytest.mark.parametrize("seeds", ["", "0,", "0,x", "1.5", "0,0"])
def test_wrong_seeds_are_refused_in_one_line(experiment: Experiment, seeds: str) -> None:
    with pytest.raises(UsageError, match=r"^--seeds "):
        selected(experiment, seeds=seeds)


def test_what_contradicts_itself_is_refused(experiment: Experiment, untrained: Path) -> None:
    with pytest.raises(UsageError, match="--items and --fresh"):
        selected(experiment, items=2, fresh=2)
    for chosen in (selected(experiment, fresh=2), selected(experiment, split="dev")):
        with pytest.raises(UsageError, match="a trial of one item; leave out --split and --fresh"):
            plan_on_models(chosen, str(untrained), "cpu", prompt="a red ring", hash_weights=False)


def test_a_trial_has_a_name_of_its_own_and_one_item(experiment: Experiment, untrained: Path) -> None:
    plan, _ = plan_on_models(experiment.quick(), str(untrained), "cpu", prompt="a red ring", hash_weights=False)
    assert (plan.experiment.name, ids(plan)) == ("tiny-trial", ["trial"])


def test_fresh_items_are_those_of_a_known_world_only(experiment: Experiment, untrained: Path, tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(TINY.replace("seeds", 'suite = "standard"\nseeds'))
    own = load_experiment(tmp_path / "own.toml")
    with pytest.raises(
        UsageError, match="--fresh: only the world of the suite miniature is known, not that of standard"
    ):
        planned(selected(own, fresh=2), untrained)
    few = planned(selected(experiment, fresh=6, split="dev"), untrained)
    assert {item.split for item in few.items} == {"dev"}
    assert len(few.items) == 6
    assert not set(ids(few)) & {item.id for item in load_suite("miniature").items}


def test_fresh_runs_extend_each_other_and_leave_the_experiment_alone(
    experiment: Experiment, untrained: Path, tmp_path: Path
) -> None:
    for chosen in (selected(experiment, items=2), selected(experiment, fresh=1), selected(experiment, fresh=3)):
        plan, models = plan_on_models(chosen, str(untrained), "cpu")
        report = run(plan, models, tmp_path, Reporter(quiet=True))
    assert (report.expected, report.reused, report.generated) == (6, 2, 4)
    results = open_results(tmp_path)
    counted = "SELECT experiment, count(*), count(DISTINCT item) FROM current_cells GROUP BY ALL ORDER BY ALL"
    assert results.rows(counted) == [("tiny", 4, 2), ("tiny-fresh", 6, 3)]
    assert results.rows("SELECT count(*) FROM expected_cells ANTI JOIN current_cells USING (label, item, seed)") == [
        (0,)
    ]
    assert results.rows("SELECT DISTINCT suite FROM suites ORDER BY ALL") == [("miniature",), ("miniature-fresh",)]


def test_the_options_reach_the_plan(
    untrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tiny.toml").write_text(TINY)

    def dry(*options: str) -> dict[str, object]:
        common = ["run", tmp_path / "tiny.toml", "--models", untrained, "--results", tmp_path / "r", "--dry-run"]
        monkeypatch.setattr(sys, "argv", ["blendbench", *map(str, common), "--json", *options])
        with pytest.raises(SystemExit) as end:
            main()
        assert not end.value.code
        plan: dict[str, object] = json.loads(capsys.readouterr().out)
        return plan

    plan = dry("--items", "5", "--split", "dev", "--seeds", "0,3")
    assert (plan["experiment"], plan["items"], plan["seeds"], plan["cells"]) == ("tiny", 5, [0, 3], 20)
    plan = dry("--fresh", "4")
    assert (plan["experiment"], plan["items"], plan["cells"]) == ("tiny-fresh", 4, 8)
    assert not (tmp_path / "r").exists()
