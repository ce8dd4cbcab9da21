"""Experiments are read strictly, expanded in the order written, and overridden without touching the file."""

from pathlib import Path

import pytest

from blendbench.core.errors import UsageError
from blendbench.registry.strategies import all_strategies
from blendbench.run.experiments import Grid, list_experiments, load_experiment
from blendbench.run.plan import CONTROLS, configurations

EXPERIMENT = """\
name = "tiny"
title = "Tiny"
seeds = [0, 1]
strategies = [{name = "text_only"}, {name = "lerp", alpha = [0.1, 0.3], align = ["area", "truncate"], layer = -2}]
"""


@pytest.mark.parametrize("name", list_experiments())
def test_shipped_experiments_load_and_keep_a_baseline(name: str) -> None:
    experiment = load_experiment(name)
    assert experiment.name == name
    assert experiment.baseline == "text_only"


def test_every_strategy_is_in_a_shipped_experiment() -> None:
    """Controls are in every run; the others must be asked for somewhere, or nobody ever sees what they do."""
    asked = {grid.name for name in list_experiments() for grid in load_experiment(name).strategies}
    asked |= {s.companion for s in all_strategies().values() if s.companion}
    assert {s.name for s in all_strategies().values() if s.name not in CONTROLS} <= asked
    assert len(all_strategies()) >= 40


@pytest.mark.parametrize("name", list_experiments())
def test_shipped_experiments_can_be_planned_and_keep_their_alpha_zero(name: str) -> None:
    baseline, chosen = configurations(load_experiment(name))
    assert chosen[0] == baseline
    assert {c.strategy.name for c in chosen} >= set(CONTROLS)
    real, _ = configurations(load_experiment(name).at_depth(37))
    assert real == baseline


def test_values_for_deep_models_replace_sweeps(tmp_path: Path) -> None:
    path = tmp_path / "tiny.toml"
    sweep = EXPERIMENT.replace('{name = "text_only"}', '{name = "vision_only", layer = [-2, -3]}')
    path.write_text(sweep + "\n[deep]\nhidden_states = 25\nlayer = [-8, -16]\n")
    experiment = load_experiment(path)
    assert experiment.at_depth(24) == experiment
    swept, single = experiment.at_depth(25).strategies
    assert [c["layer"] for c in swept.cells()] == [-8, -16]
    assert {c["layer"] for c in single.cells()} == {-2}  # what is no list is no sweep
    path.write_text(sweep + "\n[deep]\nhidden_states = 25\nlayers = [-8]\n")
    with pytest.raises(UsageError, match=r"deep.layers: .*did you mean 'layer'"):
        load_experiment(path).at_depth(37)


def test_a_grid_is_expanded_in_the_order_written(tmp_path: Path) -> None:
    path = tmp_path / "tiny.toml"
    path.write_text(EXPERIMENT)
    cells = load_experiment(path).strategies[1].cells()
    assert [(c["alpha"], c["align"]) for c in cells] == [
        (0.1, "area"),
        (0.1, "truncate"),
        (0.3, "area"),
        (0.3, "truncate"),
    ]
    assert {c["layer"] for c in cells} == {-2}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("seeds =", "seed =", "did you mean 'seeds'"),
        ("seeds = [0, 1]", "seeds = []", "seeds"),
        ('{name = "text_only"}', "{alpha = 1}", "each needs a name"),
        ("alpha = [0.1, 0.3]", "alpha = []", "strategies.lerp.alpha"),
        ("alpha = [0.1, 0.3]", "alpha = {a = 1}", "strategies.lerp.alpha"),
        ("seeds = [0, 1]", "seeds = [0, 0]", "a seed occurs twice"),
        ("seeds = [0, 1]", "seeds = [true]", "seeds.0"),
        ("seeds = [0, 1]", "seeds = [0, 1]\nquick = {item = 2}", "did you mean 'items'"),
        ("seeds = [0, 1]", "seeds = [0, 1]\nsampler = {steps = 0}", "sampler.steps"),
        ('name = "tiny"', 'name = "../tiny"', "name"),
        ("[{name", "[[{name", "not valid TOML"),
    ],
)
def test_mistakes_in_an_experiment_are_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "tiny.toml"
    path.write_text(EXPERIMENT.replace(old, new))
    with pytest.raises(UsageError) as caught:
        load_experiment(path)
    assert message in str(caught.value)
    assert "tiny.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_experiment_gets_a_suggestion(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean 'smoke'"):
        load_experiment("smok")
    with pytest.raises(UsageError, match="no such file"):
        load_experiment(tmp_path / "absent.toml")
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(UsageError, match="a folder, not a regular file"):
        load_experiment(tmp_path / "folder.toml")


def test_overrides_replace_values_and_strategies(tmp_path: Path) -> None:
    path = tmp_path / "tiny.toml"
    path.write_text(EXPERIMENT)
    experiment = load_experiment(path)
    changed = experiment.with_overrides({"alpha": ("0", "0.5")}).strategies[1]
    assert [c["alpha"] for c in changed.cells()] == ["0", "0", "0.5", "0.5"]
    assert experiment.with_overrides(strategies=[Grid("lerp", ())]).strategies == (Grid("lerp", ()),)
    with pytest.raises(UsageError, match="did you mean 'alpha'"):
        experiment.with_overrides({"alhpa": ("0",)})
    assert experiment.quick().seeds == (0,)


def test_quick_keeps_the_first_items_and_never_adds_any(tmp_path: Path) -> None:
    path = tmp_path / "tiny.toml"
    path.write_text(EXPERIMENT + "[quick]\nitems = 3\nseeds = [1]\n")
    assert load_experiment(path).items is None
    quick = load_experiment(path).quick()
    assert (quick.items, quick.seeds) == (3, (1,))
    path.write_text("items = 2\n" + path.read_text())
    assert load_experiment(path).quick().items == 2
