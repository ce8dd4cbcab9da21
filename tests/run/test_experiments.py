"""Experiments are read strictly, expanded in the order written, and overridden without touching the file."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from blendbench.core.depths import Depth
from blendbench.core.errors import UsageError
from blendbench.registry.entries import SHIPPED
from blendbench.registry.strategies import Strategy, all_strategies, get_strategy
from blendbench.run.experiments import Grid, list_experiments, load_experiment
from blendbench.run.plan import CONTROLS, configurations
from blendbench.run.planning import plan_on_models, single_grid

MINIATURE, REAL = Depth(hidden_states=7, blocks=8), Depth(hidden_states=37, blocks=30)
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


def shipped_strategies() -> list[Strategy]:
    """Return the strategies of the package, without plug-ins that other tests registered."""
    return [strategy for strategy in all_strategies().values() if strategy.origin == SHIPPED]


def test_every_strategy_is_in_a_shipped_experiment() -> None:
    """Controls are in every run; the others must be asked for somewhere, or nobody ever sees what they do."""
    asked = {grid.name for name in list_experiments() for grid in load_experiment(name).strategies}
    asked |= {s.companion for s in shipped_strategies() if s.companion}
    assert {s.name for s in shipped_strategies() if s.name not in CONTROLS} <= asked
    assert len(shipped_strategies()) >= 40


@pytest.mark.parametrize("name", list_experiments())
def test_shipped_experiments_can_be_planned_at_any_depth(name: str) -> None:
    for depth in (MINIATURE, REAL):
        experiment = load_experiment(name)
        baseline, chosen = configurations(experiment, depth)
        assert chosen[0] == baseline
        assert {c.strategy.name for c in chosen} >= set(CONTROLS if experiment.controls else ())
        assert all(-depth.hidden_states <= layer < 0 for c in chosen for layer in c.layers)


def test_depths_are_percentages_of_the_models_depth() -> None:
    assert [REAL.layers(f"{percent}%") for percent in (0, 37, 83, 100)] == ["-37", "-24", "-8", "-2"]
    assert [MINIATURE.layers(f"{percent}%") for percent in (0, 37, 83, 100)] == ["-7", "-5", "-3", "-2"]
    assert REAL.layers("0.7*100%+0.3*-4") == "0.7*-2+0.3*-4"
    assert [REAL.blocks_of(f"{percent}%") for percent in (0, 25, 75, 100)] == ["0", "8", "23", "30"]
    with pytest.raises(UsageError, match="120%: a depth is a percentage from 0 to 100"):
        REAL.layers("120%")


def test_the_layers_of_an_experiment_cover_the_whole_depth() -> None:
    layers = {
        depth: {layer for c in configurations(load_experiment("vl_layer_by_token"), depth)[1] for layer in c.layers}
        for depth in (MINIATURE, REAL)
    }
    assert layers[MINIATURE] == set(range(-7, 0))
    assert layers[REAL] == {-37, -30, -24, -15, -10, -8, -6, -5, -2, -1}
    _, masking = configurations(load_experiment("outlier_masking"), REAL)
    assert {layer for c in masking for layer in c.layers} == {-8, -2}
    for depth in (MINIATURE, REAL):
        _, chosen = configurations(load_experiment("injection"), depth)
        blocks = [
            set(range(first, min(first + int(c.params["count"]), depth.blocks)))
            for c in chosen
            if "first" in c.params and c.params["stride"] == 1 and 0 < int(c.params["count"]) < depth.blocks
            for first in [int(c.params["first"])]
        ]
        assert len(blocks) == 4 and set().union(*blocks) == set(range(depth.blocks))


def test_two_depths_that_are_one_on_a_model_are_run_once(tmp_path: Path) -> None:
    path = tmp_path / "tiny.toml"
    path.write_text(EXPERIMENT.replace("layer = -2", 'layer = ["83%", "89%", "100%"]'))
    found = {
        depth: {c.params["layer"] for c in configurations(load_experiment(path), depth)[1] if c.strategy.name == "lerp"}
        for depth in (MINIATURE, REAL)
    }
    assert found == {MINIATURE: {-3, -2}, REAL: {-8, -6, -2}}


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


def test_a_grid_of_doses_is_the_strategys_own(tmp_path: Path) -> None:
    row = '{ name = "concatenate", dose = "grid", layer = [-2, -3] }'
    text = f'name = "doses"\ntitle = "Doses"\nseeds = [0]\nstrategies = [{row}]\n'
    (tmp_path / "doses.toml").write_text(text)
    experiment = load_experiment(tmp_path / "doses.toml")
    doses = get_strategy("concatenate").dose_grid
    assert [(cell["share"], cell["layer"]) for cell in experiment.strategies[0].cells()] == [
        (dose, layer) for dose in doses for layer in (-2, -3)
    ]
    fewer = experiment.with_overrides({"share": (0.2,)})
    assert [cell["share"] for cell in fewer.strategies[0].cells()] == [0.2, 0.2]
    for row, message in (
        ('{ name = "vision_only", dose = "grid" }', "vision_only: dose = 'grid', but the strategy has no dose"),
        ('{ name = "lerp", dose = "grid", alpha = 0.3 }', "lerp: dose = 'grid' and alpha are both given"),
    ):
        (tmp_path / "doses.toml").write_text(text[: text.index("[{")] + f"[{row}]\n")
        with pytest.raises(UsageError, match=message):
            load_experiment(tmp_path / "doses.toml").strategies[0].cells()


def test_core_has_every_family_over_its_doses_and_what_is_on_the_published_front() -> None:
    _, chosen = configurations(load_experiment("core"), MINIATURE)
    labels = {configuration.label for configuration in chosen}
    assert labels >= {"vision_only:tokens=full", "activation_steering:alpha=0.3", "concatenate:share=0.5"}
    assert 60 <= len(labels) <= 75
    families = {configuration.strategy.function.__module__ for configuration in chosen}
    every = {s.function.__module__ for s in shipped_strategies() if not s.control}
    # What the others are made of, and other ways to do what `per_dim_lerp` does.
    assert every - families == {f"blendbench.strategies.{name}" for name in ("composed", "normalisation")}
    by_family: dict[str, list[float]] = {}
    for configuration in chosen:
        if configuration.dose is not None and not configuration.strategy.control:
            by_family.setdefault(configuration.family, []).append(configuration.dose)
    for family, doses in by_family.items():
        assert tuple(doses) == get_strategy(family.partition(":")[0]).dose_grid


def test_a_dose_grid_can_be_asked_for_on_the_command_line() -> None:
    grid = single_grid("concatenate:layer=-3,dose=grid")
    assert [(cell["share"], cell["layer"]) for cell in grid.cells()] == [
        (dose, -3) for dose in get_strategy("concatenate").dose_grid
    ]
    with pytest.raises(UsageError, match="dose=grid and share are both given"):
        single_grid("concatenate:share=0.5,dose=grid")
    with pytest.raises(UsageError, match="has no dose"):
        single_grid("vision_only:dose=grid").cells()


def test_a_model_set_that_is_renamed_and_moved_gets_the_same_plan(untrained: Path, tmp_path: Path) -> None:
    """Its own suite takes the place of the experiment's on other models only, and these are no others."""
    copied = tmp_path / "elsewhere"
    shutil.copytree(untrained, copied)
    file = copied / "model_set.toml"
    named = 'name = "another"\nsuite = "standard"'
    file.write_text(re.sub('name = ".*"', named, file.read_text(), count=1))
    experiment = replace(load_experiment("vl_layer_by_token"), model_set=str(untrained), items=2)
    plans = [plan_on_models(experiment, str(folder), "cpu")[0] for folder in (untrained, copied)]
    assert {plan.suite.name for plan in plans} == {"miniature"}
    assert len({tuple(cell.cell_id for cell in plan.cells) for plan in plans}) == 1
